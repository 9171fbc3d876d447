/** The doctor and Node processes with `ebb/auto`: their inside, the prediction of a release, and the release. */
import { diagnose, diagnosisText } from 'ebb-lab'
import { expect, test } from 'vitest'
import { Cli, run } from '../support/cli.js'

/** Grows the young generation of V8, and leaves no garbage behind. */
const YOUNG = `let kept = []
for (let i = 0; i < 4e6; i++) {
  kept.push({ i })
  if (kept.length > 3e5) kept = []
}
kept = []
gc()
setInterval(() => {}, 1e6)
console.log('ready')`

/** Starts a program under `ebb/auto`, whose governor releases nothing by itself. */
async function governed(program: string, flags: readonly string[] = []): Promise<Cli> {
  const command = [process.execPath, '--import', 'ebb/auto', '--expose-gc', ...flags, '-e', program]
  const started = new Cli(command, { env: { EBB_MAX_PAUSE: '1' } })
  await started.said(/^ready$/m)
  return started
}

test('the young generation is named, and a release returns what was predicted', async () => {
  const { pid } = await governed(YOUNG, ['--max-semi-space-size=64'])
  const found = await diagnose(pid, { watch: 0, release: true })
  expect(found.inside).toMatchObject({ version: 1, runtime: { name: 'node', version: process.version } })
  expect(found.advice.map(({ code }) => code)).toContain('node-young')
  const { returned = 0, predicted } = found.release ?? {}
  expect(Math.abs(returned / (predicted?.expected ?? 0) - 1)).toBeLessThan(0.15)
  const text = diagnosisText(found)
  expect(text).toMatch(/^a release +would return [\d.]+ MB and stop the loop for [\d.]+ ms$/m)
  expect(text).toMatch(/^released +returned [\d.]+ MB \(/m)
  // What a release would still return is no advice any more.
  const after = await diagnose(pid, { watch: 0 })
  expect(after.advice.map(({ code }) => code)).not.toContain('node-release')
  expect(after.inside?.release?.expected).toBeLessThan((predicted?.expected ?? 0) / 2)
})

test('objects and buffers that are in use are named', async () => {
  const { pid } = await governed(`globalThis.objects = Array.from({ length: 300_000 }, (_, i) => ({ i }))
globalThis.buffers = Array.from({ length: 300 }, () => Buffer.alloc(65_536, 1))
gc()
setInterval(() => {}, 1e6)
console.log('ready')`)
  const { advice } = await diagnose(pid, { watch: 0 })
  expect(advice.map(({ code }) => code)).toEqual(expect.arrayContaining(['node-objects', 'node-buffers']))
  expect(advice.find(({ code }) => code === 'node-buffers')?.figure.value).toBeGreaterThan(300 * 65_536 - 1)
})

test('--inspect asks a process without ebb/auto, which is then as before; with --release it returns memory', async () => {
  // A port of its own for the inspector: another test, or another program, may have the default one.
  const command = [process.execPath, '--inspect-port=0', '--expose-gc', '--max-semi-space-size=64', '-e', YOUNG]
  const plain = new Cli(command)
  await plain.said(/^ready$/m)
  const asked = await diagnose(plain.pid, { watch: 0, inspect: true })
  expect(asked.inside).toMatchObject({ runtime: { name: 'node', version: process.version }, pid: plain.pid })
  expect(asked.inside?.heap.spaces.map(({ name }) => name)).toContain('new_space')
  expect(asked.inside?.release).toBeUndefined()
  expect(asked.notes).toEqual([expect.stringMatching(/^SIGUSR1 opened the inspector .* and it is closed again$/)])
  expect(diagnosisText(asked)).toMatch(/^V8's heap +[\d.]+ MB used of/m)
  const { code, stdout } = await run(['doctor', String(plain.pid), '--for', '0', '--inspect', '--release'])
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^released +returned [\d.]+ MB \([\s\S]*\bpredicted:\s+[\d.]+\s+MB/m)
  })
})

test('--release of a process without ebb/auto is refused, and its inside is not known', async () => {
  const plain = new Cli([process.execPath, '-e', "setInterval(() => {}, 1e6); console.log('ready')"])
  await plain.said(/^ready$/m)
  const { inside, notes } = await diagnose(plain.pid, { watch: 0 })
  expect({ inside, notes }).toEqual({
    inside: null,
    notes: [expect.stringMatching(/^the inside of Node is not known: /)]
  })
  for (const pid of [plain.pid, new Cli(['sleep', '60']).pid]) {
    const { code, stdout, stderr } = await run(['doctor', String(pid), '--for', '0', '--release'])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^ebb: ENOTSUP: process \d+ cannot be made to release memory: .*\n$/)
  }
})

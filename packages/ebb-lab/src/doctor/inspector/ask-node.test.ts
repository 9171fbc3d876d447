/** Real processes of Node, with and without ebb, asked at their inside socket and through their inspector. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { readStat } from 'ebb/memory'
import { describe, expect, onTestFinished, test } from 'vitest'
import { askNode } from './ask-node.js'

const ROOT = fileURLToPath(new URL('../../../../..', import.meta.url))
const GARBAGE = 'globalThis.kept = Array.from({ length: 300_000 }, (_, i) => ({ i })); kept = undefined;'

/** Starts a command in a network namespace of its own. */
const WITHOUT_NET = ['unshare', '--net'] as const

/** Starts a program that waits. @returns the process and what it has written on standard error so far */
async function started(
  source: string,
  args: string[] = [],
  before: readonly string[] = []
): Promise<[ChildProcess, () => string]> {
  const script = `setInterval(() => {}, 1e6); ${source}; console.log('ready')`
  // A port of its own for the inspector: another test, or another program, may have the default one.
  const [command = '', ...rest] = [...before, process.execPath, '--inspect-port=0', ...args, '-e', script]
  // In a group of its own, so that a test with --inspect finds no option of the runner.
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(command, rest, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  child.stderr?.setEncoding('utf8').on('data', (part) => {
    text += part
  })
  onTestFinished(async () => {
    const ended = new Promise((resolve) => child.on('close', resolve))
    if (child.kill('SIGKILL')) await ended
  })
  const lines = createInterface(child.stdout as NonNullable<typeof child.stdout>)
  await new Promise<void>((resolve, reject) => {
    lines.on('line', () => resolve())
    child.on('close', () => reject(new Error(`it ended: ${text}`)))
  })
  return [child, () => text]
}

function isAlive({ pid = 0 }: ChildProcess): boolean {
  return process.kill(pid, 0)
}

describe('askNode()', () => {
  test('asks a process with ebb/auto at its inside socket, and lets it release memory', async () => {
    const [{ pid = 0 }, stderr] = await started(GARBAGE, ['--import', 'ebb/auto'])
    const { route, inside, released, notes } = await askNode(pid, { inspect: true, release: true, timeout: 30_000 })
    expect([route, inside.pid, notes, stderr()]).toEqual(['socket', pid, [], ''])
    expect(released?.before).toBeGreaterThan(released?.after ?? 0)
  })

  test('asks a process without ebb through its inspector, only if told to, and closes it again', async () => {
    const [{ pid = 0 }, stderr] = await started(GARBAGE)
    await expect(askNode(pid)).rejects.toMatchObject({ code: 'ERR_EBB_NO_INSIDE' })
    expect(stderr()).toBe('')
    const first = await askNode(pid, { inspect: true })
    expect(first).toMatchObject({
      route: 'inspector',
      inside: { pid, runtime: { name: 'node', version: process.version }, heap: { spaces: expect.any(Array) } },
      released: null,
      notes: [expect.stringMatching(/^SIGUSR1 opened the inspector at 127\.0\.0\.1:\d+, and it is closed again$/)]
    })
    expect(first.inside.malloc).toBeUndefined()
    // With our library in the process, it tells as much as one with ebb/auto.
    const { inside, released } = await askNode(pid, { inspect: true, release: true, timeout: 30_000 })
    expect(inside).toMatchObject({ pid, release: { expected: expect.any(Number) }, servers: [] })
    expect((released?.before ?? 0) - (released?.after ?? 0)).toBeGreaterThan(1_000_000)
    expect(stderr().match(/Debugger listening/g)).toHaveLength(2)
  })

  test('uses an inspector that is open already, at any port, and leaves it open', async () => {
    const [{ pid = 0 }] = await started('', ['--inspect=127.0.0.1:0'])
    for (let i = 0; i < 2; i++) {
      const { notes } = await askNode(pid, { inspect: true })
      expect(notes).toEqual([
        expect.stringMatching(/^the inspector was open already, at 127\.0\.0\.1:\d+, and is left/)
      ])
    }
  })

  test('gets an answer while the event loop is busy', async () => {
    const [{ pid = 0 }] = await started('setTimeout(() => { for (;;) Date.now() }, 50)')
    const { inside } = await askNode(pid, { inspect: true, timeout: 50_000 })
    expect(inside.pid).toBe(pid)
  })

  test('says that a process is not Node, does not catch SIGUSR1, or is stopped, and sends no signal', async () => {
    const sleep = spawn('sleep', ['60'])
    onTestFinished(() => void sleep.kill('SIGKILL'))
    await new Promise((resolve) => sleep.on('spawn', resolve))
    await expect(askNode(sleep.pid ?? 0, { inspect: true })).rejects.toMatchObject({ code: 'ERR_EBB_NOT_NODE' })
    expect(isAlive(sleep)).toBe(true)
    const [stopped, stderr] = await started('')
    stopped.kill('SIGSTOP')
    // The kernel stops it when it next runs.
    while (readStat(stopped.pid ?? 0).state !== 'T') await new Promise((resolve) => setTimeout(resolve, 5))
    await expect(askNode(stopped.pid ?? 0, { inspect: true })).rejects.toMatchObject({
      code: 'ERR_EBB_INSPECT_STOPPED'
    })
    expect(stderr()).toBe('')
  })

  test.skipIf(!process.allowedNodeEnvironmentFlags.has('--disable-sigusr1'))(
    'does not end a process with --disable-sigusr1',
    async () => {
      const [child] = await started('', ['--disable-sigusr1'])
      await expect(askNode(child.pid ?? 0, { inspect: true })).rejects.toMatchObject({ code: 'ERR_EBB_INSPECT_SIGNAL' })
      expect(isAlive(child)).toBe(true)
    }
  )

  test('says that a program handles SIGUSR1 itself', async () => {
    const [child] = await started("process.on('SIGUSR1', () => {})")
    await expect(askNode(child.pid ?? 0, { inspect: true })).rejects.toMatchObject({
      code: 'ERR_EBB_INSPECT_SIGNAL',
      message: expect.stringMatching(/handles that signal itself/)
    })
  })

  test.skipIf(!mayUnshare())('says that a process is in another network namespace', async () => {
    const [plain, stderr] = await started('', [], WITHOUT_NET)
    await expect(askNode(plain.pid ?? 0, { inspect: true })).rejects.toMatchObject({
      code: 'ERR_EBB_INSPECT_NAMESPACE'
    })
    expect(stderr()).toBe('')
    const [{ pid = 0 }] = await started('', ['--import', 'ebb/auto'], WITHOUT_NET)
    await expect(askNode(pid)).rejects.toMatchObject({
      code: 'ERR_EBB_NO_INSIDE',
      message: expect.stringMatching(/another network namespace/)
    })
  })
})

function mayUnshare(): boolean {
  try {
    const [unshare, ...args] = [...WITHOUT_NET, 'true']
    execFileSync(unshare, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

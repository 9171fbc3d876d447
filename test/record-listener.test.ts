/** `ebb record` and `ebb bench` record the process that listens, whatever stands between it and the command. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { Cli, run } from './support/cli.js'
import { alive } from './support/processes.js'
import { directory, lineOf } from './support/sockets.js'

const node = process.execPath

// A folder with a server that listens on its first argument and prints the port, and whose `npm start` runs it.
const cwd = mkdtempSync(join(tmpdir(), 'ebb-'))
afterAll(() => rmSync(cwd, { recursive: true }))
const script = join(cwd, 'listens.cjs')
writeFileSync(
  script,
  "const server = require('node:net').createServer().listen(process.argv[2], () => console.log(server.address().port))"
)
writeFileSync(join(cwd, 'package.json'), JSON.stringify({ scripts: { start: `"${node}" listens.cjs` } }))

interface Header {
  pid: number
  command: string[]
  runtime: { name: string }
}

/** Returns the header of a recording, and its last event. */
function read(path: string): { header: Header; end: unknown; samples: number } {
  const lines = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  return { header: lines[0], end: lines.at(-1), samples: lines.filter(({ type }) => type === 'sample').length }
}

const fork = `require('node:child_process').fork('${script}', ['0'])`
const commands: Record<string, string[]> = {
  'a server without anything in front of it': [node, script, '0'],
  'sh -c': ['/bin/sh', '-c', `"${node}" "${script}" 0; true`],
  'a script behind a script': ['/bin/sh', '-c', `/bin/sh -c '"${node}" "${script}" 0; true'; true`],
  'npm start': ['npm', '--prefix', cwd, 'start', '--', '0'],
  npx: ['npx', '--no-install', 'node', script, '0'],
  'a launcher that forks': [node, '-e', fork],
  'a background job': ['/bin/sh', '-c', `"${node}" "${script}" 0 &`],
  'a daemon': ['setsid', '-f', node, script, '0'],
  'a daemon whose parent has ended': ['/bin/sh', '-c', `(setsid "${node}" "${script}" 0 &)`]
}

test.each(Object.entries(commands))('record -- %s', async (_, command) => {
  const out = join(directory(), 'server.ndjson')
  const { code, stderr } = await run(['record', '--out', out, '--duration', '500ms', '--', ...command])
  const { header, end } = read(out)
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining(`process ${header.pid} (`) })
  expect(header).toMatchObject({ runtime: { name: 'node' } })
  expect(header.command.join(' ')).toMatch(/listens\.cjs \d+$/)
  expect(end).toMatchObject({ event: 'end', reason: 'duration' })
  // Whatever the command has started ends with the recording.
  expect(alive(header.pid)).toBe(false)
})

test('bench finds a server that a command leaves in the background, and ends it', async () => {
  const args = ['--big', '20', '--small', '10', '--linger', '50ms', '-bs=50ms', '-ss=50ms', '--pulses', '1']
  const command = ['/bin/sh', '-c', `"${node}" "${script}" {port} &`]
  const { code, stderr, stdout } = await run(['bench', '--json', ...args, '--', ...command])
  expect({ code, stderr }).toMatchObject({ code: 0 })
  expect(JSON.parse(stdout).verdicts[0]).toMatchObject({ connects: 70 })
  const pids = [...stderr.matchAll(/process (\d+) on port/g)].map(([, pid]) => Number(pid))
  expect(pids).toHaveLength(2)
  expect(pids.filter(alive)).toEqual([])
})

test('a command that does not listen is recorded itself', async () => {
  const out = join(directory(), 'job.ndjson')
  // It ends when the recording has two samples of it.
  const job = `
    const { existsSync, readFileSync } = require('node:fs')
    const read = () => existsSync('${out}') ? readFileSync('${out}', 'utf8') : ''
    setInterval(() => { if (read().split('"sample"').length > 2) process.exit(0) }, 20)`
  const { code } = await run(['record', '--out', out, '--', node, '-e', job])
  const { header, end, samples } = read(out)
  expect(code).toBe(0)
  expect(header.command.at(-1)).toBe(job)
  expect(end).toMatchObject({ reason: 'exited', exitCode: 0 })
  expect(samples).toBeGreaterThan(1)
})

test('a command that ends at once: its exit code and its words, exit 1', async () => {
  const at = ['--out', join(directory(), 'server.ndjson')]
  const stderr = async (...command: string[]): Promise<string | undefined> => {
    const { code, stderr } = await run(['record', ...at, '--', ...command])
    expect(code).toBe(1)
    return stderr.trim().split('\n').at(-1)
  }
  expect(await stderr('true')).toBe('ebb: ESRCH: true ended at once (exit code 0)')
  expect(await stderr('/bin/sh', '-c', 'echo no database >&2; exit 3')).toMatch(
    /^ebb: ESRCH: \/bin\/sh .* ended at once \(exit code 3\); it said: no database$/
  )
})

test('--pid of a shell records the server below it, --pid of any other process that process', async () => {
  const shell = new Cli(['/bin/sh', '-c', `"${node}" "${script}" 0; true`])
  const header = async (pid: number): Promise<Header> => {
    const { stdout } = await run(['record', '--pid', String(pid), '--duration', '200ms'])
    return JSON.parse(stdout.split('\n')[0] as string)
  }
  await expect.poll(async () => (await header(shell.pid)).command).toEqual([node, script, '0'])
  const parent = new Cli([node, '-e', fork])
  expect(await header(parent.pid)).toMatchObject({ pid: parent.pid })
})

test.skipIf(process.getuid?.() !== 0)('--port of docker-proxy records the server in the container', async () => {
  const inside = new Cli([
    ...['unshare', '-n', '/bin/sh', '-c'],
    `ip link set lo up && ip addr add 10.99.0.2/32 dev lo && exec "${node}" "${script}" 0`
  ])
  const [, there = ''] = await inside.said(/^(\d+)$/m)
  const to = ['-proto', 'tcp', '-container-ip', '10.99.0.2', '-container-port', there]
  const proxy = spawn(node, [script, '0', ...to], { argv0: 'docker-proxy' })
  onTestFinished(() => void proxy.kill('SIGKILL'))
  const port = await lineOf(proxy.stdout)
  const { stdout } = await run(['record', '--port', port, '--duration', '200ms'])
  expect(JSON.parse(stdout.split('\n')[0] as string)).toMatchObject({ pid: inside.pid })
  const plan = ['--big', '20', '--small', '10', '--linger', '50ms', '-bs=50ms', '-ss=50ms', '--pulses', '1']
  const bench = await run(['bench', '--json', '--port', port, ...plan])
  expect(bench.stderr).toContain(`process ${inside.pid} on port ${port}`)
  expect(bench).toMatchObject({ code: 0 })
})

/** `ebb doctor`: processes that it is given, commands that it starts, output, and errors. */
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Cli, ebb, run, server } from '../support/cli.js'
import { sectionOf } from '../support/pages.js'
import { alive } from '../support/processes.js'
import { until } from '../support/sockets.js'

/** Holds objects in V8's heap, more memory in a buffer, and the most in nothing else. */
const HOLDER = `const objects = Array.from({ length: 200_000 }, (_, i) => ({ i }))
const buffer = Buffer.alloc(60e6, 1)
process.on('SIGINT', () => { console.log('got SIGINT', objects.length, buffer.length); process.exit(0) })
setInterval(() => {}, 1e6)
console.log('ready')`
const HOLD = [process.execPath, '-e', HOLDER]

async function holder(): Promise<Cli> {
  const program = new Cli(HOLD)
  await program.said(/^ready$/m)
  return program
}

/** Replaces each value by its type. A list is shown by its first item, an object by name of varying keys as `{}`. */
function shapeOf(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])]
  if (typeof value !== 'object' || value === null) return value === null ? null : typeof value
  if (key === 'kinds' || key === 'count') return {}
  return Object.fromEntries(Object.entries(value).map(([name, own]) => [name, shapeOf(own, name)]))
}

test('a process by its id: V8 and buffers are told apart, and JSON has the documented shape', async () => {
  const { pid } = await holder()
  const { code, stdout, stderr } = await run(['doctor', String(pid), '--for', '300ms', '--json'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const found = JSON.parse(stdout)
  const [first, second] = found.parts.filter(({ group }: { group: string }) => group === 'anonymous')
  expect([first.kind, second.kind]).toEqual(['blocks', 'v8'])
  expect(first.bytes).toBeGreaterThan(60e6)
  const limit = expect.toSatisfy((value) => value === null || value === 'number')
  expect(shapeOf(found)).toEqual({
    version: 'number',
    pid: 'number',
    name: 'string',
    runtime: { name: 'string', version: 'string', allocator: 'string' },
    state: 'string',
    memory: Object.fromEntries(
      ['resident', 'anonymous', 'file', 'swapped', 'peak', 'pageTables', 'lazy', 'reserved'].map((n) => [n, 'number'])
    ),
    parts: [
      {
        kind: 'string',
        group: 'string',
        name: expect.toSatisfy((value) => value === null || value === 'string'),
        bytes: 'number',
        huge: 'number',
        swapped: 'number',
        mappings: 'number'
      }
    ],
    mappings: { count: 'number', limit: 'number' },
    threads: { count: 'number', stacks: [{ tid: 'number', name: 'string', bytes: 'number' }] },
    malloc: Object.fromEntries(
      ['heaps', 'used', 'free', 'releasable', 'tops', 'unknown'].map((name) => [name, 'number'])
    ),
    hugePages: expect.toSatisfy((value) => value === null || typeof value === 'object'),
    descriptors: {
      open: 'number',
      limit,
      kinds: {},
      sockets: {
        count: {},
        unread: 'number',
        unsent: 'number',
        withUnread: 'number',
        withUnsent: 'number',
        waiting: 'number'
      }
    },
    cgroup: expect.toSatisfy((value) => value === null || typeof value === 'object'),
    trend: Object.fromEntries(
      ['over', 'from', 'to', 'lowest', 'highest', 'perMinute', 'cpu'].map((name) => [name, 'number'])
    ),
    inside: null,
    hasAuto: 'boolean',
    release: null,
    advice: [
      {
        code: 'string',
        text: 'string',
        reason: 'string',
        figure: { name: 'string', value: 'number', unit: 'string' },
        source: 'string'
      }
    ],
    notes: ['string']
  })
  // The reference names each field, also those within another one.
  const reference = sectionOf('docs/reference/json.md', '## ebb doctor')
  const names = (value: unknown, key = ''): string[] =>
    typeof value !== 'object' || value === null || key === 'kinds' || key === 'count'
      ? []
      : Array.isArray(value)
        ? names(value[0])
        : Object.entries(value).flatMap(([name, own]) => [name, ...names(own, name)])
  expect(names(found).filter((name) => !reference.includes(`\`${name}\``))).toEqual([])
})

test('the process that listens on a port, as a table of 80 columns', async () => {
  const { port, pid } = await server()
  const { code, stdout, stderr } = await run(['doctor', '--port', String(port), '--for', '0'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toContain(`process ${pid}, Node ${process.versions.node}`)
  expect(stdout).toMatch(/^sockets .* tcp LISTEN/m)
  expect(stdout).not.toMatch(/^trend/m)
  const wide = stdout.split('\n').filter((line) => line.length > 80 && !line.includes('https://'))
  expect(wide).toEqual([])
})

test('a command is examined when its memory is still, and ended', async () => {
  const { code, stdout, stderr } = await run([
    'doctor',
    '--for',
    '0',
    '--',
    'sh',
    '-c',
    `"${HOLD[0]}" -e "$0"; true`,
    HOLDER
  ])
  expect({ code, stderr }).toEqual({ code: 0, stderr: 'ready\n' })
  // The process behind the shell.
  const [, pid = ''] = /^process (\d+), Node/m.exec(stdout) ?? []
  expect(alive(Number(pid))).toBe(false)
})

test('Ctrl-C examines a command at once, and is passed on', async () => {
  const doctor = ebb(['doctor', '--', ...HOLD])
  await doctor.said(/^ready$/m)
  const { code, stdout, stderr } = await doctor.end('SIGINT')
  expect({ code, stderr }).toEqual({ code: 0, stderr: 'ready\ngot SIGINT 200000 60000000\n' })
  expect(stdout).toMatch(/^process \d+, Node/m)
})

test('a command that ends before is an error', async () => {
  const { code, stderr } = await run(['doctor', '--', 'sh', '-c', 'echo broken >&2; exit 7'])
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringMatching(/^ebb: ESRCH: sh -c .* ended before it was examined \(exit code 7\)/m)
  })
})

/** Ends when it is asked at its inside socket. */
const ENDS = `const ask = process.getActiveResourcesInfo
process.getActiveResourcesInfo = () => (setImmediate(() => process.exit()), ask.call(process))
setInterval(() => {}, 1e6)
console.log('ready')`

test('a process that ends while it is watched is told', async () => {
  const program = new Cli([process.execPath, '--import', 'ebb/auto', '-e', ENDS])
  await program.said(/^ready$/m)
  const { code, stdout } = await run(['doctor', String(program.pid), '--for', '1h', '--json'])
  expect({ code, ...JSON.parse(stdout) }).toMatchObject({
    code: 0,
    hasAuto: true,
    notes: expect.arrayContaining(['the process ended while it was watched'])
  })
})

test('a stopped process is examined, with a note', async () => {
  const program = await holder()
  program.kill('SIGSTOP')
  const { code, stdout } = await run(['doctor', String(program.pid), '--for', '0'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^note +the process is stopped: it runs on after SIGCONT$/m)
})

test.each([
  [[], 'the process is not given, or given twice: give exactly one of PID, --port PORT and -- COMMAND'],
  [['--port', '8080', '4242'], 'the process is not given, or given twice'],
  [['0'], 'a process id is a whole number above 0'],
  [['12.5'], 'a process id is a whole number above 0'],
  [['sleep', '60'], '"sleep 60" is no process id: give a PID (pgrep -a NAME), --port PORT, or -- COMMAND to start'],
  [['4242', '--', 'sleep', '60'], 'the process is not given, or given twice'],
  [['4242', '--for', 'x'], '--for "x": a time is a number of seconds'],
  [['4194999'], 'ESRCH: there is no process 4194999'],
  [['--', '/no/such'], 'ENOENT: cannot start /no/such: no such program']
])('ebb doctor %j is refused', async (args, sentence) => {
  const { code, stdout, stderr } = await run(['doctor', ...args])
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toContain(sentence)
  expect(stderr.trim().split('\n')).toHaveLength(1)
})

test('a zombie has no memory', async () => {
  // The shell becomes a program that never waits for its child, which is ended after that.
  const parent = new Cli(['sh', '-c', 'sleep 60 & echo "child $!"; exec sleep 60'])
  const [, pid = ''] = await parent.said(/child (\d+)/)
  await until(() => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n')
  process.kill(Number(pid))
  await until(() => /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
  const { code, stderr } = await run(['doctor', pid])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^ebb: ESRCH: process \d+ /) })
})

/** A container sees no kernel threads. */
const hasKernelThreads = existsSync('/proc/2/comm') && readFileSync('/proc/2/comm', 'utf8') === 'kthreadd\n'

test.skipIf(!hasKernelThreads)('a kernel thread has no memory', async () => {
  const { code, stderr } = await run(['doctor', '2'])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^ebb: EINVAL: .* is a kernel thread/) })
})

test.skipIf(process.getuid?.() !== 0)("another user's process may not be examined", async () => {
  const { pid } = await holder()
  const { code, stderr } = await run(['doctor', String(pid)], { uid: 65_534 })
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: `ebb: EACCES: the memory of process ${pid} cannot be read: this user may not look into it: run as its user or as root\n`
  })
})

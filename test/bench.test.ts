import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ebb, MAIN, run, server } from './support/cli.js'
import { alive, descendants } from './support/processes.js'
import { directory, until } from './support/sockets.js'

const SMALL = '-big=100 -small=20 -i 1 -l 300ms -bs=1.2 -ss 100ms --pulses 2'.split(' ')
const SERVE = [process.execPath, MAIN, 'serve', '--port', '{port}']

test('without a target it tests both modes of ebb serve, and ebb report prints the same table', async () => {
  const out = directory()
  const { code, stdout, stderr } = await run(['bench', ...SMALL, '--out', out])
  expect(code).toBe(0)
  expect(stderr).toContain('net  control')
  expect(stdout).toMatch(/^ +ebb +net$/m)
  const [table = ''] = stdout.split('\nWritten')
  expect(table.split('\n').filter((line) => line.length > 80)).toEqual([])
  const recordings = ['ebb.control.ndjson', 'ebb.ndjson', 'net.control.ndjson', 'net.ndjson']
  expect(readdirSync(out).sort()).toEqual([...recordings, 'memory.svg', 'report.html', 'runtime.svg'].sort())
  const again = await run([
    'report',
    ...recordings.map((name) => join(out, name)).reverse(),
    '--out',
    join(out, 'again'),
    '--json'
  ])
  const first = await run(['report', ...recordings.map((name) => join(out, name)), '--out', join(out, 'again')])
  const [told] = stdout.split('\n\nWritten')
  expect(first.stdout.split('\n\nWritten')[0]).toBe(told)
  expect(JSON.parse(again.stdout).verdicts).toHaveLength(2)
})

test('-- COMMAND with --json prints nothing but JSON, and exits 3 if a limit is exceeded', async () => {
  const { code, stdout, stderr } = await run(['bench', ...SMALL, '--json', '--max-retention', '0.01', '--', ...SERVE])
  expect(code).toBe(3)
  const { verdicts, broken } = JSON.parse(stdout)
  expect(verdicts).toMatchObject([{ name: 'ebb.js', big: 100, small: 20, connects: 140, failed: 0, lost: 0 }])
  expect(broken).toHaveLength(1)
  expect(stderr).toMatch(/^limit broken: ebb\.js: .*retention/m)
})

const FOLLOWED = '--small 20 -l 300ms -bs 1.2 -ss 100ms --pulses 2'.split(' ')

test('a ramp in place of the big pulses: its peak is the big pulse, and small pulses and a control follow', async () => {
  const ramp = ['--ramp', '100/500ms,100/700ms,0/200ms', '--churn', '50/s']
  const { code, stdout } = await run(['bench', ...ramp, ...FOLLOWED, '--json', '--', ...SERVE])
  expect(code).toBe(0)
  const [verdict] = JSON.parse(stdout).verdicts
  expect(verdict).toMatchObject({ big: 100, iterations: 1, small: 20, failed: 0, lost: 0 })
  for (const figure of ['hold', 'footprint', 'retention', 'kept', 'need'])
    expect([figure, verdict[figure]]).not.toContain(null)
  // More than 100 and 2 x 20, because some were replaced.
  expect(verdict.connects).toBeGreaterThan(150)
})

test('each peak of a sawtooth is a big pulse, and --json-stream tells all of it', async () => {
  const shape = ['--shape', 'sawtooth,low=10,high=60,period=600ms,duration=1250ms']
  const { code, stdout } = await run(['bench', ...shape, ...FOLLOWED, '--json-stream', '--', ...SERVE])
  expect(code).toBe(0)
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  const main = lines.filter(({ role }) => role === 'main')
  const steps = main.filter(({ pulse, type }) => pulse !== undefined && type !== 'progress')
  expect(steps.map(({ pulse, type }) => [pulse.index, pulse.size, type])).toEqual(
    ['big', 'big', 'small', 'small'].flatMap((size, index) =>
      ['pulse', 'connected', 'closing', 'closed'].map((step) => [index, size, step])
    )
  )
  expect(main.filter(({ type }) => type === 'stats').at(-1).server.anonymous).toBeGreaterThan(0)
  expect(lines.at(-1)).toMatchObject({ type: 'result', verdicts: [{ big: 60, iterations: 2, small: 20 }] })
})

test.each([
  [['--shape', 'steady,connections=10'], /a shape without end has no verdict/],
  [['--shape', 'pulse,big=10'], /--shape pulse is what ebb bench does/],
  [['--ramp', '0/1s'], /the shape has no connection/],
  [['--ramp', '5/1s', '--big', '5'], /--big is for pulses/],
  [['--json', '--json-stream'], /leave out --json/]
])('refuses %j', async (args, sentence) => {
  const { code, stdout, stderr } = await run(['bench', ...args, '--', ...SERVE])
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(sentence)
})

test('--tree adds up four servers and their supervisor; without it, several listeners are refused', async () => {
  const out = directory()
  const several = [process.execPath, MAIN, 'serve', '--port', '{port}', '--procs', '4']
  const whole = await run(['bench', ...SMALL, '--tree', '--name', 'four', '--out', out, '--json', '--', ...several])
  expect(whole.code).toBe(0)
  expect(JSON.parse(whole.stdout).verdicts).toMatchObject([{ name: 'four', connects: 140, failed: 0, lost: 0 }])
  const [header, ...lines] = readFileSync(join(out, 'four.ndjson'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(header).toMatchObject({ tree: true })
  const during = lines.slice(lines.findIndex(({ event }) => event === 'pulse')).filter(({ type }) => type === 'sample')
  expect(during.length).toBeGreaterThan(5)
  // All five processes, until they end.
  expect(during.slice(0, -3).filter(({ processes }) => processes !== 5)).toEqual([])
  const alone = await run(['bench', ...SMALL, '--', ...several])
  // The servers begin to listen one after the other, so the number depends on when it checks.
  expect(alone).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^ebb: EEXIST: [2-4] processes listen on port .*--tree/m)
  })
})

test('two --target commands run through the shell', async () => {
  const target = (name: string): string[] => ['--target', `${name}="${process.execPath}" "${MAIN}" serve --port {port}`]
  const { code, stdout } = await run(['bench', ...SMALL, ...target('one'), ...target('two')])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^ +one +two$/m)
})

test('a target that fails leaves the verdicts and the report of those that have finished', async () => {
  const out = directory()
  const target = (name: string, command: string): string[] => ['--target', `${name}=${command}`]
  const good = target('good', `"${process.execPath}" "${MAIN}" serve --port {port}`)
  const { code, stdout, stderr } = await run(['bench', ...SMALL, '--out', out, ...good, ...target('bad', 'nosuch')])
  expect(code).toBe(1)
  expect(stdout).toMatch(/^ +good$/m)
  expect(stdout).toMatch(/^retention +[✓~✗] \d/m)
  expect(stderr).toMatch(/^ebb: ESRCH: .*nosuch ended before it listened/m)
  expect(readdirSync(out).sort()).toEqual([
    'good.control.ndjson',
    'good.ndjson',
    'memory.svg',
    'report.html',
    'runtime.svg'
  ])
})

test('a port or a pid that no server has is reported before any other server is started', async () => {
  for (const which of [
    ['--port', '1'],
    ['--pid', '4194304']
  ]) {
    const { code, stdout, stderr } = await run(['bench', ...SMALL, ...which, '--', ...SERVE])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    // One line: nothing was started.
    expect(stderr).toMatch(/^ebb: ESRCH: .*\n$/)
  }
})

test('--port: the table of a running server says what is missing without a control run', async () => {
  const cli = await server()
  const { code, stdout } = await run(['bench', ...SMALL, '--port', String(cli.port)])
  expect(code).toBe(0)
  expect(stdout).toMatch(/retention +-/)
  expect(stdout).toMatch(/control/)
  expect(alive(cli.pid)).toBe(true)
})

test('Ctrl-C leaves no process behind', async () => {
  const bench = ebb(['bench', ...SMALL, '-l', '60', '--', ...SERVE])
  await bench.said(/holding 100/)
  const started = descendants(bench.pid)
  expect(started.length).toBeGreaterThan(0)
  expect(await bench.end('SIGINT')).toMatchObject({ code: 130, stdout: '' })
  // The reaper, which ends the other processes, goes last.
  await until(() => started.filter(alive).length === 0)
})

test('a server that dies in the middle of a run is reported, with exit code 2', async () => {
  const mortal = `const s = require('node:net').createServer(() => setTimeout(() => process.exit(9), 200)).listen(+process.argv[1], '127.0.0.1')`
  const { code, stdout } = await run([
    'bench',
    ...SMALL,
    '--name',
    'mortal',
    '--',
    process.execPath,
    '-e',
    mortal,
    '{port}'
  ])
  expect(code).toBe(2)
  expect(stdout).toMatch(/ended/)
})

test('bad input is reported in one sentence, with exit code 1', async () => {
  const cases: [string[], RegExp][] = [
    [['bench', '--pulses', 'forever'], /--pulses forever/],
    [['bench', '--big', '-1'], /big/],
    [['bench', '--linger', '-1'], /linger/],
    [['bench', '--target', 'noequals'], /NAME=COMMAND/],
    [['bench', '--target', 'a=true', '--target', 'a=true'], /\ba\b/],
    [['bench', ...SMALL, '--', 'true'], /ended before it listened/],
    [['bench', ...SMALL, '--', '/no/such/program'], /no such program/],
    [['bench', ...SMALL, '--out', '/proc/nothere'], /\/proc/],
    [['bench', '--port', '99999'], /port/],
    [['pulse'], /server/],
    [['pulse', '3033', '--active', '10%'], /add --message TEXT/],
    [['pulse', '3033', '--procs', '0'], /1 or more/],
    [['pulse', 'no.such.host.invalid:80', '--big', '1'], /no\.such\.host\.invalid/],
    [['pulse', '3033', '--nosuch'], /unknown option/],
    [['doctor', '1', '--live'], /unknown option '--live': run "ebb doctor --help"/],
    [
      ['top', '--sort', 'nosuch'],
      /^ebb: --sort "nosuch": it must be one of name, pid, .*, cpu: run "ebb top --help"$/m
    ],
    [['report'], /file/],
    [['report', '/no/such.ndjson'], /no such/],
    [['pulze'], /unknown command/]
  ]
  for (const [args, sentence] of cases) {
    const { code, stderr, stdout } = await run(args)
    expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' })
    expect(stderr).toMatch(sentence)
    expect(stderr).not.toMatch(/^\s+at /m)
  }
})

test('every --help fits into 80 columns', async () => {
  const commands = ['serve', 'agent', 'pulse', 'record', 'top', 'bench', 'doctor', 'box', 'report', 'run']
  for (const args of [[], ...commands.map((command) => [command])]) {
    const { code, stdout } = await run([...args, '--help'])
    expect(code).toBe(0)
    expect(stdout).not.toMatch(/\(default: [^)]*\) \(default/)
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  }
})

const LISTENS = "require('node:net').createServer().listen(process.argv[1])"

test('too few descriptors or ports are told before anything is measured', async () => {
  const serves = (limit: string): string => `${limit}exec "${process.execPath}" -e "${LISTENS}" {port}`
  const refused = async (args: string[], shell?: string): Promise<string> => {
    const { code, stdout, stderr } = await run(['bench', ...args], shell === undefined ? {} : { shell })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).not.toContain('pulse 1')
    return stderr.trim().split('\n').at(-1) as string
  }
  const missing = /^ebb: EMFILE: mine is to hold 10,000 connections, .* missing; ask for fewer, or raise the limit/
  expect(await refused(['--target', `mine=${serves('')}`], 'ulimit -n 600')).toMatch(missing)
  expect(await refused(['--target', `mine=${serves('ulimit -n 600; ')}`])).toMatch(missing)
  const small = await server(['--mode', 'net'], { shell: 'ulimit -n 600' })
  const first = await refused(['--target', `first=${serves('')}`, '--port', String(small.port), '--name', 'mine'])
  expect(first).toMatch(missing)
  const pulse = async (...args: string[]): Promise<string> => (await run(['pulse', ...args])).stderr
  expect(await pulse('[::1]:1', '--big', '200k')).toMatch(/^ebb: EADDRNOTAVAIL: 200,000 connections to ::1:1 need more/)
  expect(await pulse('1', '--big', '200k', '--procs', '1')).toMatch(/^ebb: EMFILE: 200,000 connections do not fit/)
})

test('a server that dies in the middle: one cause, its exit code and its last words', async () => {
  const source = `let n = 0
    require('node:net').createServer((socket) => {
      socket.on('error', () => {})
      if (++n === 100) setTimeout(() => { console.error('Error: the pool is empty'); process.exit(7) }, 200)
    }).listen(process.argv[1])`
  const { code, stdout, stderr } = await run(['bench', ...SMALL, '--', process.execPath, '-e', source, '{port}'])
  expect(code).toBe(2)
  const how = 'the server ended with exit code 7 after [\\d.]+ m?s; it said: Error: the pool is empty$'
  expect(stderr).toMatch(new RegExp(`note: ${how}`, 'm'))
  expect(stderr).not.toMatch(/pulse 2|control/)
  expect(stdout).toMatch(/ended before the run was over\.$/m)
  expect(stdout).toMatch(/^\[1\] The server ended with exit code 7 after .* s, in the middle of a pulse; it/m)
  expect(stdout).not.toContain('[2]')
})

test('Ctrl-C names the recording that was cut off, and ebb report reads it', async () => {
  const out = directory()
  const bench = ebb(['bench', '--out', out, '--', ...SERVE])
  await bench.said(/at rest/)
  const { code, stderr } = await bench.end('SIGINT')
  expect(code).toBe(130)
  const file = join(out, 'ebb.js.ndjson')
  expect(stderr).toContain(`interrupted; what was recorded is in ${file}, which ebb report reads\n`)
  expect((await run(['report', file, '--out', join(out, 'report')])).code).toBe(0)
})

test('--runs measures each server several times, in turns; ebb report DIR prints the same', async () => {
  const out = directory()
  const earlier = ['net.3.ndjson', 'net.3.control.ndjson'].map((name) => join(out, name))
  for (const path of earlier) writeFileSync(path, '{"type":"header","format":1,"name":"net"}\n')
  const refused = await run(['bench', ...SMALL, '--runs', '2', '--out', out])
  expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^ebb: EEXIST: .*net\.3\./) })
  const { code, stdout, stderr } = await run(['bench', ...SMALL, '--runs', '2', '--overwrite', '--out', out])
  expect(code).toBe(0)
  const started = [...stderr.matchAll(/^(ebb|net) +(run \d of 2) +(main|control) +process/gm)].map(
    ([, ...parts]) => parts
  )
  expect(started.map((parts) => parts.join(' '))).toEqual(
    ['run 1 of 2', 'run 2 of 2'].flatMap((which) =>
      ['ebb', 'net'].flatMap((name) => ['main', 'control'].map((role) => `${name} ${which} ${role}`))
    )
  )
  expect(stdout).toMatch(/^ {2}spread +\S/m)
  expect(stdout).toMatch(/^runs +2 +2$/m)
  expect(readdirSync(out).filter((name) => name.startsWith('net'))).toEqual([
    'net.1.control.ndjson',
    'net.1.ndjson',
    'net.2.control.ndjson',
    'net.2.ndjson'
  ])
  const again = await run(['report', out, '--out', join(out, 'again')])
  expect(again.stdout.split('\n\nWritten')[0]).toBe(stdout.split('\n\nWritten')[0])
  const json = JSON.parse((await run(['report', out, '--out', join(out, 'again'), '--json'])).stdout)
  expect(json.verdicts).toMatchObject([{ runs: 2, spread: { rest: { low: expect.any(Number) } } }, { runs: 2 }])
  // Eight runs, one after the other.
}, 120_000)

test('Ctrl-C in a later run prints what the finished runs show', async () => {
  const out = directory()
  const bench = ebb(['bench', ...SMALL, '--runs', '20', '--out', out, '--', ...SERVE])
  await bench.said(/run 3 of 20 +main +process/)
  const { code, stdout, stderr } = await bench.end('SIGINT')
  expect(code).toBe(130)
  expect(stdout).toMatch(/^runs +2$/m)
  expect(stderr).toContain(
    'The main run on ebb.js was interrupted in run 3 of 20; the verdicts are about the runs before it.'
  )
  expect(stderr).toContain(`interrupted; what was recorded is in ${join(out, 'ebb.js.3.ndjson')}`)
  const again = await run(['report', out, '--out', join(out, 'again')])
  expect(again.stdout.split('\n\nWritten')[0]).toBe(stdout.split('\n\nWritten')[0])
  expect(again.stderr).toContain('One run on ebb.js is left out')
})

test.each([
  [['--runs', '0'], /--runs "0": it must be a whole number from 1 to 100/],
  [['--runs', '101'], /--runs "101": it must be a whole number from 1 to 100/],
  [['--source', '192.0.2.1'], /^ebb: EADDRNOTAVAIL: the source 192\.0\.2\.1 is not an address of this machine: .*\n$/],
  [['--runs', '2', '--pid', '1'], /--runs starts a fresh server for each run/]
])('%j is refused', async (args, message) => {
  const { code, stderr } = await run(['bench', ...args])
  expect(code).toBe(1)
  expect(stderr).toMatch(message)
})

import { expect, test } from 'vitest'
import { ebb, program, run, server } from './support/cli.js'
import { descendants, memoryOf } from './support/processes.js'
import { until } from './support/sockets.js'

const SHORT = ['--big', '40', '-i', '1', '--pulses', '0', '-l', '200ms']

test('accepts options with one dash or two, and with = or a blank', async () => {
  const cli = await server()
  const args = '-big=100 -i 2 -bs=0.1 -small=10 -ss 100ms -l=100ms --pulses 2'.split(' ')
  const { code, stdout, stderr } = await run(['pulse', `127.0.0.1:${cli.port}`, ...args])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^connected +220$/m)
  expect(stderr.match(/^Pulse \d \(big, 100\): 100 connected/gm)).toHaveLength(2)
  expect(stderr.match(/^Pulse \d \(small, 10\): 10 connected/gm)).toHaveLength(2)
  await cli.said(/Cycle #\s*4: 0 clients/)
})

test.each([
  ['--ramp', '60/500ms', '-l', '1', '--churn', '100/s'],
  ['--shape', 'steady,connections=60,duration=1500ms', '--churn', '100'],
  ['--big', '60', '-i', '1', '--pulses', '0', '-l', '1', '--churn', '100/s']
])('connections leave and are replaced: %j', async (...args) => {
  const cli = await server()
  const { code, stdout } = await run(['pulse', `127.0.0.1:${cli.port}`, ...args, '--json'])
  const { connected, replaced, lost, stopped } = JSON.parse(stdout)
  expect({ code, lost, stopped }).toEqual({ code: 0, lost: {}, stopped: null })
  expect(replaced).toBeGreaterThan(10)
  expect(connected - replaced).toBeGreaterThanOrEqual(60)
  await cli.said(/Cycle #\s*1: 0 clients/)
})

test('the memory of the client stays the same over steady churn', async () => {
  const cli = await server(['--every', '100000'])
  const shape = ['--shape', 'steady,connections=200', '--churn', '2000/s', '--json-stream']
  const pulse = ebb(['pulse', `127.0.0.1:${cli.port}`, ...shape])
  const replaced = (): number => Number(/.*"replaced":(\d+)/s.exec(pulse.stdout.slice(-3000))?.[1] ?? 0)
  // Garbage comes and goes, so the least counts that the process has held meanwhile.
  const leastUntil = async (n: number): Promise<number> => {
    let least = Number.POSITIVE_INFINITY
    await until(() => {
      least = Math.min(least, memoryOf(pulse.pid, 'RssAnon'))
      return replaced() > n
    })
    return least
  }
  await leastUntil(2000)
  const early = await leastUntil(8000)
  expect((await leastUntil(14_000)) / early).toBeLessThan(1.3)
  expect(await pulse.end('SIGINT')).toMatchObject({ code: 0 })
})

test('the same seed makes the same load, in one process, in several and over a swarm', async () => {
  const cli = await server()
  const shape = ['--shape', 'poisson,rate=300,hold=300ms,duration=1', '--seed', '5', '--json']
  const made = await Promise.all(
    [[], ['--procs', '2'], ['--swarm', 'lab']].map((how) => run(['pulse', `127.0.0.1:${cli.port}`, ...shape, ...how]))
  )
  const [one, several] = made.map(({ stdout }) => JSON.parse(stdout).connected)
  expect(made.map(({ code }) => code)).toEqual([0, 0, 0])
  // A level may have been skipped on a busy machine.
  expect(several / one).toBeGreaterThan(0.7)
  expect(one / several).toBeGreaterThan(0.7)
})

test.each([
  [['--ramp', '10'], /a ramp is COUNT\/TIME/],
  [['--shape', 'square'], /a shape is pulse, steady/],
  [['--shape', 'steady,connections=1', '--ramp', '1/1s'], /leave out --ramp or --shape/],
  [['--ramp', '1/1s', '--big', '7'], /--big is for pulses/],
  [['--churn', '-1'], /above 0/],
  [['--seed', '1'], /add --shape/]
])('refuses %j', async (args, sentence) => {
  const { code, stdout, stderr } = await run(['pulse', '1', ...args])
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(sentence)
})

test('several servers share the connections, also in processes of their own', async () => {
  const [one, two] = await Promise.all([server(), server()])
  const plan = ['--big', '301', '-i', '2', '-bs', '0', '--pulses', '0', '-l', '100ms', '--json']
  const shell = 'ulimit -n 256'
  const { code, stdout } = await run(['pulse', `${one.port}`, `${two.port}`, ...plan], { shell })
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({
    connected: 602,
    targets: [
      { target: `127.0.0.1:${one.port}`, connected: 301, failed: {} },
      { target: `127.0.0.1:${two.port}`, connected: 301, failed: {} }
    ]
  })
  const twice = await run(['pulse', '1', '2', '1'])
  expect(twice.stderr).toMatch(/^ebb: the server 127\.0\.0\.1:1 is there twice: leave it out once$/m)
  const many = await run(['pulse', ...Array.from({ length: 17 }, (_, i) => `${i + 1}`)])
  expect(many.stderr).toMatch(/^ebb: a run has at most 16 servers, not 17$/m)
})

test('counts refused connects and ends with exit code 2 if nobody listens', async () => {
  const cli = await server()
  await cli.end('SIGTERM')
  const { code, stdout, stderr } = await run(['pulse', String(cli.port), '--big', '50'])
  expect(code).toBe(2)
  expect(stdout).toMatch(/^connect p50 +-$/m)
  expect(stdout).toMatch(/^connects\/s +-$/m)
  expect(stderr).toMatch(/^ebb: ECONNREFUSED: nothing connected to 127\.0\.0\.1:\d+: no process listens there: start/m)
  expect(stdout).toMatch(/^failed +50 \(ECONNREFUSED 50\)$/m)
  expect(stdout).toMatch(/^stopped +nobody answers$/m)
})

test('JSON has null, not 0, for times of connections that there were not', async () => {
  const { stdout } = await run(['pulse', '/no/such.sock', '--big', '2', '--json'])
  const none = { p50: null, p90: null, p99: null, max: null }
  expect(JSON.parse(stdout)).toMatchObject({ connected: 0, latency: none, connectsPerSecond: null })
})

test.each([
  [['/no/such.sock'], /^ebb: ENOENT: nothing connected to \/no\/such\.sock: there is no such socket: start/m]
])('says why nothing connects: %j', async (args, sentence) => {
  const { code, stderr } = await run(['pulse', ...args, '--big', '2'])
  expect(code).toBe(2)
  expect(stderr).toMatch(sentence)
})

test('a --source that is not an address of this machine is refused before the run', async () => {
  const { code, stdout, stderr } = await run(['pulse', '1', '--source', '127.0.0.9', '192.0.2.1'])
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(
    /^ebb: EADDRNOTAVAIL: the source 192\.0\.2\.1 is not an address of this machine: give one of its own, such as .*\n$/
  )
})

test('counts lost connections and ends when the server is killed', async () => {
  const cli = await server()
  const pulse = ebb(['pulse', String(cli.port), '--big', '100', '-l', '1', '-bs', '0.1'])
  await pulse.said(/100 connected/)
  cli.kill('SIGKILL')
  const { code, stdout } = await pulse.ended
  expect(code).toBe(2)
  expect(stdout).toMatch(/^lost while held +100 /m)
  expect(stdout).toMatch(/nobody answers/)
})

test('counts the connections that a server resets', async () => {
  const refusing = await program(`let n = 0
    net.createServer((s) => { s.on('error', () => {}); if (n++ % 2) s.resetAndDestroy() }).listen(0, '127.0.0.1',
      function () { console.log(this.address().port) })`)
  const { code, stdout, stderr } = await run(['pulse', String(refusing.port), ...SHORT, '--json'])
  expect(code).toBe(2)
  expect(stderr).toMatch(/^note: \d+ (connects failed|connections were lost) with ECONNRESET: the server (reset|acc)/m)
  const { connected, failed, lost } = JSON.parse(stdout)
  const sum = (causes: Record<string, number>): number => Object.values(causes).reduce((a, b) => a + b, 0)
  expect(connected + sum(failed)).toBe(40)
  expect(sum(failed) + sum(lost)).toBe(20)
})

test('ends by its time limit if the server never accepts', async () => {
  const deaf = await program(`net.createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () {
    console.log(this.address().port); setTimeout(() => { for (;;); }, 50) })`)
  const { code, stdout, stderr } = await run(['pulse', String(deaf.port), ...SHORT, '--timeout', '500ms'])
  expect(code).toBe(2)
  expect(stderr).toMatch(/^note: \d+ connects failed with ETIMEDOUT: the server's accept queue was full/m)
  expect(stdout).toMatch(/ETIMEDOUT/)
})

test('waits for the echo of an active share, and closes with a reset', async () => {
  const echo = await program(`net.createServer((s) => { s.on('error', () => {}); s.pipe(s) }).listen(0, '127.0.0.1',
    function () { console.log(this.address().port) })`)
  const args = ['--payload', 'hello', '--active', '25%', '--expect-echo', '--close', 'rst']
  const { code, stdout } = await run(['pulse', String(echo.port), ...SHORT, ...args])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^echoed +10$/m)
})

test.each(['connecting', 'holding'])('Ctrl-C while %s prints the table and leaves no connection', async (phase) => {
  const cli = await server()
  const rate = phase === 'connecting' ? ['--rate', '50'] : []
  const pulse = ebb(['pulse', String(cli.port), '--big', '200', '-l', '60', ...rate])
  await cli.said(phase === 'connecting' ? /: 20 clients/ : /: 200 clients/)
  const { code, stdout } = await pulse.end('SIGINT')
  expect(code).toBe(0)
  expect(stdout).toMatch(/^connected +\d+$/m)
  await cli.said(/Cycle #\s*1: 0 clients/)
})

test('no connection is left when the client is killed', async () => {
  const cli = await server()
  const pulse = ebb(['pulse', String(cli.port), '--big', '200', '-l', '60'])
  await cli.said(/: 200 clients/)
  await pulse.end('SIGKILL')
  await cli.said(/Cycle #\s*1: 0 clients/)
})

test('several processes hold a crowd over the descriptor limit', async () => {
  const cli = await server(['--every', '100'])
  const pulse = ebb(['pulse', String(cli.port), '--big', '600', '-i', '1', '--pulses', '0', '-l', '60'], {
    shell: 'ulimit -n 256'
  })
  await cli.said(/: 600 clients/)
  const workers = descendants(pulse.pid)
  expect(workers.length).toBeGreaterThan(1)
  await pulse.end('SIGKILL')
  // The workers end when their parent is gone.
  await cli.said(/Cycle #\s*1: 0 clients/)
})

test('--source sets the source addresses', async () => {
  const cli = await server()
  const { code } = await run(['pulse', String(cli.port), ...SHORT, '--source', '127.0.0.2', '127.0.0.3'])
  expect(code).toBe(0)
})

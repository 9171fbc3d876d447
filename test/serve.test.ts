import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ebb, run, server } from './support/cli.js'
import { ticksOf } from './support/processes.js'

const CYCLE = /^Cycle #\s*(\d+): (\d+) clients \| System: \d+ Inuse: \d+ Released: \d+ Objects: (-|\d+)$/

function crowd(port: number, n: number, host = '127.0.0.1'): Promise<Socket[]> {
  const one = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, host, () => resolve(socket))
      socket.on('error', reject)
    })
  return Promise.all(Array.from({ length: n }, one))
}

test.each(['park', 'net'])('%s: logs every multiple of --every, up and down, and counts cycles', async (mode) => {
  const cli = await server(['--every', '5', '--mode', mode])
  for (const cycle of [1, 2]) {
    const sockets = await crowd(cli.port, 12)
    await cli.said(new RegExp(`Cycle #\\s*${cycle - 1}: 10 clients`))
    for (const socket of sockets) socket.destroy()
    await cli.said(new RegExp(`Cycle #\\s*${cycle}: 0 clients`))
  }
  const { code, stdout } = await cli.end('SIGTERM')
  expect(code).toBe(0)
  const [first, ...logged] = stdout.trim().split('\n')
  // On a busy machine, the release after the start comes before the test is over.
  const lines = logged.filter((line) => !line.startsWith('Release #'))
  expect(first).toMatch(/^Listening on 127\.0\.0\.1:\d+ \(/)
  for (const line of lines) expect(line).toMatch(CYCLE)
  const told = lines.map((line) => CYCLE.exec(line)?.slice(1, 3).map(Number))
  expect(told[0]).toEqual([0, 0])
  expect(told.slice(1, 6)).toEqual([
    [0, 5],
    [0, 10],
    [0, 10],
    [0, 5],
    [1, 0]
  ])
})

test('--log json prints the same events as NDJSON', async () => {
  const cli = ebb(['serve', '--port', '0', '--log', 'json'])
  await cli.said(/"event":"cycle"/)
  const { stdout } = await cli.end('SIGINT')
  const [listening, cycle] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(listening).toMatchObject({ event: 'listening', mode: 'park', host: '127.0.0.1', pid: cli.pid })
  expect(cycle).toMatchObject({ event: 'cycle', cycle: 0, clients: 0, objects: null })
})

test('is one file besides koffi, because its memory is what gets measured', async () => {
  const tell = "process.on('exit', () => process._rawDebug(Object.keys(require.cache).join('\\n')))"
  const hook = `data:text/javascript,${encodeURIComponent(`import { createRequire } from 'node:module'
    const require = createRequire('/')
    ${tell}`)}`
  const cli = await server([], { env: { NODE_OPTIONS: `--import ${hook}` } })
  const { stderr } = await cli.end('SIGTERM')
  const own = stderr
    .trim()
    .split('\n')
    .filter((path) => !path.includes('koffi'))
  expect(own.map((path) => path.replace(/.*\/ebb-lab\//, ''))).toEqual(['bin/ebb.js', 'dist/serve/main.cjs'])
})

test.each(['SIGTERM', 'SIGINT'] as const)('%s with 200 clients closes all of them and exits 0', async (signal) => {
  const cli = await server()
  const sockets = await crowd(cli.port, 200)
  await cli.said(/: 200 clients/)
  const closed = sockets.map((socket) => new Promise((resolve) => socket.resume().once('close', resolve)))
  expect(await cli.end(signal)).toMatchObject({ code: 0, signal: null })
  await Promise.all(closed)
})

test('drops what clients send, and closes when they end the connection', async () => {
  const cli = await server()
  const [socket] = await crowd(cli.port, 1)
  socket?.end(Buffer.alloc(3_000_000))
  await cli.said(/Cycle #\s*1: 0 clients/)
})

test('keeps serving if the reader of its log is gone', async () => {
  const cli = await server()
  cli.process.stdout?.destroy()
  for (let i = 0; i < 3; i++) {
    const sockets = await crowd(cli.port, 20)
    for (const socket of sockets) socket.destroy()
  }
  await wait(100)
  expect(await cli.end('SIGTERM')).toMatchObject({ code: 0 })
})

test('IPv6', async () => {
  const cli = await server(['--host', '::1'])
  const [socket] = await crowd(cli.port, 1, '::1')
  await cli.said(/: 1 clients/)
  socket?.destroy()
  expect(cli.stdout).toContain('Listening on [::1]:')
})

test('reports a taken port, a foreign address and a privileged port in one sentence', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number }
  for (const mode of ['park', 'net']) {
    const { code, stderr, stdout } = await run(['serve', '--port', String(port), '--mode', mode])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe(
      `ebb: EADDRINUSE: port ${port} on 127.0.0.1 is taken: choose another with --port, or 0 for any that is free\n`
    )
  }
  taken.close()
  const elsewhere = await run(['serve', '--port', '0', '--host', '192.0.2.1'])
  expect(elsewhere.code).toBe(1)
  expect(elsewhere.stderr).toMatch(/^ebb: EADDRNOTAVAIL: this machine has no address 192\.0\.2\.1: .*\n$/)
  if (process.getuid?.() === 0) {
    const denied = await run(['serve', '--port', '81'], { uid: 65_534 })
    expect(denied).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^ebb: EACCES: no permission to listen on port 81 .*\n$/)
    })
  }
})

test('600 clients under ulimit -n 256: warns once, does not spin, and serves all in the end', async () => {
  const cli = await server(['--every', '100'], { shell: 'ulimit -n 256' })
  const sockets = await crowd(cli.port, 600)
  await cli.said(/Warning: .*EMFILE.*accepting pauses/)
  const [ticks, start] = [ticksOf(cli.pid), performance.now()]
  await wait(1000)
  // A server that spins would use 100 % of a CPU.
  expect((ticksOf(cli.pid) - ticks) * 10).toBeLessThan((performance.now() - start) / 2)
  for (const socket of sockets.splice(0, 300)) socket.destroy()
  await wait(300)
  for (const socket of sockets) socket.destroy()
  await cli.said(/Cycle #\s*[1-9]\d*: 0 clients/)
  const { stdout } = await cli.end('SIGTERM')
  expect(stdout.match(/Warning/g)).toHaveLength(1)
})

/** A server that stops for a while (SIGSTOP): which latencies show it, and how many. */
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { LatencyHistogram } from 'ebb-lab/testing'
import { expect, test } from 'vitest'
import { type Cli, ebb, program } from './support/cli.js'
import { directory } from './support/sockets.js'

/** Connects per second. */
const RATE = 1000
/** Number of connects: enough for the stop and the time around it. */
const N = 2000
const PULSE = ['--big', String(N), '-i', '1', '--pulses', '0', '-l', '0', '--rate', String(RATE), '--json']
const ECHO = ['--payload', 'hello', '--expect-echo']

interface Latencies {
  histogram: string
  latency: { max: number }
  uncorrected: { histogram: string; latency: { max: number } }
}

/** An echo server that prints `loaded` when it has accepted 100 connections. `where` is an option of `listen()`. */
function echo(where: string, backlog: number): Promise<Cli> {
  return program(`let n = 0
    const server = net.createServer((socket) => {
      socket.on('error', () => {}).pipe(socket)
      if (++n === 100) console.log('loaded')
    })
    server.listen({ ${where}, backlog: ${backlog} }, () => console.log(server.address().port ?? 1))`)
}

/** Stops the server for more than 600 ms once it is loaded. Returns for how long. */
async function stop(server: Cli): Promise<number> {
  await server.said(/loaded/)
  const from = performance.now()
  server.kill('SIGSTOP')
  await wait(600)
  server.kill('SIGCONT')
  return performance.now() - from
}

function above(histogram: string, ms: number): number {
  const latencies = new LatencyHistogram()
  latencies.merge(histogram)
  return latencies.countAbove(ms)
}

test.each([
  ['one process', []],
  ['several processes', ['--procs', '2']],
  ['a swarm', ['--swarm', 'lab']]
])('answers to %s take as long as the server was stopped', async (_, how) => {
  const server = await echo("port: 0, host: '127.0.0.1'", 4096)
  const pulse = ebb(['pulse', String((server as Cli & { port: number }).port), ...PULSE, ...how, ...ECHO])
  const stopped = await stop(server)
  const { code, stdout } = await pulse.ended
  const report = JSON.parse(stdout) as Latencies & { answers: Latencies; echoed: number }
  expect({ code, echoed: report.echoed }).toEqual({ code: 0, echoed: N })
  expect(report.answers.latency.max / stopped).toBeGreaterThan(0.9)
  const due = (RATE * stopped) / 1000
  expect(above(report.answers.histogram, stopped / 10) / due).toBeGreaterThan(0.8)
  // The kernel completes connects to a stopped server, up to its backlog.
  expect(above(report.histogram, stopped / 2) / due).toBeLessThan(0.1)
})

test.each([1, 2])(
  'connects that a full backlog delays count from their time at the rate: %i processes',
  async (procs) => {
    const path = join(directory(), 's')
    const server = await echo(`path: ${JSON.stringify(path)}`, 50)
    const pulse = ebb(['pulse', path, ...PULSE, '--procs', String(procs)])
    const stopped = await stop(server)
    const { code, stdout } = await pulse.ended
    const report = JSON.parse(stdout) as Latencies & { late: number; connected: number }
    expect({ code, connected: report.connected }).toEqual({ code: 0, connected: N })
    // The backlog takes the first of them.
    const delayed = (RATE * stopped) / 1000 - 60
    expect(report.latency.max / stopped).toBeGreaterThan(0.8)
    expect(above(report.histogram, stopped / 10) / delayed).toBeGreaterThan(0.8)
    expect(report.late / delayed).toBeGreaterThan(0.8)
    // From their actual start, they took no time.
    expect(above(report.uncorrected.histogram, stopped / 10) / delayed).toBeLessThan(0.2)
  }
)

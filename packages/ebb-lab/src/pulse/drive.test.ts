/** Crowds that follow a shape. These tests run the built files, because worker processes are forked from them. */

import {
  type Crowd,
  clientOptions,
  crowdOf,
  type DriveEvent,
  drive,
  planSchema,
  type Shape,
  targetOf
} from 'ebb-lab/testing'
import { expect, test } from 'vitest'
import { program, type Server, server } from '../../../../test/support/cli.js'
import { commandOf, descendants } from '../../../../test/support/processes.js'
import { until } from '../../../../test/support/sockets.js'

const timing = { offset: 0, jitter: 0, seed: 1 }

function crowd(port: number, processes = 1): Promise<Crowd> {
  const address = { host: '127.0.0.1', port }
  const options = { address, sources: [], ...clientOptions(targetOf(address), {}), part: { index: 0, of: 1 } }
  return crowdOf(options, processes, true)
}

async function run(port: number, shape: Shape, length = 60_000, processes = 1, events: DriveEvent[] = [], churn = 0) {
  const driven = await crowd(port, processes)
  // The run starts after the processes, which take long to start on a busy machine.
  const options = {
    start: performance.now(),
    until: length,
    churn,
    onEvent: (event: DriveEvent) => void events.push(event)
  }
  const report = await drive(driven, shape, options)
  return { report, levels: events.filter((event) => event.event === 'level'), events }
}

test.each([1, 2])('follows levels up and down with %i worker processes', async (processes) => {
  const held: Server = await server()
  const before = descendants(process.pid).length
  const counts = [30, 10, 25, 25, 0, 7]
  const levels = counts.map((connections, i) => ({ at: i === 0 ? 0 : 1500 + i * 250, connections }))
  const driven = run(held.port, { ...timing, shape: 'trace', file: '', levels }, 3500, processes)
  await until(() => held.clients() === 30)
  expect(descendants(process.pid).length).toBe(before + processes)
  const { report, levels: steps } = await driven
  // A step that was late may have been skipped, but not the last one.
  expect(steps.every(({ connections, open }) => connections === open)).toBe(true)
  expect(steps.map(({ connections }) => connections).slice(-1)).toEqual([0])
  expect(report).toMatchObject({ failed: {}, lost: {}, abandoned: 0, stopped: null })
  expect(report.connected).toBeGreaterThanOrEqual(30)
  await until(() => held.clients() === 0)
  expect(descendants(process.pid).length).toBe(before)
})

test.each([1, 2])('a ramp opens connections evenly: %i worker processes', async (processes) => {
  const held = await server()
  const stages = [
    { connections: 400, over: 1000 },
    { connections: 100, over: 200 }
  ]
  const started = performance.now()
  const { report, levels } = await run(held.port, { ...timing, shape: 'ramp', stages, linger: 200 }, 60_000, processes)
  expect(performance.now() - started).toBeGreaterThan(1400)
  expect(report).toMatchObject({ connected: 400, failed: {}, lost: {}, abandoned: 0, stopped: null })
  expect(levels.map(({ open }) => open).slice(-2)).toEqual([100, 0])
  expect(report.uncorrected).not.toBe(null)
  await until(() => held.clients() === 0)
})

test.each([1, 2])('connections leave and are replaced while a level lasts: %i worker processes', async (processes) => {
  const held = await server()
  const shape: Shape = { ...timing, shape: 'steady', connections: 50, duration: 2500 }
  const { report, levels } = await run(held.port, shape, 60_000, processes, [], 100)
  expect(report).toMatchObject({ failed: {}, lost: {}, abandoned: 0, stopped: null })
  expect(report.connected).toBe(50 + report.replaced)
  // The churn begins when the level is reached.
  expect(report.replaced / 250).toBeGreaterThan(0.7)
  expect(report.replaced).toBeLessThanOrEqual(250)
  expect(levels.map(({ open }) => open)).toEqual([50, 0])
  await until(() => held.clients() === 0)
})

test('makes pulses at their times', async () => {
  const held = await server()
  const plan = planSchema.parse({
    big: 40,
    iterations: 1,
    bigSeparation: 100,
    small: 5,
    smallSeparation: 0,
    linger: 200,
    pulses: 2
  })
  const start = performance.now()
  const { report, events } = await run(held.port, { ...plan, ...timing, shape: 'pulse', offset: 400 })
  expect(performance.now() - start).toBeGreaterThan(400 + 3 * 200)
  expect(events.filter(({ event }) => event !== 'progress').map(({ event }) => event)).toEqual(
    Array.from({ length: 3 }, () => ['pulse', 'connected', 'closing', 'closed']).flat()
  )
  expect(report).toMatchObject({ pulses: 3, connected: 50, failed: {}, lost: {} })
})

test('opens connections that the server has closed again with the next level', async () => {
  const closing = await program(`
    let n = 0
    const server = net.createServer((socket) => { if (n++ < 10) socket.end(); socket.on('error', () => {}).resume() })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))`)
  const levels = [20, 20, 0].map((connections, i) => ({ at: i * 500, connections }))
  const { report, levels: steps } = await run(closing.port, { ...timing, shape: 'trace', file: '', levels }, 1500)
  expect(report.connected).toBe(30)
  expect(report.lost).toEqual({ FIN: 10 })
  expect(steps.slice(0, 3).map(({ open }) => open)).toEqual([20, 20, 0])
})

test('reports and reopens connections that the server closes while a level lasts', async () => {
  const closing = await program(`
    let n = 0
    const server = net.createServer((socket) => { if (n++ < 10) socket.end(); socket.on('error', () => {}).resume() })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))`)
  const shape: Shape = { ...timing, shape: 'steady', connections: 20, duration: 4000 }
  const { report, levels: steps } = await run(closing.port, shape)
  expect(report).toMatchObject({ connected: 30, lost: { FIN: 10 }, stopped: null })
  expect(steps.map(({ connections, open, lost }) => [connections, open, lost.FIN ?? 0])).toEqual([
    [20, 20, 0],
    [20, 20, 10],
    [0, 0, 0]
  ])
})

test.each<Shape>([
  { ...timing, shape: 'steady', connections: 50, duration: 3000 },
  { ...timing, shape: 'sawtooth', low: 20, high: 50, period: 3000, duration: 3000 }
])('the connections of a worker that is killed while it holds are lost ($shape)', async (shape) => {
  const held = await server()
  const told: DriveEvent[] = []
  const driven = run(held.port, shape, 60_000, 1, told)
  // Waits until the crowd has reported them. Otherwise they would count as failed, not as lost.
  await until(() => told.some(({ event }) => event === 'level') && held.clients() >= 20)
  const [worker] = descendants(process.pid).filter((pid) => commandOf(pid).includes('pulse/worker.js'))
  process.kill(worker as number, 'SIGKILL')
  const { report, levels: steps } = await driven
  expect(report.lost.EWORKERLOST).toBe(report.connected)
  expect(steps.every(({ open }) => open >= 0)).toBe(true)
  expect(steps.at(-1)?.open).toBe(0)
})

test('ends if the server does not answer', async () => {
  const gone = await server()
  await gone.end('SIGKILL')
  const { report } = await run(gone.port, {
    ...timing,
    shape: 'sawtooth',
    low: 5,
    high: 9,
    period: 1000,
    duration: 60_000
  })
  expect(report).toMatchObject({ connected: 0, failed: { ECONNREFUSED: 5 }, stopped: 'nobody answers' })
})

test('a signal ends the run and closes all connections', async () => {
  const held = await server()
  const controller = new AbortController()
  const opened: number[] = []
  const options = {
    start: performance.now(),
    until: 60_000,
    signal: controller.signal,
    onEvent: (event: DriveEvent) => void (event.event === 'level' && opened.push(event.open))
  }
  const driven = drive(
    await crowd(held.port),
    { ...timing, shape: 'steady', connections: 50, duration: 60_000 },
    options
  )
  // Either side may hear of a connection before the other.
  await until(() => opened.at(-1) === 50)
  await until(() => held.clients() === 50)
  controller.abort()
  expect(await driven).toMatchObject({ connected: 50, stopped: 'signal' })
  await until(() => held.clients() === 0)
})

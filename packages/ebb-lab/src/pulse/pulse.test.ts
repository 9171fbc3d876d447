import { createServer, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { descriptors, until } from '../../../../test/support/sockets.js'
import { type PulseEvent, type PulseOptions, pulse, type Server, succeeded } from './pulse.js'

async function listening(onSocket: (socket: Socket) => void = () => {}) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    socket.resume()
    onSocket(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return { server, sockets, at: { host: '127.0.0.1', port } }
}

const PLAN = { big: 30, iterations: 2, bigSeparation: 10, small: 5, smallSeparation: 10, linger: 10, pulses: 3 }

test('makes the pulses of a plan in order and reports each step', async () => {
  const { at, sockets } = await listening()
  const told: string[] = []
  const report = await pulse(at, PLAN, {
    onEvent: ({ event, pulse: { index } }) => {
      if (event !== 'progress') told.push(`${index} ${event}`)
    }
  })
  const steps = ['pulse', 'connected', 'closing', 'closed']
  expect(told).toEqual([0, 1, 2, 3, 4].flatMap((index) => steps.map((step) => `${index} ${step}`)))
  expect(report).toMatchObject({ pulses: 5, connected: 75, failed: {}, lost: {}, abandoned: 0, stopped: null })
  expect(report.connectsPerSecond).toBeGreaterThan(0)
  expect(report.latency.p50).toBeLessThanOrEqual(report.latency.max)
  expect(succeeded(report)).toBe(true)
  await until(() => sockets.size === 0)
})

test('looks up a host name', async () => {
  const { at } = await listening()
  const report = await pulse({ host: 'localhost', port: at.port }, { ...PLAN, iterations: 1, pulses: 0 })
  expect(report.connected).toBe(30)
})

test('ends after the first pulse if nobody answers', async () => {
  const { at, server } = await listening()
  await new Promise((resolve) => server.close(resolve))
  const report = await pulse(at, PLAN)
  expect(report).toMatchObject({ pulses: 1, connected: 0, failed: { ECONNREFUSED: 30 }, stopped: 'nobody answers' })
  expect(succeeded(report)).toBe(false)
})

test('ends if the server ends between two pulses', async () => {
  const { at, server, sockets } = await listening()
  const report = await pulse(at, PLAN, {
    onEvent: ({ event }) => {
      if (event !== 'connected') return
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
    }
  })
  expect(report).toMatchObject({ pulses: 2, connected: 30, failed: { ECONNREFUSED: 30 }, stopped: 'nobody answers' })
  expect(Object.values(report.lost).reduce((a, b) => a + b, 0)).toBe(30)
})

test('counts connections that the server closes while this process is too busy to see it', async () => {
  const { at, server, sockets } = await listening()
  const report = await pulse(
    at,
    { ...PLAN, iterations: 1, pulses: 0 },
    {
      onEvent: ({ event }) => {
        if (event !== 'connected') return
        setImmediate(() => {
          server.close()
          for (const socket of sockets) socket.resetAndDestroy()
          // The linger time is over before the event loop polls again.
          const end = performance.now() + 3 * PLAN.linger
          while (performance.now() < end);
        })
      }
    }
  )
  expect(report).toMatchObject({ connected: 30, lost: { ECONNRESET: 30 } })
})

test('accepts a plan without pulses', async () => {
  const { at } = await listening()
  const report = await pulse(at, { big: 0, small: 0 })
  expect(report).toMatchObject({ pulses: 0, connected: 0, stopped: null, connectsPerSecond: 0 })
  expect(succeeded(report)).toBe(true)
})

const PHASES: [string, (event: PulseEvent) => boolean][] = [
  ['as a pulse begins', ({ event }) => event === 'pulse'],
  ['as all are open', ({ event }) => event === 'connected'],
  ['as it closes', ({ event }) => event === 'closing'],
  ['between two pulses', ({ event }) => event === 'closed']
]

test.each(PHASES)('a stop %s closes and counts all connections', async (_, at) => {
  const listener = await listening()
  const before = descriptors()
  const abort = new AbortController()
  const { signal } = abort
  const running = pulse(
    listener.at,
    { big: 200, linger: 3_600_000, bigSeparation: 3_600_000, iterations: 9 },
    {
      signal,
      onEvent: (event) => {
        if (event.event === 'connected' && !at(event)) setTimeout(() => abort.abort(), 20)
        if (at(event)) abort.abort()
      }
    }
  )
  const report = await running
  expect(report.stopped).toBe('signal')
  expect(report.pulses).toBe(1)
  expect(report.connected + report.abandoned).toBe(200)
  expect(report.lost).toEqual({})
  expect(succeeded(report)).toBe(true)
  await until(() => listener.sockets.size === 0)
  await until(() => descriptors() === before)
})

test('a stop before the start makes no pulse', async () => {
  const { at, sockets } = await listening()
  expect(await pulse(at, PLAN, { signal: AbortSignal.abort() })).toMatchObject({ pulses: 0, stopped: 'signal' })
  await wait(10)
  expect(sockets.size).toBe(0)
})

const HERE: Server = { host: '127.0.0.1', port: 1 }
const WRONG: [string, Server, PulseOptions][] = [
  ['rate', HERE, { rate: 0 }],
  ['rate', HERE, { rate: Number.NaN }],
  ['timeout', HERE, { timeout: 0 }],
  ['active', HERE, { active: 1.1 }],
  ['procs', HERE, { procs: 0 }],
  ['procs', HERE, { procs: 1.5 }],
  ['procs', HERE, { procs: 1_000_000 }],
  ['source', HERE, { sources: ['here'] }],
  ['source', HERE, { sources: ['::1'] }],
  ['source', { host: '::1', port: 1 }, { sources: ['127.0.0.1'] }],
  ['source', { path: '/run/a' }, { sources: ['127.0.0.1'] }],
  ['port', { host: '127.0.0.1', port: 65_536 }, {}],
  ['path', { path: '' }, {}]
]

test.each(WRONG)('rejects an invalid %s at once (%j, %j)', async (what, server, options) => {
  await expect(pulse(server, PLAN, options)).rejects.toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
    message: expect.stringContaining(what)
  })
})

test('an error of an event handler ends the run and closes all connections', async () => {
  const { at, sockets } = await listening()
  const before = descriptors()
  const running = pulse(at, PLAN, {
    onEvent: ({ event }) => {
      if (event === 'connected') throw new Error('mine')
    }
  })
  await expect(running).rejects.toThrow('mine')
  await until(() => sockets.size === 0)
  await until(() => descriptors() === before)
})

/** Agents that speak HTTP, WebSocket and MQTT with real servers, over the bus of this process. */
import { createServer } from 'node:http'
import { createServer as createTcp } from 'node:net'
import { Aedes } from 'aedes'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { until } from '../../../../../test/support/sockets.js'
import { load } from '../load.js'
import { pulse } from '../pulse.js'
import { portOf } from '../testing/speaking.js'
import { Agent } from './agent.js'
import { AllowList } from './allow.js'
import { Coordinator } from './coordinator.js'
import { LocalBus } from './local-bus.js'

const PLAN = { big: 30, iterations: 2, bigSeparation: 0, small: 7, smallSeparation: 0, linger: 300, pulses: 1 }
const ONCE = { big: 30, iterations: 1, small: 0, pulses: 0, linger: 200 }

/** Starts three agents, one of them with a smaller share, and returns options for a run with them. */
async function swarm(allow = new AllowList()): Promise<{ swarm: Coordinator }> {
  const bus = new LocalBus()
  for (const [name, most] of Object.entries({ a: 20, b: 20, c: 8 })) {
    const agent = await Agent.start({ bus, swarm: 'test', name, most, allow })
    onTestFinished(() => agent.leave())
  }
  const coordinator = await Coordinator.gather({ bus, swarm: 'test' })
  onTestFinished(() => coordinator.end())
  return { swarm: coordinator }
}

/** Starts an HTTP server. Each answer has the status in the path, or 200. */
async function http(): Promise<{ port: number; requests: string[] }> {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers['x-id'] ?? ''}`)
    response.statusCode = Number(/\d{3}$/.exec(request.url ?? '')?.[0] ?? 200)
    request.resume().on('end', () => response.end('hello'))
  })
  onTestFinished(() => server.closeAllConnections())
  return { port: await portOf(server), requests }
}

/** Starts a WebSocket server that sends back what it receives. */
async function echo(): Promise<{ port: number; messages: string[]; paths: string[] }> {
  const server = createServer()
  const messages: string[] = []
  const paths: string[] = []
  new WebSocketServer({ server }).on('connection', (socket, { url = '' }) => {
    paths.push(url)
    socket.on('message', (message, isBinary) => {
      messages.push(`${isBinary ? 'binary ' : ''}${message}`)
      socket.send(message, { binary: isBinary })
    })
    onTestFinished(() => socket.terminate())
  })
  return { port: await portOf(server), messages, paths }
}

function numbers(n: number): string[] {
  return Array.from({ length: n }, (_, i) => `${i}`)
}

test('the connections of all agents have different numbers, in each pulse from 0 on', async () => {
  const { port, messages, paths } = await echo()
  const report = await pulse(`ws://127.0.0.1:${port}/chat/{id}`, ONCE, {
    ...(await swarm()),
    payload: '{id} {n}',
    expectEcho: true
  })
  expect(report).toMatchObject({ connected: 30, failed: {}, echoed: 30, lost: {}, unanswered: {} })
  expect(messages.toSorted()).toEqual(
    numbers(30)
      .map((id) => `${id} 0`)
      .toSorted()
  )
  expect(paths.toSorted()).toEqual(
    numbers(30)
      .map((id) => `/chat/${id}`)
      .toSorted()
  )
  expect(report.traffic).toMatchObject({ sent: 30, answered: 30 })
})

test('messages and pings at intervals are counted, with the latencies of all answers', async () => {
  const { port } = await echo()
  const { traffic, answers, connected } = await pulse(`ws://127.0.0.1:${port}`, PLAN, {
    ...(await swarm()),
    payload: Buffer.from('bytes'),
    expectEcho: true,
    every: 20,
    ping: 30
  })
  expect(connected).toBe(67)
  expect(traffic.answered).toBeGreaterThan(67)
  expect(traffic.sent).toBeGreaterThanOrEqual(traffic.answered)
  expect(traffic.pongs).toBeGreaterThan(0)
  expect(answers?.latency.p50).toBeGreaterThan(0)
})

test('requests carry the headers and the body; statuses and wrong answers are added up', async () => {
  const { port, requests } = await http()
  const run = await swarm()
  const options = { ...run, method: 'PUT', headers: [['X-Id', 'h{id}']] as const, body: 'b{n}' }
  const report = await pulse(`http://127.0.0.1:${port}/a/404`, ONCE, options)
  expect(report).toMatchObject({
    connected: 30,
    unanswered: { HTTP_404: 30 },
    traffic: { sent: 30, answered: 0, statuses: { 404: 30 } }
  })
  expect(requests.toSorted()).toEqual(
    numbers(30)
      .map((id) => `PUT /a/404 h${id}`)
      .toSorted()
  )
  const each = report.swarm?.agents.reduce((sum, { unanswered }) => sum + (unanswered.HTTP_404 ?? 0), 0)
  expect(each).toBe(30)
})

test('answers of a shape with churn are counted', async () => {
  const { port } = await http()
  const report = await load(
    `http://127.0.0.1:${port}/`,
    { shape: 'steady', connections: 20, duration: 2500, offset: 0, jitter: 0, seed: 1 },
    { ...(await swarm()), every: 50, churn: 20 }
  )
  expect(report).toMatchObject({ failed: {}, lost: {}, stopped: null })
  expect(report.replaced).toBeGreaterThan(0)
  expect(report.traffic.answered).toBeGreaterThan(report.connected)
  expect(report.traffic.statuses).toEqual({ 200: report.traffic.answered })
})

test('what is said after the end of a shape does not count for the next run', async () => {
  const { port, requests } = await http()
  const run = await swarm()
  const stop = new AbortController()
  const shape = { shape: 'steady', connections: 20, duration: 60_000, offset: 0, jitter: 0, seed: 1 } as const
  const first = load(`http://127.0.0.1:${port}/`, shape, { ...run, every: 10, signal: stop.signal })
  await until(() => requests.length > 100)
  stop.abort()
  expect((await first).stopped).toBe('signal')
  const next = await pulse(`http://127.0.0.1:${port}/`, ONCE, run)
  expect(next).toMatchObject({ connected: 30, traffic: { sent: 30, answered: 30, statuses: { 200: 30 } } })
})

test('several servers, each with its protocol and path; their connections have different numbers', async () => {
  const [one, two] = [await http(), await http()]
  const urls = [one, two].map(({ port }) => `http://127.0.0.1:${port}/{id}/`)
  const report = await pulse(urls[0] as string, ONCE, { ...(await swarm()), others: urls.slice(1) })
  expect(report.targets).toMatchObject(urls.map((target) => ({ target, failed: {} })))
  expect(report.connected).toBe(30)
  const paths = [...one.requests, ...two.requests].map((request) => request.split('/')[1])
  expect(paths.toSorted()).toEqual(numbers(30).toSorted())
})

test('MQTT sessions of all agents have different client identifiers', async () => {
  const broker = await Aedes.createBroker()
  onTestFinished(() => broker.close())
  const published = new Set<string>()
  broker.on('publish', ({ topic }) => {
    if (topic.startsWith('from/')) published.add(topic)
  })
  const clients = new Set<string>()
  broker.on('client', ({ id }) => clients.add(id))
  const port = await portOf(createTcp(broker.handle))
  const options = { topic: 'from/{id}', payload: '{n}', qos: 1, subscribe: ['to/{id}'], ping: 100 } as const
  const report = await pulse(`mqtt://127.0.0.1:${port}`, ONCE, { ...(await swarm()), ...options })
  expect(report).toMatchObject({ connected: 30, lost: {}, traffic: { answered: 30 } })
  expect(clients.size).toBe(30)
  expect([...published].toSorted()).toEqual(
    numbers(30)
      .map((id) => `from/${id}`)
      .toSorted()
  )
})

test('more causes than a message may have are added up', async () => {
  const server = createServer()
  let code = 4000
  new WebSocketServer({ server }).on('connection', (socket) => socket.close(code++))
  const port = await portOf(server)
  const bus = new LocalBus()
  const agent = await Agent.start({ bus, swarm: 'test', name: 'a' })
  onTestFinished(() => agent.leave())
  const coordinator = await Coordinator.gather({ bus, swarm: 'test' })
  onTestFinished(() => coordinator.end())
  const report = await pulse(`ws://127.0.0.1:${port}`, { ...ONCE, big: 150, linger: 1000 }, { swarm: coordinator })
  expect(report).toMatchObject({ connected: 150, swarm: { degraded: false } })
  expect(Object.keys(report.lost)).toHaveLength(100)
  expect(Object.values(report.lost).reduce((sum, n) => sum + n)).toBe(150)
})

test('an agent speaks only to servers that it allows', async () => {
  const { port, requests } = await http()
  const run = await swarm(new AllowList([`127.0.0.1:${port + 1}`]))
  // The header and the path name an allowed server, but the address decides.
  const options = { ...run, headers: [['Host', `127.0.0.1:${port + 1}`]] as const }
  await expect(pulse(`http://127.0.0.1:${port}/`, ONCE, options)).rejects.toThrow('is not allowed here')
  expect(requests).toEqual([])
})

test.each([
  ['a certificate of an authority', { ca: 'c' }],
  ['a certificate and its key', { cert: 'c', key: 'k' }]
])('refuses %s', async (_, tls) => {
  await expect(pulse('wss://127.0.0.1:1/', ONCE, { ...(await swarm()), tls })).rejects.toThrow(
    /^certificates and keys are not sent to the agents of a swarm/
  )
})

test('refuses a body that is too large', async () => {
  const options = { ...(await swarm()), body: 'b'.repeat(100_000) }
  await expect(pulse('http://127.0.0.1:1/', ONCE, options)).rejects.toThrow(
    'a swarm cannot carry server.protocol.body: it must be 96 KiB at most'
  )
})

test('refuses settings that are too large together', async () => {
  const headers = Array.from({ length: 20 }, (_, i): [string, string] => [`a${i}`, 'b'.repeat(10_000)])
  await expect(pulse('ws://127.0.0.1:1/', ONCE, { ...(await swarm()), headers })).rejects.toThrow(
    /^a swarm carries at most 196608 bytes of settings, not \d+/
  )
})

/** Swarms whose connections speak: agents as processes, a real NATS server, and real servers of HTTP and WebSocket. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { selfSigned } from './support/certificates.js'
import { type Cli, ebb, type Ran, run } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'
import { directory, until } from './support/sockets.js'

const ONCE = ['--big', '40', '-i', '1', '--pulses', '0', '-l', '500ms', '--json']
/** Two pulses; the first is held until the coordinator's death has been noticed. */
const PLAN = ['--big', '40', '-i', '1', '-bs', '200ms', '--small', '20', '--pulses', '1', '-l', '4s']

interface Swarm {
  agents: Cli[]
  /** Options of the swarm. */
  args: string[]
}

/** Starts NATS and two agents. */
async function swarm(natsArgs: readonly string[] = [], agentArgs: readonly string[] = [], env = {}): Promise<Swarm> {
  const nats = await Nats.start(natsArgs)
  const args = ['--swarm', 'lab', '--nats', nats.url]
  const agents = ['a', 'b'].map((name) => ebb(['agent', ...args, '--name', name, ...agentArgs], { env }))
  await Promise.all(agents.map((agent) => agent.said(/^Agent /m)))
  return { agents, args: [...args, '--agents', '2'] }
}

/** Listens on loopback, and returns the port. The server ends with the test. */
async function portOf(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

/** Adds WebSockets that send back what they receive. Returns what they have received. */
function echo(server: Server): { messages: string[]; open: () => number } {
  const messages: string[] = []
  const sockets = new WebSocketServer({ server }).on('connection', (socket) => {
    onTestFinished(() => socket.terminate())
    socket.on('message', (message, isBinary) => {
      messages.push(String(message))
      socket.send(message, { binary: isBinary })
    })
  })
  return { messages, open: () => sockets.clients.size }
}

function numbers(n: number): string[] {
  return Array.from({ length: n }, (_, i) => `${i}`)
}

interface Report {
  unanswered: Record<string, number>
  answers: unknown
  traffic: { sent: number; answered: number; pongs: number; statuses: Record<string, number> }
}

function reportOf({ stdout }: Ran): Report {
  return JSON.parse(stdout)
}

describe.skipIf(noNats !== undefined)('over NATS', () => {
  test('agents speak WebSocket, with messages and pings; all their connections have different numbers', async () => {
    const { args, agents } = await swarm()
    const server = createServer()
    const { messages } = echo(server)
    const url = `ws://127.0.0.1:${await portOf(server)}/chat`
    const saying = ['--message', '{id} {n}', '--expect-echo', '--every', '100ms', '--ping', '100ms']
    const ended = await run(['pulse', url, ...args, ...ONCE, ...saying])
    expect(ended).toMatchObject({ code: 0 })
    const { traffic, ...report } = reportOf(ended)
    expect(report).toMatchObject({ connected: 40, echoed: 40, failed: {}, lost: {}, unanswered: {} })
    expect(traffic.answered).toBeGreaterThan(40)
    expect(traffic.pongs).toBeGreaterThan(0)
    expect(new Set(messages.map((message) => message.split(' ')[0]))).toEqual(new Set(numbers(40)))
    expect(new Set(messages).size).toBe(messages.length)
    await agents[0]?.said(/^Pulse 1, 20 of 40 to ws:\/\/127\.0\.0\.1:\d+\/chat: 20 connected in /m)
  })

  test('agents speak HTTP, also with two servers; statuses and causes are added up', async () => {
    const { args } = await swarm()
    const server = createServer((request, response) => {
      response.statusCode = request.headers['x-who'] === 'a' ? 200 : 500
      if (request.url?.startsWith('/bad')) response.statusCode = 503
      response.end('hello')
    })
    const port = await portOf(server)
    const urls = ['good', 'bad'].map((path) => `http://127.0.0.1:${port}/${path}/{id}`)
    const saying = ['--header', 'X-Who: a', '--every', '100ms']
    const ended = await run(['pulse', ...urls, ...args, ...ONCE, ...saying])
    expect(ended.code).toBe(2)
    const report = reportOf(ended)
    const { answered, statuses } = report.traffic
    expect(report).toMatchObject({
      connected: 40,
      failed: {},
      unanswered: { HTTP_503: expect.any(Number) },
      targets: urls.map((target) => ({ target, connected: 20 }))
    })
    expect(answered).toBeGreaterThan(20)
    expect(statuses).toEqual({ 200: answered, 503: report.unanswered.HTTP_503 })
    expect(report.answers).toMatchObject({ latency: { p50: expect.any(Number) } })
  })

  test('a run that speaks survives the death of its coordinator: all traffic is in the resumed report', async () => {
    const { args } = await swarm(['-js', '-sd', directory()])
    const server = createServer()
    const { messages, open } = echo(server)
    const url = `ws://user:secret@127.0.0.1:${await portOf(server)}/`
    const saying = ['--message', '{id} {n}', '--expect-echo', '--every', '1s', '--ping', '1s']
    const first = ebb(['pulse', url, ...args, ...PLAN, ...saying])
    const [, id = ''] = await first.said(/^Run ([0-9a-f]{32}): /m)
    await first.said(/: 40 connected in /)
    await first.end('SIGKILL')
    const resumed = await run(['pulse', '--resume', id, ...args.slice(0, 4), '--json'])
    expect(resumed.code).toBe(0)
    const { traffic, ...report } = reportOf(resumed)
    expect(report).toMatchObject({ pulses: 2, connected: 60, echoed: 60, failed: {}, lost: {}, unanswered: {} })
    await until(() => open() === 0)
    expect(traffic.sent).toBe(messages.length)
    expect(traffic.answered).toBeGreaterThan(60)
    const counted = new Set(messages.map((message) => message.split(' ')[0]))
    expect(counted).toEqual(new Set(numbers(40)))
  })

  test('an agent speaks only to servers that it allows', async () => {
    const { args } = await swarm([], ['--allow', '127.0.0.1:1'])
    let requests = 0
    const port = await portOf(createServer(() => requests++))
    const { code, stderr } = await run(['pulse', `http://127.0.0.1:${port}/`, ...args, ...ONCE])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^ebb: ERR_SWARM: the agent [ab] refuses: 127\.0\.0\.1:\d+ is not allowed here/m)
    expect(requests).toBe(0)
  })

  test.skipIf(spawnSync('openssl', ['version']).status !== 0)(
    'agents trust the authorities of their own machine',
    async () => {
      const pair = selfSigned('DNS:localhost,IP:127.0.0.1')
      const ca = join(directory(), 'ca.pem')
      writeFileSync(ca, pair.cert)
      const server = createHttps(pair)
      const { messages } = echo(server)
      const url = `wss://localhost:${await portOf(server)}/`
      const saying = ['--message', '{id}', '--expect-echo']
      const { args } = await swarm([], [], { NODE_EXTRA_CA_CERTS: ca })
      const ended = await run(['pulse', url, ...args, ...ONCE, ...saying])
      expect(reportOf(ended)).toMatchObject({ connected: 40, echoed: 40, failed: {} })
      expect(new Set(messages)).toEqual(new Set(numbers(40)))
      const { args: others } = await swarm()
      const refused = await run(['pulse', url, ...others, ...ONCE, ...saying])
      expect(reportOf(refused)).toMatchObject({ connected: 0, failed: { DEPTH_ZERO_SELF_SIGNED_CERT: 40 } })
      expect(refused.stderr).toContain('start the agents with NODE_EXTRA_CA_CERTS')
      const insecure = await run(['pulse', url, ...others, ...ONCE, ...saying, '--insecure'])
      expect(reportOf(insecure)).toMatchObject({ connected: 40, echoed: 40, failed: {} })
    }
  )
})

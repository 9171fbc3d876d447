import { once } from 'node:events'
import http from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { eventually, handoverPath, type Line, Member } from '../support/handover.js'
import { until } from '../support/sockets.js'

const SERVER = `
  const servers = park(http.createServer((request, response) => {
    const { url } = request
    if (url === '/slow') setTimeout(() => response.end(String(process.pid)), 300)
    else if (url === '/events') servers.stream(response)
    else {
      let length = 0
      request.on('data', (bytes) => { length += bytes.length })
      request.on('end', () => {
        const connection = servers.connection(request.socket)
        response.end(JSON.stringify({ pid: process.pid, length, id: connection.id }))
      })
    }
  }), { idle: '20ms' })
  servers.keepAliveTimeout = 60_000
  const listen = { port: 0, host: '127.0.0.1' }
`
const options = { servers: SERVER, options: { grace: '10s' } }

function agent(): http.Agent {
  const made = new http.Agent({ keepAlive: true, maxSockets: 1 })
  onTestFinished(() => made.destroy())
  return made
}

interface Reply {
  pid: number
  length: number
  id: number
}

async function request({ address }: Line, path: string, agent: http.Agent, body?: Buffer[]): Promise<string> {
  const { port } = address as { port: number }
  const sent = http.request({ port, host: '127.0.0.1', path, agent, method: body ? 'POST' : 'GET' })
  const answer = once(sent, 'response')
  answer.catch(() => {})
  for (const part of body ?? []) {
    sent.write(part)
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
  sent.end()
  const [response] = (await answer) as [http.IncomingMessage]
  let text = ''
  for await (const part of response) text += part
  return text
}

const json = async (...args: Parameters<typeof request>): Promise<Reply> => JSON.parse(await request(...args)) as Reply

test('keep-alive connections, answers and uploads under way, and streams', async () => {
  const path = handoverPath()
  const first = new Member(path, options)
  const ready = await first.expect('ready')
  const agents = Array.from({ length: 20 }, agent)
  const before = await Promise.all(agents.map((one) => json(ready, '/', one)))
  const events = http.get({ port: (ready.address as { port: number }).port, host: '127.0.0.1', path: '/events' })
  const [stream] = (await once(events, 'response')) as [http.IncomingMessage]
  let received = ''
  stream.on('data', (bytes: Buffer) => {
    received += bytes.toString()
  })
  const slowAgent = agent()
  const slow = request(ready, '/slow', slowAgent)
  const uploads = agents.slice(0, 5).map((one) => json(ready, '/', one, new Array(10).fill(Buffer.alloc(1000))))
  await eventually(() => first.value('first.stats().awake')).toBeGreaterThanOrEqual(6)

  const second = new Member(path, options)
  const { from } = await second.expect('ready')
  expect(from?.connections).toBeGreaterThanOrEqual(16)
  expect(await slow).toBe(String(first.process.pid))
  for (const { length, pid } of await Promise.all(uploads)) {
    expect({ length, pid }).toEqual({ length: 10_000, pid: first.process.pid })
  }
  expect(await second.value(`first.broadcast('data: one\\n\\n')`)).toBe(1)
  await until(() => received === 'data: one\n\n')
  const after = await Promise.all(agents.map((one) => json(ready, '/', one)))
  expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id))
  expect(new Set(after.map(({ pid }) => pid))).toEqual(new Set([second.process.pid]))
  expect((await json(ready, '/', slowAgent)).pid).toBe(second.process.pid)
  expect((await first.ended).code).toBe(0)
  stream.destroy()
  for (const one of agents) one.destroy()
  slowAgent.destroy()
  await eventually(() => second.value('first.stats().parked + first.stats().awake')).toBe(0)
  expect(await second.value('audit()')).toEqual([])
})

test('five handovers under load: no error, no wrong byte', async () => {
  const path = handoverPath()
  let current = new Member(path, options)
  const ready = await current.expect('ready')
  let running = true
  const counts = { requests: 0, slow: 0, uploads: 0, fresh: 0 }
  const loop = async (act: () => Promise<void>): Promise<void> => {
    while (running) await act()
  }
  const kept = Array.from({ length: 8 }, agent).map((one) =>
    loop(async () => {
      expect((await json(ready, '/', one)).length).toBe(0)
      counts.requests++
    })
  )
  const slowAgent = agent()
  const slow = loop(async () => {
    expect(Number(await request(ready, '/slow', slowAgent))).toBeGreaterThan(0)
    counts.slow++
  })
  const uploadAgent = agent()
  const upload = loop(async () => {
    expect((await json(ready, '/', uploadAgent, new Array(5).fill(Buffer.alloc(5000)))).length).toBe(25_000)
    counts.uploads++
  })
  const fresh = loop(async () => {
    const one = new http.Agent({ keepAlive: false })
    expect((await json(ready, '/', one)).length).toBe(0)
    counts.fresh++
  })
  for (let i = 0; i < 5; i++) {
    const next = new Member(path, options)
    await next.expect('ready')
    expect((await current.ended).code).toBe(0)
    current = next
  }
  running = false
  await Promise.all([...kept, slow, upload, fresh])
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(5)
})

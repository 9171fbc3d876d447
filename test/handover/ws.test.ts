/** WebSockets of the package `ws` move to the next process, if the program says what it needs to know there. */
import { expect, test } from 'vitest'
import { eventually, handoverPath, Member } from '../support/handover.js'
import { type HubClient, hubClients, servedBy } from '../support/handover-web-sockets.js'

/** A server whose WebSockets have a name and a count, which move. @param options of `parkWebSockets()`, as source */
function server(options = 'moving: (webSocket) => states.get(webSocket)'): string {
  return `
    const { WebSocketServer } = await import('ws')
    const { parkWebSockets } = await import('ebb/ws')
    const servers = park(http.createServer(), { idle: '20ms' })
    const states = new Map()
    const ends = []
    const wss = parkWebSockets(new WebSocketServer({ server: servers, path: '/chat' }), { idle: '20ms', ${options} })
    const serve = (webSocket, request, state) => {
      states.set(webSocket, state)
      webSocket.on('message', (data, binary) => {
        const text = data.toString()
        state.count++
        if (text === 'later') setTimeout(() => webSocket.send('answer of ' + process.pid), 1000)
        else if (binary) webSocket.send(data)
        else webSocket.send(JSON.stringify({
          pid: process.pid, ...state, url: request.url, agent: request.headers['x-agent'],
          address: request.socket.remoteAddress, protocol: webSocket.protocol, moved: webSocket.moved === true
        }))
      })
      webSocket.on('close', (code) => {
        ends.push(code)
        states.delete(webSocket)
      })
    }
    wss.on('connection', (webSocket, request) => serve(webSocket, request, { name: request.url.slice(6), count: 0 }))
    wss.on('moved', (webSocket, request, state) => serve(Object.assign(webSocket, { moved: true }), request, state))
    const listen = { port: 0, host: '127.0.0.1' }
  `
}

const options = { servers: server(), options: { grace: '10s' } }
const open = (...args: Parameters<typeof hubClients>) =>
  hubClients(args[0], args[1], (at) => `/chat?${at}`, { headers: { 'x-agent': 'test' } })

/** Waits until all WebSockets of a process are parked. */
const parked = (member: Member, count: number) => eventually(() => member.value('first.stats().parked')).toBe(count)

test('a WebSocket moves with its request and what the program knows, and goes on', async () => {
  const path = handoverPath()
  const first = new Member(path, options)
  const ready = await first.expect('ready')
  const clients = await open(ready, 12)
  await servedBy(clients, first.process.pid)
  await parked(first, 12)
  const second = new Member(path, options)
  expect((await second.expect('ready')).from).toMatchObject({ connections: 12, awake: 0 })
  expect(await second.value('[wss.clients.size, states.size]')).toEqual([12, 12])
  for (const [at, told] of (await servedBy(clients, second.process.pid)).entries()) {
    expect(told).toEqual({
      ...{ pid: second.process.pid, name: String(at), count: 2, url: `/chat?${at}`, agent: 'test' },
      ...{ address: '127.0.0.1', protocol: 'chat', moved: true }
    })
  }
  expect((await first.ended).code).toBe(0)
  // Fragments wake it; a close is answered; nothing is left.
  const [client, closing, ...others] = clients as [HubClient, HubClient, ...HubClient[]]
  client.socket.send('in ', { fin: false })
  client.socket.send('parts', { fin: true })
  expect(JSON.parse(await client.next())).toMatchObject({ pid: second.process.pid, count: 3 })
  closing.socket.close(4001)
  expect(await closing.end()).toEqual([4001, ''])
  expect(await second.value('[ends, wss.clients.size]')).toEqual([[4001], 11])
  await parked(second, 11)
  const third = new Member(path, options)
  expect((await third.expect('ready')).from).toMatchObject({ connections: 11 })
  const left = [client, ...others]
  await servedBy(left, third.process.pid)
  for (const { socket } of left) socket.terminate()
  await eventually(() => third.value('first.stats().parked + first.stats().awake')).toBe(0)
  expect(await third.value('[wss.clients.size, states.size, audit()]')).toEqual([0, 0, []])
})

test('what the old process still sends reaches a WebSocket that has moved', async () => {
  const path = handoverPath()
  // A connection that stays keeps the old process until the grace is over.
  const servers = server(
    'moving: (webSocket) => { if (states.get(webSocket).name === "stays") throw new Error("stays"); return states.get(webSocket) }'
  )
  const catching = `process.on('uncaughtException', () => {});`
  const first = new Member(path, { servers: catching + servers, options: { grace: '3s' } })
  const ready = await first.expect('ready')
  const [client] = (await open(ready, 1)) as [HubClient]
  const [stays] = (await hubClients(ready, 1, () => '/chat?stays')) as [HubClient]
  await servedBy([client, stays], first.process.pid)
  client.socket.send('later')
  await parked(first, 2)
  const second = new Member(path, options)
  expect((await second.expect('ready')).from).toMatchObject({ connections: 1, awake: 1 })
  expect((await client.ask('who')).pid).toBe(second.process.pid)
  expect(await client.next()).toBe(`answer of ${first.process.pid}`)
  await servedBy([stays], first.process.pid)
  expect((await stays.end())[0]).toBe(1001)
  expect((await first.ended).code).toBe(0)
})

test('without the option, a WebSocket stays until the grace is over', async () => {
  const path = handoverPath()
  const first = new Member(path, { servers: server(''), options: { grace: '500ms' } })
  const ready = await first.expect('ready')
  const clients = await open(ready, 2)
  await servedBy(clients, first.process.pid)
  await parked(first, 2)
  const second = new Member(path, options)
  expect((await second.expect('ready')).from).toMatchObject({ connections: 0, awake: 2 })
  await servedBy(clients, first.process.pid)
  for (const client of clients) expect((await client.end())[0]).toBe(1001)
  expect((await first.ended).code).toBe(0)
})

/** Libraries on `ws`, each with its own client, while their connections are parked. */
import { once } from 'node:events'
import http from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import fastifyWebSocket from '@fastify/websocket'
import { Aedes } from 'aedes'
import { park } from 'ebb'
import { isWebSocketParked, parkedWebSocketServer, parkWebSockets } from 'ebb/ws'
import fastify from 'fastify'
import { createClient } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { createDecoder, readVarUint } from 'lib0/decoding'
import { createEncoder, length, toUint8Array, writeVarUint } from 'lib0/encoding'
import mqtt from 'mqtt'
import { Server } from 'socket.io'
import { io as connect } from 'socket.io-client'
import { expect, onTestFinished, test } from 'vitest'
import { createWebSocketStream, WebSocket, WebSocketServer } from 'ws'
import { readSyncMessage, writeUpdate } from 'y-protocols/sync'
import { WebsocketProvider } from 'y-websocket'
import { Doc } from 'yjs'

// The copy of the module that `graphql-ws` uses.
const { buildSchema } = createRequire(import.meta.url)('graphql') as typeof import('graphql')

const IDLE = 1

async function listen(server: http.Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Resolves when there are `count` WebSockets, and all are parked. */
async function allParked(webSockets: () => Iterable<object>, count: number): Promise<void> {
  for (;;) {
    const all = [...webSockets()]
    if (all.length === count && all.every(isWebSocketParked)) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Starts a parked `WebSocketServer`. */
async function serve(handleProtocols?: (protocols: Set<string>) => string) {
  const server = http.createServer()
  const webSockets = new WebSocketServer({ server, ...(handleProtocols && { handleProtocols }) })
  parkWebSockets(webSockets, { idle: IDLE })
  return { webSockets, at: await listen(server) }
}

test('socket.io: events, acknowledgements, rooms, upgrades from polling; its pings do not wake', async () => {
  const server = park(http.createServer())
  const url = `http://${await listen(server)}`
  const wsEngine = parkedWebSocketServer(WebSocketServer, { idle: IDLE })
  const io = new Server(server, { wsEngine, pingInterval: 50 })
  io.on('connection', async (socket) => {
    await socket.join('room')
    socket.on('echo', (value, done) => done(value))
  })
  const clients = [['websocket'], ['polling', 'websocket']].map((transports) =>
    connect(url, { transports, forceNew: true })
  )
  onTestFinished(() => {
    for (const client of clients) client.disconnect()
  })
  await Promise.all(clients.map((client) => new Promise<void>((resolve) => client.on('connect', resolve))))
  // What engine.io keeps is not part of its types.
  const { clients: sessions } = io.engine as unknown as { clients: Record<string, { transport: { socket: object } }> }
  const webSockets = () => Object.values(sessions).map(({ transport }) => transport.socket ?? {})
  await allParked(webSockets, 2)
  const { woken } = server.stats()
  const greeted = Promise.all(clients.map((client) => new Promise((resolve) => client.once('hello', resolve))))
  io.to('room').emit('hello', 'all')
  expect(await greeted).toEqual(['all', 'all'])
  for (const client of clients) {
    expect(await client.emitWithAck('echo', 'text')).toBe('text')
    expect(await client.emitWithAck('echo', Buffer.from('bytes'))).toEqual(Buffer.from('bytes'))
    for (let pings = 0; pings < 3; pings++) await new Promise<void>((resolve) => client.io.once('ping', resolve))
  }
  expect(webSockets().every(isWebSocketParked)).toBe(true)
  expect(server.stats().woken).toBe(woken)
  const gone = clients.map((client) => new Promise((resolve) => client.once('disconnect', resolve)))
  await io.close()
  expect(await Promise.all(gone)).toEqual(['transport close', 'transport close'].map(() => expect.any(String)))
})

test('graphql-ws: a query and a subscription', async () => {
  const { webSockets, at } = await serve(() => 'graphql-transport-ws')
  let next: () => void = () => {}
  const schema = buildSchema('type Query { hello: String } type Subscription { n: Int }')
  const roots = {
    query: { hello: () => 'world' },
    subscription: {
      async *n() {
        for (let n = 0; ; n++) {
          yield { n }
          await new Promise<void>((resolve) => {
            next = resolve
          })
        }
      }
    }
  }
  useServer({ schema, roots }, webSockets, 1000)
  const client = createClient({ url: `ws://${at}`, webSocketImpl: WebSocket, lazy: false })
  onTestFinished(() => void client.dispose())
  for await (const { data } of client.iterate({ query: '{ hello }' })) expect(data).toEqual({ hello: 'world' })
  let n = 0
  for await (const { data } of client.iterate({ query: 'subscription { n }' })) {
    expect(data).toEqual({ n: n++ })
    if (n === 3) break
    await allParked(() => webSockets.clients, 1)
    next()
  }
  // Its server closes a connection that does not answer its pings.
  const [webSocket] = webSockets.clients
  await once(webSocket as WebSocket, 'pong')
  await allParked(() => webSockets.clients, 1)
})

test('y-websocket: two documents', async () => {
  const { webSockets, at } = await serve()
  const shared = new Doc()
  shared.on('update', (update: Uint8Array, origin: unknown) => {
    const encoder = createEncoder()
    writeVarUint(encoder, 0)
    writeUpdate(encoder, update)
    for (const webSocket of webSockets.clients) if (webSocket !== origin) webSocket.send(toUint8Array(encoder))
  })
  webSockets.on('connection', (webSocket) => {
    webSocket.on('message', (message: Buffer) => {
      const decoder = createDecoder(message)
      if (readVarUint(decoder) !== 0) return
      const encoder = createEncoder()
      writeVarUint(encoder, 0)
      readSyncMessage(decoder, encoder, shared, webSocket)
      if (length(encoder) > 1) webSocket.send(toUint8Array(encoder))
    })
  })
  const docs = [new Doc(), new Doc()] as const
  const providers = docs.map((doc) => {
    const options = { WebSocketPolyfill: WebSocket as never, disableBc: true }
    return new WebsocketProvider(`ws://${at}`, 'room', doc, options)
  })
  onTestFinished(() => {
    for (const provider of providers) provider.destroy()
  })
  await Promise.all(providers.map((provider) => new Promise<void>((resolve) => provider.once('sync', () => resolve()))))
  await allParked(() => webSockets.clients, 2)
  const changed = new Promise((resolve) => docs[1].once('update', resolve))
  docs[0].getText('t').insert(0, 'hello')
  await changed
  expect(String(docs[1].getText('t'))).toBe('hello')
  expect([...webSockets.clients].every(isWebSocketParked)).toBe(true)
})

// aedes 1.2 answers no CONNECT over a WebSocket on Node 26, also without ebb.
test.skipIf(Number.parseInt(process.versions.node, 10) >= 26)(
  'aedes: MQTT over WebSocket, with keep-alive pings',
  async () => {
    const { webSockets, at } = await serve(() => 'mqtt')
    const broker = await Aedes.createBroker()
    webSockets.on('connection', (webSocket, request) => broker.handle(createWebSocketStream(webSocket), request))
    const clients = [1, 2].map(() => mqtt.connect(`ws://${at}`, { keepalive: 1 }))
    onTestFinished(async () => {
      for (const client of clients) await client.endAsync(true)
      await new Promise<void>((resolve) => broker.close(() => resolve()))
    })
    const [subscriber, publisher] = clients as [mqtt.MqttClient, mqtt.MqttClient]
    await Promise.all(clients.map((client) => new Promise((resolve) => client.once('connect', resolve))))
    await subscriber.subscribeAsync('topic')
    await allParked(() => webSockets.clients, 2)
    for (const payload of [Buffer.from('small'), Buffer.alloc(300_000, 'large')]) {
      const received = new Promise<Buffer>((resolve) =>
        subscriber.once('message', (_topic, message) => resolve(message))
      )
      await publisher.publishAsync('topic', payload, { qos: 1 })
      expect(payload.equals(await received)).toBe(true)
      await allParked(() => webSockets.clients, 2)
    }
    const answered = new Promise<void>((resolve) =>
      subscriber.on('packetreceive', ({ cmd }) => void (cmd === 'pingresp' && resolve()))
    )
    await answered
    expect([...webSockets.clients].every(isWebSocketParked)).toBe(true)
  }
)

test('@fastify/websocket: an echo, and close() of the application', async () => {
  const app = fastify()
  onTestFinished(() => app.close())
  await app.register(fastifyWebSocket)
  parkWebSockets(app.websocketServer, { idle: IDLE })
  app.get('/', { websocket: true }, (webSocket) => {
    webSocket.on('message', (message: Buffer) => webSocket.send(`echo ${message}`))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const client = new WebSocket(url.replace('http', 'ws'))
  await once(client, 'open')
  await allParked(() => app.websocketServer.clients, 1)
  client.send('hello')
  expect(String((await once(client, 'message'))[0])).toBe('echo hello')
  expect([...app.websocketServer.clients].every(isWebSocketParked)).toBe(true)
  const closed = once(client, 'close')
  await app.close()
  await closed
})

/** `ebb/park` and programs on `ws`, unchanged, each with its own client. */
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createClient } from 'graphql-ws'
import { io as connect } from 'socket.io-client'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { askUntil, ES_IMPORTS, echoUntil, open, SOON, serveSource, webProgram } from '../support/preload.js'

const { version } = createRequire(import.meta.url)('ws/package.json') as { version: string }

/** Middle part of a program: makes `webSockets` echo, and say whether their connection is parked. */
const ECHO = `(webSocket, { socket }) => {
  webSocket.on('message', (data) => webSocket.send(data + (socket.destroyed ? ' parked' : ' awake')))
}`

test.each([
  ['port', `const webSockets = new WebSocketServer({ port: 0, host: '127.0.0.1' }), server = webSockets`],
  [
    'noServer, after a look-up',
    `const webSockets = new WebSocketServer({ noServer: true }), server = createServer().listen(0, '127.0.0.1')
    server.on('upgrade', (request, socket, head) => setTimeout(() => {
      socket.setTimeout(10_000)
      webSockets.handleUpgrade(request, socket, head, (webSocket) => webSockets.emit('connection', webSocket, request))
    }, 5))`
  ],
  [
    'verifyClient, clientTracking off, a class of its own',
    `class Mine extends WebSocket { send(data) { super.send(data) } }
    const server = createServer().listen(0, '127.0.0.1')
    const webSockets = new WebSocketServer({
      server, clientTracking: false, WebSocket: Mine, verifyClient: (_, done) => setImmediate(done, true)
    })`
  ],
  [
    'two on one server',
    `const server = createServer().listen(0, '127.0.0.1')
    const [webSockets, other] = [1, 2].map((n) => new WebSocketServer({ noServer: true, maxPayload: n * 1000 }))
    other.on('connection', (webSocket) => webSocket.on('message', () => webSocket.send('other')))
    server.on('upgrade', (request, socket, head) => {
      const to = request.url === '/other' ? other : webSockets
      to.handleUpgrade(request, socket, head, (webSocket) => to.emit('connection', webSocket, request))
    })`
  ]
])('ws: %s', async (_, make) => {
  const program = await serveSource(`
    import { createServer } from 'node:http'
    import { WebSocket, WebSocketServer } from 'ws'
    ${make}
    webSockets.on('connection', ${ECHO})
    server.on('listening', () => console.log(server.address().port))`)
  const webSockets = await Promise.all([open(program.url), open(program.url)])
  for (const webSocket of webSockets) await echoUntil(webSocket, 'echo parked')
  if (make.includes('other')) {
    await echoUntil(await open(`${program.url}/other`), 'other')
    // The limits of both servers hold while connections are parked.
    const tooLong = await open(program.url)
    await echoUntil(tooLong, 'echo parked')
    tooLong.send(Buffer.alloc(1500))
    expect((await once(tooLong, 'close'))[0]).toBe(1009)
  }
})

test('a WebSocketServer that the program has parked keeps its options; others of the same class are parked, too', async () => {
  const program = await serveSource(`
    import { createServer } from 'node:http'
    import { parkWebSockets } from 'ebb/ws'
    import { WebSocketServer } from 'ws'
    const server = createServer().listen(0, '127.0.0.1', () => console.log(server.address().port))
    const [slow, quick] = [1, 2].map(() => new WebSocketServer({ noServer: true }))
    parkWebSockets(slow, { idle: '1h' })
    for (const webSockets of [slow, quick]) webSockets.on('connection', ${ECHO})
    server.on('upgrade', (request, socket, head) => {
      const to = request.url === '/slow' ? slow : quick
      to.handleUpgrade(request, socket, head, (webSocket) => to.emit('connection', webSocket, request))
    })`)
  for (let round = 0; round < 2; round++) {
    const slow = await open(`${program.url}/slow`)
    await echoUntil(slow, 'echo awake')
    await echoUntil(await open(program.url), 'echo parked')
    await echoUntil(slow, 'echo awake')
  }
})

test('clients of ws in the same program, before and after its first connection', async () => {
  const program = await serveSource(`${webProgram(ES_IMPORTS)}
    const { WebSocket } = await import('ws')
    const { once } = await import('node:events')
    const connect = async () => {
      const client = new WebSocket('ws://127.0.0.1:' + server.address().port)
      await once(client, 'open')
      return client
    }
    if (!server.listening) await once(server, 'listening')
    const clients = [await connect(), await connect()]
    for (const client of clients) {
      for (let reply = ''; !reply.endsWith('parked'); ) {
        await new Promise((resolve) => setTimeout(resolve, 20))
        client.send('x')
        reply = String((await once(client, 'message'))[0])
      }
      client.ping()
      await once(client, 'pong')
      console.log(client._socket.destroyed, client.bufferedAmount, client instanceof WebSocket, Object.keys(WebSocket.prototype).length)
      client.close()
      await once(client, 'close')
    }`)
  await program.said(/(?:false 0 true \d+\n){2}/)
})

test('EBB_PARK_DEFLATE: connections are compressed without context takeover, and parked', async () => {
  const source = webProgram(ES_IMPORTS).replace('{ server }', '{ server, perMessageDeflate: { threshold: 0 } }')
  for (const [deflate, state] of [
    ['1', 'parked'],
    ['0', 'awake']
  ]) {
    const program = await serveSource(source, { ...SOON, EBB_PARK_DEFLATE: deflate })
    const webSocket = await open(program.url)
    expect(webSocket.extensions).toBe('permessage-deflate')
    // `ws` itself keeps its context as a client unless the server asks it not to.
    await echoUntil(webSocket, `echo ${state}`)
    await echoUntil(await open(program.url, { perMessageDeflate: false }), 'echo parked')
  }
})

test(`socket.io, with polling and with WebSockets of ws ${version}`, async () => {
  const program = await serveSource(`
    import { createServer } from 'node:http'
    import { Server } from 'socket.io'
    const server = createServer()
    const io = new Server(server, { pingInterval: 50 })
    io.on('connection', (socket) => {
      socket.join('room')
      socket.on('echo', (value, done) => done(value, socket.conn.transport.socket?._readyState, io.engine.clientsCount))
      socket.on('parked', (done) => done(socket.request.socket.destroyed))
      socket.on('all', () => io.to('room').emit('hello', 'all'))
    })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))`)
  const clients = [['websocket'], ['polling', 'websocket']].map((transports) =>
    connect(`http://${program.url}`, { transports, forceNew: true })
  )
  onTestFinished(() => {
    for (const client of clients) client.disconnect()
  })
  await Promise.all(clients.map((client) => new Promise<void>((resolve) => client.on('connect', resolve))))
  const [direct] = clients as [(typeof clients)[0]]
  while (!(await direct.emitWithAck('parked'))) await new Promise<void>((resolve) => direct.io.once('ping', resolve))
  const greeted = Promise.all(clients.map((client) => new Promise((resolve) => client.once('hello', resolve))))
  direct.emit('all')
  expect(await greeted).toEqual(['all', 'all'])
  expect(await direct.emitWithAck('echo', Buffer.from('bytes'))).toEqual(Buffer.from('bytes'))
  expect(await direct.emitWithAck('parked')).toBe(true)
})

test('graphql-ws: a query and a subscription', async () => {
  const program = await serveSource(`
    import { createServer } from 'node:http'
    import { createRequire } from 'node:module'
    import { useServer } from 'graphql-ws/use/ws'
    import { WebSocketServer } from 'ws'
    const { buildSchema } = createRequire(import.meta.resolve('graphql-ws/use/ws'))('graphql')
    const server = createServer()
    const schema = buildSchema('type Query { parked: Boolean } type Subscription { n: Int }')
    const roots = {
      query: { parked: (_, { extra }) => extra.request.socket.destroyed },
      subscription: {
        async *n() {
          for (let n = 0; n < 3; n++) {
            yield { n }
            await new Promise((resolve) => setTimeout(resolve, 20))
          }
        }
      }
    }
    useServer({ schema, roots, context: (context) => context }, new WebSocketServer({ server, path: '/graphql' }))
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))`)
  const client = createClient({ url: `ws://${program.url}/graphql`, webSocketImpl: WebSocket, lazy: false })
  onTestFinished(() => void client.dispose())
  for (let parked = false; !parked; ) {
    for await (const { data, errors } of client.iterate({ query: '{ parked }' })) {
      if (errors !== undefined) throw new Error(JSON.stringify(errors))
      parked = data?.parked === true
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const seen: unknown[] = []
  for await (const { data } of client.iterate({ query: 'subscription { n }' })) seen.push(data?.n)
  expect(seen).toEqual([0, 1, 2])
})

test('Fastify with @fastify/websocket, and its close()', async () => {
  const program = await serveSource(`
    import fastifyWebSocket from '@fastify/websocket'
    import fastify from 'fastify'
    const app = fastify()
    await app.register(fastifyWebSocket)
    app.get('/ws', { websocket: true }, ${ECHO})
    let last
    app.get('/', async ({ raw: { socket } }) => {
      const woken = last !== undefined && last !== socket
      last = socket
      return woken ? 'woken' : 'same'
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    console.log(app.server.address().port)
    process.once('SIGTERM', () => app.close().then(() => console.log('closed')))`)
  await askUntil(program.port, 'woken')
  const webSocket = await open(`${program.url}/ws`)
  await echoUntil(webSocket, 'echo parked')
  const closed = once(webSocket, 'close')
  program.kill('SIGTERM')
  await closed
  expect(await program.ended).toMatchObject({ code: 0, stdout: `${program.port}\nclosed\n`, stderr: '' })
})

test.each([
  [
    'Express',
    `import express from 'express'
    const app = express()
    let last
    app.get('/', ({ socket }, response) => {
      response.send(last === undefined || last === socket ? 'same' : 'woken')
      last = socket
    })
    const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
    process.once('SIGTERM', () => server.close(() => console.log('closed')))`
  ],
  [
    'stoppable',
    `${webProgram(ES_IMPORTS).replace(/process\.once.*/s, '')}
    import stoppable from 'stoppable'
    stoppable(server, 0)
    process.once('SIGTERM', () => server.stop(() => console.log('closed')))`
  ],
  [
    'http-terminator',
    `${webProgram(ES_IMPORTS).replace(/process\.once.*/s, '')}
    import { createHttpTerminator } from 'http-terminator'
    const terminator = createHttpTerminator({ server })
    process.once('SIGTERM', () => terminator.terminate().then(() => console.log('closed')))`
  ]
])('%s: requests, and its end', async (_, source) => {
  const program = await serveSource(source)
  await askUntil(program.port, 'woken')
  program.kill('SIGTERM')
  expect(await program.ended).toMatchObject({ code: 0, stdout: `${program.port}\nclosed\n`, stderr: '' })
})

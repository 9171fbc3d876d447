import { EventEmitter, once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { type ServerOptions, WebSocket, WebSocketServer } from 'ws'
import { park } from '../../park/park.js'
import { socketOf } from '../testing/targets.js'
import { isWebSocketParked, parkedWebSocketServer, parkWebSocket, parkWebSockets } from './park-web-sockets.js'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** As `once()`, but without a rejection by `error`. */
const event = (emitter: EventEmitter, name: string) =>
  new Promise<unknown[]>((resolve) => emitter.once(name, (...args) => resolve(args)))

/** Resolves when the WebSocket is parked. Whatever the server has written until then is sent. */
async function parked(webSocket: WebSocket): Promise<void> {
  while (!isWebSocketParked(webSocket)) {
    if (!parkWebSocket(webSocket)) await turn()
  }
}

async function listening(server: http.Server): Promise<string> {
  if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening')
  ends.push(async () => {
    if (!server.listening) return
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function dispose(server: WebSocketServer): void {
  ends.push(async () => {
    for (const client of server.clients ?? []) client.terminate()
    server.close()
  })
}

/** Starts a server on a port. */
async function serve(
  options: ServerOptions = {}
): Promise<{ server: WebSocketServer; http: http.Server; url: string }> {
  const httpServer = http.createServer()
  const url = await listening(httpServer)
  const server = parkWebSockets(new WebSocketServer({ server: httpServer, ...options }), { idle: '1h' })
  dispose(server)
  return { server, http: httpServer, url }
}

/** Connects a client. @returns both ends */
async function connect(
  server: WebSocketServer,
  url: string,
  options?: WebSocket.ClientOptions
): Promise<{ client: WebSocket; peer: WebSocket; request: http.IncomingMessage }> {
  const client = new WebSocket(url, options)
  ends.push(async () => client.terminate())
  const [[peer, request]] = await Promise.all([
    once(server, 'connection') as Promise<[WebSocket, http.IncomingMessage]>,
    once(client, 'open')
  ])
  return { client, peer, request }
}

/** Connects a client, and parks its connection. */
async function pair(options: ServerOptions = {}, clientOptions?: WebSocket.ClientOptions) {
  const all = await serve(options)
  const both = await connect(all.server, all.url, clientOptions)
  await parked(both.peer)
  return { ...all, ...both }
}

describe('messages', () => {
  test('are received and sent while the connection is parked', async () => {
    const { client, peer } = await pair()
    const received: unknown[] = []
    peer.on('message', (data, binary) => received.push([data, binary]))
    client.send('text')
    client.send(Buffer.from([1, 2]))
    client.send('')
    client.ping('beat')
    expect(String((await once(client, 'pong'))[0])).toBe('beat')
    expect(received).toEqual([
      [Buffer.from('text'), false],
      [Buffer.from([1, 2]), true],
      [Buffer.alloc(0), false]
    ])
    const echoed: unknown[] = []
    client.on('message', (data: Buffer, binary) => echoed.push(binary ? [...data] : String(data)))
    let sent = 0
    const done = () => sent++
    peer.send('a', done)
    peer.send(1.5, { binary: true }, done)
    peer.send(new Uint16Array([258]).buffer, done)
    peer.send(new DataView(new ArrayBuffer(3), 1), {}, done)
    peer.send(Buffer.from('b'), { binary: false }, done)
    peer.send('', null as never)
    peer.send(undefined as never)
    expect(isWebSocketParked(peer)).toBe(true)
    peer.ping('x')
    await once(client, 'ping')
    expect(echoed).toEqual(['a', [...Buffer.from('1.5')], [2, 1], [0, 0], 'b', '', []])
    expect(sent).toBe(5)
    expect(isWebSocketParked(peer)).toBe(true)
  })

  test.each(['nodebuffer', 'arraybuffer', 'fragments'] as const)('binaryType %s', async (binaryType) => {
    const { client, peer } = await pair()
    peer.binaryType = binaryType
    await parked(peer)
    client.send(Buffer.from('data'))
    const [data] = await once(peer, 'message')
    const expected = { nodebuffer: Buffer.from('data'), arraybuffer: new Uint8Array(Buffer.from('data')).buffer }
    expect(data).toEqual(binaryType === 'fragments' ? [Buffer.from('data')] : expected[binaryType])
  })

  test('in fragments, and longer than a packet, wake the connection, which is parked again', async () => {
    const { client, peer } = await pair()
    client.send('one, ', { fin: false })
    client.send('two')
    expect(String((await once(peer, 'message'))[0])).toBe('one, two')
    expect(isWebSocketParked(peer)).toBe(false)
    await parked(peer)
    const long = Buffer.alloc(3_000_000, 'long')
    client.send(long)
    expect(long.equals((await once(peer, 'message'))[0])).toBe(true)
    await parked(peer)
    peer.send(long)
    expect(long.equals((await once(client, 'message'))[0])).toBe(true)
  })

  test('event handler properties, and a listener that throws', async () => {
    const { client, peer } = await pair()
    const got: unknown[] = []
    peer.onmessage = ({ data, target }) => got.push([data, target === peer])
    client.send('event')
    client.ping()
    await once(client, 'pong')
    expect(got).toEqual([['event', true]])
  })

  test('which ws refuses are refused in the same way', async () => {
    const { client, peer } = await pair()
    expect(() => peer.send({} as never)).toThrow(TypeError)
    await parked(peer)
    expect(() => peer.ping('x'.repeat(126))).toThrow(RangeError)
    await parked(peer)
    expect(() => peer.close(1005)).toThrow('First argument must be a valid error code number')
    await parked(peer)
    expect(() => peer.close(1000, 'x'.repeat(124))).toThrow(RangeError)
    await parked(peer)
    peer.send('still open')
    expect(String((await once(client, 'message'))[0])).toBe('still open')
  })
})

describe('faults', () => {
  test.each([
    [Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff]), 1007, 'WS_ERR_INVALID_UTF8'],
    [Buffer.from([0xc1, 0x80, 0, 0, 0, 0]), 1002, 'WS_ERR_UNEXPECTED_RSV_1'],
    [Buffer.from([0x81, 0x01, 0x61]), 1002, 'WS_ERR_EXPECTED_MASK'],
    [Buffer.from([0x81, 0xfe, 1, 0, 0, 0, 0, 0]), 1009, 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'],
    [Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed]), 1002, 'WS_ERR_INVALID_CLOSE_CODE']
  ])('%o: code %i, %s', async (bytes, closeCode, code) => {
    const { client, peer } = await pair({ maxPayload: 200 })
    const [error, closed] = [event(peer, 'error'), event(peer, 'close')]
    socketOf(client).write(bytes)
    expect((await error)[0]).toMatchObject({ code })
    expect((await once(client, 'close'))[0]).toBe(closeCode)
    expect((await closed)[0]).toBe(1006)
  })
})

describe('closing', () => {
  test('by the client', async () => {
    const { client, peer, server } = await pair()
    client.close(4001, 'bye')
    const [code, reason] = await once(peer, 'close')
    expect([code, String(reason), peer.readyState]).toEqual([4001, 'bye', WebSocket.CLOSED])
    expect(server.clients.size).toBe(0)
    expect((await once(client, 'close'))[0]).toBe(4001)
  })

  test('by the server', async () => {
    const { client, peer } = await pair()
    const closed = once(client, 'close')
    peer.close(4002, 'end')
    expect([peer.readyState, isWebSocketParked(peer)]).toEqual([WebSocket.CLOSING, true])
    peer.close()
    expect((await once(peer, 'close'))[0]).toBe(4002)
    expect(String((await closed)[1])).toBe('end')
  })

  test('without a code, by terminate(), by a lost connection', async () => {
    const { client, peer, server, url } = await pair()
    client.close()
    expect((await once(peer, 'close'))[0]).toBe(1005)
    const second = await connect(server, url)
    await parked(second.peer)
    second.peer.terminate()
    expect(second.peer.readyState).toBe(WebSocket.CLOSING)
    expect((await once(second.peer, 'close'))[0]).toBe(1006)
    const third = await connect(server, url)
    await parked(third.peer)
    third.client.terminate()
    expect((await once(third.peer, 'close'))[0]).toBe(1006)
  })

  test('a message that arrives after close() is delivered; what is sent then is refused', async () => {
    const { client, peer } = await pair()
    client.send('late')
    peer.close(1000)
    const refused = new Promise((resolve) => peer.send('x', resolve))
    expect(String((await once(peer, 'message'))[0])).toBe('late')
    expect(await refused).toMatchObject({ message: 'WebSocket is not open: readyState 2 (CLOSING)' })
    expect((await once(peer, 'close'))[0]).toBe(1000)
    expect((await once(client, 'close')) as unknown[]).toHaveLength(2)
  })

  test('what the program asks of a WebSocket that is closed', async () => {
    const { client, peer } = await pair()
    client.close()
    await once(peer, 'close')
    const socket = socketOf(peer)
    expect(socket.destroyed).toBe(true)
    const refused = new Promise((resolve) => peer.send('four', resolve))
    expect(await refused).toMatchObject({ message: 'WebSocket is not open: readyState 3 (CLOSED)' })
    expect(peer.bufferedAmount).toBe(4)
    peer.close()
    peer.terminate()
    peer.pause()
    peer.resume()
  })
})

describe('waking', () => {
  test('for _socket; the listeners of others on the socket come back', async () => {
    const { client, peer, request } = await pair()
    expect(request.socket.remoteAddress).toBe('127.0.0.1')
    const socket = socketOf(peer)
    expect([isWebSocketParked(peer), socket.remoteAddress, peer.readyState]).toEqual([false, '127.0.0.1', 1])
    const calls: string[] = []
    socket.on('close', () => calls.push('close'))
    socket.on('error', () => calls.push('error'))
    const count = () => {
      const present = socketOf(peer)
      return [present.listenerCount('close'), present.listenerCount('error')]
    }
    const before = count()
    await parked(peer)
    expect(count()).toEqual(before)
    expect(socketOf(peer)).not.toBe(socket)
    client.close()
    await once(peer, 'close')
    await turn()
    expect(calls).toEqual(['close'])
  })

  test('pause() and resume()', async () => {
    const { client, peer } = await pair()
    peer.pause()
    expect([peer.isPaused, isWebSocketParked(peer), parkWebSocket(peer)]).toEqual([true, false, false])
    let received = false
    peer.once('message', () => {
      received = true
    })
    await new Promise((resolve) => client.send('waits', resolve))
    await turn()
    expect(received).toBe(false)
    peer.resume()
    await once(peer, 'message')
    await parked(peer)
    peer.resume()
    expect(isWebSocketParked(peer)).toBe(true)
  })

  test('with bytes for a slow reader: in order, with callbacks and bufferedAmount', async () => {
    const { client, peer } = await pair()
    client.pause()
    const chunk = Buffer.alloc(500_000, 7)
    const order: number[] = []
    let count = 0
    while (peer.bufferedAmount === 0) {
      const number = count++
      peer.send(chunk, () => order.push(number))
    }
    expect(isWebSocketParked(peer)).toBe(true)
    void socketOf(peer)
    expect(isWebSocketParked(peer)).toBe(false)
    expect(peer.bufferedAmount).toBeGreaterThan(0)
    const last = new Promise((resolve) => peer.send('last', resolve))
    let received = 0
    const all = new Promise<void>((resolve) => {
      client.on('message', (data: Buffer, binary) => {
        if (binary) received += data.length
        else resolve()
      })
    })
    client.resume()
    await all
    await last
    expect(received).toBe(count * chunk.length)
    expect(order).toEqual(Array.from({ length: count }, (_, i) => i))
  })

  test('somebody else who reads from the socket, or a timeout on it, keeps it awake', async () => {
    const { server, url } = await serve()
    const { peer } = await connect(server, url)
    const socket = socketOf(peer)
    const listener = () => {}
    socket.on('data', listener)
    await turn()
    expect(parkWebSocket(peer)).toBe(false)
    socket.off('data', listener)
    socket.setTimeout(100_000)
    expect(parkWebSocket(peer)).toBe(false)
    socket.setTimeout(0)
    await parked(peer)
  })

  test("never emits 'open' again", async () => {
    const { client, peer } = await pair()
    let opened = 0
    peer.on('open', () => opened++)
    void socketOf(peer)
    client.send('x')
    await once(peer, 'message')
    expect(opened).toBe(0)
    expect(peer.listenerCount('open')).toBe(1)
  })

  test('engine.io: frames that were made before', async () => {
    const { client, peer } = await pair()
    const { _sender: sender } = peer as unknown as { _sender: { sendFrame(list: unknown[], done: () => void): void } }
    const sent = new Promise<void>((resolve) => sender.sendFrame([Buffer.from([0x81, 2]), 'hi'], resolve))
    expect(String((await once(client, 'message'))[0])).toBe('hi')
    await sent
    expect(isWebSocketParked(peer)).toBe(true)
  })
})

describe('servers', () => {
  test('noServer, several with a path on one HTTP server, clientTracking off', async () => {
    const httpServer = http.createServer((_request, response) => response.end('http'))
    const url = await listening(httpServer)
    const [a, b] = ['a', 'b'].map(() =>
      parkWebSockets(new WebSocketServer({ noServer: true, clientTracking: false }), { idle: '1h' })
    ) as [WebSocketServer, WebSocketServer]
    httpServer.on('upgrade', (request, socket, head) => {
      const server = request.url === '/a' ? a : b
      server.handleUpgrade(request, socket, head, (webSocket) => server.emit('connection', webSocket, request))
    })
    const first = await connect(a, `${url}/a`)
    const second = await connect(b, `${url}/b`)
    for (const { client, peer } of [first, second]) {
      await parked(peer)
      client.send('x')
      await once(peer, 'message')
      client.close()
      await once(peer, 'close')
    }
    expect(await (await fetch(url.replace('ws', 'http'))).text()).toBe('http')
  })

  test('port; close() waits for the connections', async () => {
    const server = parkWebSockets(new WebSocketServer({ port: 0, host: '127.0.0.1' }), { idle: '1h' })
    await once(server, 'listening')
    const { client, peer } = await connect(server, `ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
    await parked(peer)
    let closed = false
    server.close(() => {
      closed = true
    })
    await turn()
    expect(closed).toBe(false)
    client.close()
    await once(server, 'close')
  })

  test('with park(): one table of connections', async () => {
    const httpServer = park(http.createServer())
    const url = await listening(httpServer)
    const server = parkWebSockets(new WebSocketServer({ server: httpServer }), { idle: '1h' })
    const { client, peer } = await connect(server, url)
    await parked(peer)
    expect(httpServer.stats()).toMatchObject({ parked: 1, awake: 0 })
    client.close()
    await once(peer, 'close')
    expect(httpServer.stats()).toMatchObject({ parked: 0, awake: 0, closed: { peer: 1 } })
  })

  test('idle: parked without being asked', async () => {
    const httpServer = http.createServer()
    const url = await listening(httpServer)
    const server = new (parkedWebSocketServer(WebSocketServer, { idle: 1 }))({ server: httpServer })
    const { peer } = await connect(server, url)
    while (!isWebSocketParked(peer)) await turn()
    expect(peer).toBeInstanceOf(WebSocket)
    expect(server).toBeInstanceOf(WebSocketServer)
    expect([peer.constructor.name, peer.protocol, peer.extensions]).toEqual(['WebSocket', '', ''])
  })

  test('a class of the application', async () => {
    class Mine extends WebSocket {
      name = 'mine'
    }
    const { peer } = await pair({ WebSocket: Mine } as ServerOptions)
    expect([peer instanceof Mine, (peer as unknown as Mine).name]).toEqual([true, 'mine'])
  })

  test('arguments', () => {
    expect(() => parkWebSockets(new EventEmitter() as never)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE', message: expect.stringContaining('WebSocketServer') })
    )
    const server = new WebSocketServer({ noServer: true })
    for (const options of [{ idle: 0 }, { idle: '5' }, { deflate: 1 }, null]) {
      expect(() => parkWebSockets(server, options as never)).toThrow(
        expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' })
      )
    }
    expect(parkWebSockets(server)).toBe(server)
    expect(() => parkWebSockets(server)).toThrow('parked already')
    expect(isWebSocketParked(new EventEmitter())).toBe(false)
  })
})

describe('permessage-deflate', () => {
  const none = { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 10 }
  const text = 'the same words, the same words'

  test('without context takeover: messages are inflated and deflated while the connection is parked', async () => {
    const { client, peer } = await pair({ perMessageDeflate: none }, { perMessageDeflate: none })
    expect(peer.extensions).toBe('permessage-deflate')
    for (const data of [text, 'short', '', Buffer.from(text)]) {
      client.send(data)
      const [received, binary] = await once(peer, 'message')
      expect([String(received), binary]).toEqual([String(data), typeof data !== 'string'])
      peer.send(data)
      expect(String((await once(client, 'message'))[0])).toBe(String(data))
    }
    expect(isWebSocketParked(peer)).toBe(true)
    const long = Buffer.alloc(1_000_000, text)
    peer.send(long)
    expect(long.equals((await once(client, 'message'))[0])).toBe(true)
    await parked(peer)
    client.send(long)
    expect(long.equals((await once(peer, 'message'))[0])).toBe(true)
    await parked(peer)
  })

  test('with context takeover of the client, it stays awake after its first compressed message', async () => {
    const { client, peer } = await pair(
      { perMessageDeflate: { threshold: 10 } },
      { perMessageDeflate: { threshold: 10 } }
    )
    for (const data of [text, `${text}.`, text]) {
      client.send(data)
      expect(String((await once(peer, 'message'))[0])).toBe(data)
      peer.send(data)
      expect(String((await once(client, 'message'))[0])).toBe(data)
    }
    await turn()
    expect([isWebSocketParked(peer), parkWebSocket(peer)]).toEqual([false, false])
  })

  test('with context takeover of the server only, and its window', async () => {
    const options = { clientNoContextTakeover: true, serverMaxWindowBits: 9, threshold: 10 }
    const { client, peer } = await pair({ perMessageDeflate: options }, { perMessageDeflate: { threshold: 10 } })
    for (let i = 0; i < 4; i++) {
      peer.send(`${text} ${i}`)
      expect(String((await once(client, 'message'))[0])).toBe(`${text} ${i}`)
      if (i === 1) void socketOf(peer)
      if (i === 2) await parked(peer)
    }
  })

  test('deflate: true negotiates it', async () => {
    const httpServer = http.createServer()
    const url = await listening(httpServer)
    const server = new WebSocketServer({ server: httpServer, perMessageDeflate: { threshold: 10 } })
    parkWebSockets(server, { idle: '1h', deflate: true })
    dispose(server)
    const { client, peer } = await connect(server, url)
    await parked(peer)
    client.send(text)
    expect(String((await once(peer, 'message'))[0])).toBe(text)
    expect(isWebSocketParked(peer)).toBe(true)
  })

  test('a message that inflates to more than maxPayload, or not at all', async () => {
    const options = { perMessageDeflate: none, maxPayload: 100 }
    for (const [send, closeCode] of [
      [(client: WebSocket) => client.send('x'.repeat(10_000)), 1009],
      [(client: WebSocket) => socketOf(client).write(Buffer.from([0xc1, 0x81, 0, 0, 0, 0, 0xff])), 1007]
    ] as const) {
      const { client, peer } = await pair(options, { perMessageDeflate: none })
      const error = event(peer, 'error')
      send(client)
      expect((await error)[0]).toBeInstanceOf(Error)
      expect((await once(client, 'close'))[0]).toBe(closeCode)
    }
  })
})

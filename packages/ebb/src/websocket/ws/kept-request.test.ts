/** What an application sees of a request that it keeps, and of its socket, while the connection is parked. */
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo, Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { isWebSocketParked, parkWebSocket, parkWebSockets } from './park-web-sockets.js'

const ends: (() => unknown)[] = []
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end()
})

async function serve(isParked = true): Promise<{ server: WebSocketServer; port: number }> {
  const httpServer = http.createServer().listen(0, '127.0.0.1')
  const server = new WebSocketServer({ server: httpServer })
  if (isParked) parkWebSockets(server, { idle: '1h' })
  await once(httpServer, 'listening')
  ends.push(() => {
    for (const client of server.clients) client.terminate()
    httpServer.close()
  })
  return { server, port: (httpServer.address() as AddressInfo).port }
}

/** Connects a client and parks its connection. @returns its first socket, which has emitted `close` */
async function detached(server: WebSocketServer, port: number): Promise<{ socket: Socket; peer: WebSocket }> {
  const client = new WebSocket(`ws://127.0.0.1:${port}`)
  ends.push(() => client.terminate())
  const [[peer, { socket }]] = await Promise.all([
    once(server, 'connection') as Promise<[WebSocket, http.IncomingMessage]>,
    once(client, 'open')
  ])
  while (!parkWebSocket(peer)) await turn()
  // libuv closes handles after the immediates of a turn.
  for (let turns = 0; turns < 2; turns++) await turn()
  expect(statesOf(socket).r.closeEmitted).toBe(true)
  return { socket, peer }
}

const statesOf = (socket: Socket) => {
  const { _readableState: r, _writableState: w } = socket as unknown as Record<string, { closeEmitted: boolean }>
  return { r: r as { closeEmitted: boolean }, w }
}

/** Everything that a socket tells about itself. */
function told(socket: Socket): Record<string, unknown> {
  const names = new Set<string>()
  for (let from: object = socket; from !== Object.prototype; from = Object.getPrototypeOf(from)) {
    for (const name of Object.getOwnPropertyNames(from)) {
      if (Object.getOwnPropertyDescriptor(from, name)?.get !== undefined) names.add(name)
    }
  }
  const values = [...names].map((name) => [name, (socket as unknown as Record<string, unknown>)[name]])
  return { ...Object.fromEntries(values), isPaused: socket.isPaused(), events: socket.eventNames() }
}

describe('the socket of a kept request', () => {
  test('tells what a destroyed socket of plain Node tells', async () => {
    const plain = await serve(false)
    const client = new WebSocket(`ws://127.0.0.1:${plain.port}`)
    client.on('error', () => {})
    const [[peer, { socket: other }]] = await Promise.all([
      once(plain.server, 'connection') as Promise<[WebSocket, http.IncomingMessage]>,
      once(client, 'open')
    ])
    const ours = await serve()
    const { socket } = await detached(ours.server, ours.port)
    const address = other.remoteAddress
    other.destroy()
    await once(peer, 'close')
    expect(socket).toBeInstanceOf(Socket)
    expect(socket.constructor).toBe(Socket)
    const ignored = ['remotePort', 'bytesRead', 'bytesWritten', '_bytesDispatched', 'events']
    const of = (each: Socket) => Object.entries(told(each)).filter(([name]) => !ignored.includes(name))
    // The streams of a parked connection end without an event, so that nobody takes it for an error.
    const differ = ['readableEnded', 'writableEnded', 'readableAborted', 'writableAborted', 'readableDidRead']
    const same = (entries: [string, unknown][]) =>
      Object.fromEntries(entries.filter(([name]) => !differ.includes(name)))
    expect(same(of(socket))).toEqual({ ...same(of(other)), remoteAddress: address, remoteFamily: 'IPv4' })
    expect([socket.destroyed, socket.readable, socket.writable]).toEqual([true, false, false])
  })

  test('shares the states of its streams with others, until something changes them', async () => {
    const { server, port } = await serve()
    // A server changes its first socket, which it keeps itself.
    await detached(server, port)
    const [a, b, c] = [await detached(server, port), await detached(server, port), await detached(server, port)]
    expect(statesOf(a.socket).r).toBe(statesOf(b.socket).r)
    expect(statesOf(a.socket).w).toBe(statesOf(b.socket).w)
    const before = told(b.socket)
    told(a.socket)
    expect(statesOf(a.socket).r).toBe(statesOf(b.socket).r)

    a.socket.setDefaultEncoding('latin1')
    a.socket.pause()
    a.socket.cork()
    a.socket.pipe(new PassThrough())
    a.socket.on('readable', () => {})
    a.socket.read()
    a.socket.setMaxListeners(5)
    c.socket.resume()
    c.socket.on('data', () => {})
    await turn()
    expect(c.socket.readableFlowing).toBe(true)
    expect(a.socket.writableCorked).toBe(1)
    expect(a.socket.listenerCount('readable')).toBe(1)
    expect(statesOf(a.socket).r).not.toBe(statesOf(b.socket).r)
    expect(told(b.socket)).toEqual(before)
    // The next one shares them again, unchanged.
    const d = await detached(server, port)
    expect(statesOf(d.socket).r).toBe(statesOf(b.socket).r)
    expect([isWebSocketParked(a.peer), isWebSocketParked(b.peer)]).toEqual([true, true])
  })

  test('has the listeners that it had, takes others, and emits', async () => {
    const { server, port } = await serve()
    const names: (string | symbol)[][] = []
    server.on('connection', (_, { socket }) => {
      socket.on('error', noop).once('own', noop)
      names.push(socket.eventNames())
    })
    const { socket } = await detached(server, port)
    expect(socket.listeners('error')).toEqual([noop])
    expect(socket.listenerCount('own')).toBe(1)
    expect(names[0]).toEqual(expect.arrayContaining(socket.eventNames()))
    const got: unknown[] = []
    socket.once('x', (value) => got.push(value))
    socket.prependListener('y', (value) => got.push(value))
    expect([socket.emit('x', 1), socket.emit('x', 2), socket.emit('y', 3), socket.emit('own')]).toEqual([
      true,
      false,
      true,
      true
    ])
    socket.removeAllListeners('y')
    expect(socket.emit('y', 4)).toBe(false)
    expect(got).toEqual([1, 3])
    expect(() => socket.emit('error', new Error('told'))).not.toThrow()
  })

  test('writes to the connection, and closes it', async () => {
    const { server, port } = await serve()
    const { socket, peer } = await detached(server, port)
    // A text frame of one byte.
    socket.write(Buffer.from([0x81, 1, 0x61]))
    socket.write = ((): boolean => false) as typeof socket.write
    expect(isWebSocketParked(peer)).toBe(true)
    const closed = once(peer, 'close')
    socket.destroy()
    expect((await closed)[0]).toBe(1006)
  })
})

const noop = () => {}

/** The headers of the request that a server sees. */
async function headersOf(isParked: boolean, lines: string[]) {
  const { server, port } = await serve(isParked)
  const socket = net.connect(port, '127.0.0.1')
  ends.push(() => socket.destroy())
  const connected = once(server, 'connection') as Promise<[WebSocket, http.IncomingMessage]>
  const handshake = ['Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-VERSION: 13']
  const upgrade = ['Connection: Upgrade', 'UPGRADE: websocket', 'Host: a']
  socket.write(['GET / HTTP/1.1', ...upgrade, ...handshake, ...lines, '\r\n'].join('\r\n'), 'latin1')
  const [, request] = await connected
  return { headers: request.headers, headersDistinct: distinctOf(request), rawHeaders: request.rawHeaders }
}

/** Returns `headersDistinct`, or the error with which Node 20.19 fails for a header such as `__proto__`. */
function distinctOf(request: http.IncomingMessage): unknown {
  try {
    return request.headersDistinct
  } catch (error) {
    return error
  }
}

test('the headers of a request are those of plain ws', async () => {
  const many = Array.from({ length: 20 }, (_, i) => `X-${i}: ${i}`)
  for (const lines of [
    ['User-Agent: a', 'Cookie: b=1', 'cookie: c=2', 'Set-Cookie: d=3', 'Set-Cookie: e=4', 'Accept: a', 'Accept: b'],
    [
      'user-agent: a',
      'Origin: http://a',
      'ORIGIN: http://b',
      `Accept: ${'long'.repeat(1000)}`,
      'Accept-Language: \xe9'
    ],
    ['__proto__: a', 'constructor: b', 'Pragma:', 'Host: b', ...many]
  ]) {
    expect(await headersOf(true, lines)).toEqual(await headersOf(false, lines))
    expect(await headersOf(true, lines)).toEqual(await headersOf(false, lines))
  }
})

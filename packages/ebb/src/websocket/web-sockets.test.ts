import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { park } from '../park/park.js'
import { parkingOf } from '../park/parking-of.js'
import { AF_INET } from '../sys/constants.js'
import { SocketAddress } from '../sys/sockaddr.js'
import { createSocket, shutdownWrite, startConnect } from '../sys/socket.js'
import { peek, peeked, receiveAndDrop, sendBytes } from '../sys/transfer.js'
import { BINARY, frameOf, PING, TEXT } from './frames.js'
import { webSocketsOf } from './of-server.js'
import { prepareFrame } from './sending.js'
import {
  Client,
  close,
  closeFrame,
  masked,
  recorder,
  type Server,
  serve as start,
  text,
  textFrame
} from './testing/server.js'

const servers: Server[] = []

async function serve(...args: Parameters<typeof start>): Promise<Server> {
  const server = await start(...args)
  servers.push(server)
  return server
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})

test('messages of a parked connection: received and sent', async () => {
  const { connect, core, handlers } = await serve()
  const client = await connect()
  expect(core().isParked(client.row)).toBe(true)
  client.send('one', 'two', masked(0x82, 'three'))
  await handlers.seen('binary')
  expect(handlers.events).toEqual([
    ['text', 'one'],
    ['text', 'two'],
    ['binary', 'three']
  ])
  expect(core().send(client.row, TEXT, 'four')).toBe(true)
  expect(core().send(client.row, BINARY, Buffer.alloc(70_000, 5))).toBe(true)
  expect(await client.take(6)).toEqual(textFrame('four'))
  expect((await client.take(70_010)).equals(frameOf(BINARY, Buffer.alloc(70_000, 5)))).toBe(true)
  expect(core().isParked(client.row)).toBe(true)
})

test('bytes that arrive with the request are read', async () => {
  const { server, port, handlers, close: end } = await start()
  const client = await Client.connect(port, Buffer.concat([text('early'), text('cut').subarray(0, 4)]))
  client.send(text('cut').subarray(4))
  expect(await handlers.seen('text', 2)).toEqual([
    ['text', 'early'],
    ['text', 'cut']
  ])
  client.socket.destroy()
  await handlers.seen('closed')
  expect(server.listening).toBe(true)
  await end()
})

test('pings are answered and pongs noted without a wake', async () => {
  const { connect, core, handlers } = await serve()
  const client = await connect()
  client.send(masked(0x89, 'beat'))
  expect(await client.take(6)).toEqual(frameOf(10, Buffer.from('beat')))
  core().send(client.row, PING, 'alive')
  expect(await client.take(7)).toEqual(frameOf(PING, Buffer.from('alive')))
  client.send(masked(0x8a, 'alive'))
  await handlers.seen('pong')
  expect(handlers.events).toEqual([
    ['ping', 'beat'],
    ['pong', 'alive']
  ])
})

test('a connection of a parked server keeps its row and its counters', async () => {
  const server = park(http.createServer())
  const { connect, core, handlers } = await serve({}, server)
  const client = await connect()
  expect(server.stats()).toMatchObject({ accepted: 1, parked: 1, awake: 0, woken: 1, parkedAgain: 1 })
  client.send('hello')
  await handlers.seen('text')
  expect(server.stats()).toMatchObject({ parked: 1, woken: 1 })
  // As in `http`, they are not idle connections.
  server.closeIdleConnections()
  expect(core().isParked(client.row)).toBe(true)
  client.socket.destroy()
  await handlers.seen('closed')
  expect(server.stats()).toMatchObject({ parked: 0, awake: 0, closed: { peer: 1 } })
})

test('a handshake that is done while the connection is parked', async () => {
  const server = park(http.createServer((_request, response) => response.end('http')))
  const upgrades = parkingOf(server)?.upgrades
  const core = webSocketsOf(server)
  if (upgrades === undefined || core === undefined) throw new Error('not supported')
  const handlers = recorder(() => core)
  const owner = core.register(handlers)
  upgrades.handshake = (row, fd) => {
    const head = peeked(peek(fd, 65_536)).toString('latin1')
    const end = head.indexOf('\r\n\r\n')
    if (end === -1 || !head.includes('Upgrade: websocket')) return false
    receiveAndDrop(fd, end + 4)
    sendBytes(fd, Buffer.from('HTTP/1.1 101 Switching Protocols\r\n\r\n'))
    core.adoptParked(row, owner)
    return true
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = await Client.connect(port, text('early'))
  expect(await handlers.seen('text')).toEqual([['text', 'early']])
  expect(server.stats()).toMatchObject({ accepted: 1, woken: 0, parked: 1 })
  expect(core.count(owner)).toBe(1)
  // Other requests reach the server as before.
  const response = await fetch(`http://127.0.0.1:${port}/`)
  expect(await response.text()).toBe('http')
  client.socket.destroy()
  await handlers.seen('closed')
  expect(core.count(owner)).toBe(0)
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
})

test('a bare descriptor becomes a connection, which can be woken', async () => {
  const peers = net.createServer().listen(0, '127.0.0.1')
  await once(peers, 'listening')
  const server = http.createServer()
  const core = webSocketsOf(server)
  if (core === undefined) throw new Error('not supported')
  const handlers = recorder(() => core, { wakes: true, mayPark: () => false })
  const fd = createSocket(AF_INET)
  startConnect(fd, new SocketAddress({ host: '127.0.0.1', port: (peers.address() as AddressInfo).port }))
  const [socket] = (await once(peers, 'connection')) as [Socket]
  const client = new Client(socket)
  const row = core.adoptDescriptor(fd, core.register(handlers))
  client.send('one', masked(0x01, 'frag'))
  await handlers.seen('wake')
  expect(handlers.events[0]).toEqual(['text', 'one'])
  expect(core.isParked(row)).toBe(false)
  socket.destroy()
  expect(await handlers.seen('closed')).toEqual([['closed', 1006, '', 'socket']])
  peers.close()
})

test('fragments and bytes one at a time become one message', async () => {
  const { connect, handlers } = await serve()
  const client = await connect()
  client.socket.setNoDelay()
  const bytes = Buffer.concat([
    masked(0x01, 'frag'),
    masked(0x89, 'between'),
    masked(0x00, ''),
    masked(0x80, 'ment'),
    masked(0x82, Buffer.alloc(300, 65))
  ])
  for (const byte of bytes) {
    await new Promise((resolve) => client.socket.write(Buffer.from([byte]), resolve))
  }
  await handlers.seen('binary')
  expect(handlers.events).toEqual([
    ['ping', 'between'],
    ['text', 'fragment'],
    ['binary', 'A'.repeat(300)]
  ])
})

test('messages of 10 MB in both directions', async () => {
  let echoed: Buffer | undefined
  const { connect, core, handlers } = await serve({
    onMessage(row, bytes, begin, end) {
      echoed = Buffer.from(bytes.subarray(begin, end))
      core().send(row, BINARY, echoed)
    }
  })
  const client = await connect()
  const payload = Buffer.alloc(10_000_000)
  for (let i = 0; i < payload.length; i += 997) payload[i] = i
  client.send(masked(0x82, payload))
  const received = await client.take(payload.length + 10)
  expect(echoed?.equals(payload)).toBe(true)
  expect(received.subarray(10).equals(payload)).toBe(true)
  await handlers.seen('drain')
  expect(core().queued(client.row)).toBe(0)
})

test('faults get their close code, and the connection closes', async () => {
  const { connect, handlers } = await serve({ rules: { masked: true, allowRsv1: false, maxPayload: 1000 } })
  const cases: [Buffer, number][] = [
    [frameOf(TEXT, Buffer.from('no mask')), 1002],
    [masked(0xc1, 'rsv1'), 1002],
    [masked(0x83, 'opcode'), 1002],
    [masked(0x81, Buffer.from([0xff])), 1007],
    [masked(0x81, Buffer.alloc(1001)), 1009],
    [Buffer.concat([masked(0x02, Buffer.alloc(600)), masked(0x80, Buffer.alloc(401))]), 1009],
    [close(1005), 1002],
    [masked(0x88, Buffer.from([3, 232, 0xff])), 1007]
  ]
  for (const [i, [frame, code]] of cases.entries()) {
    const client = await connect()
    client.send(frame, 'is dropped')
    await client.end()
    expect(client.received).toEqual(closeFrame(code))
    client.socket.end()
    expect((await handlers.seen('closed', i + 1)).at(-1)).toEqual(['closed', 1006, '', 'peer'])
    expect((await handlers.seen('fault', i + 1)).at(-1)?.[1]).toBe(code)
  }
  expect(handlers.events.some(([name]) => name === 'text' || name === 'binary')).toBe(false)
})

test('the closing handshake, begun by the client', async () => {
  const { connect, handlers } = await serve()
  const client = await connect()
  client.send(close(4001, 'bye'), 'is dropped')
  await client.end()
  expect(client.received).toEqual(closeFrame(4001, 'bye'))
  client.socket.end()
  await handlers.seen('closed')
  expect(handlers.events).toEqual([
    ['closing', 4001, 'bye'],
    ['closed', 4001, 'bye', 'peer']
  ])
})

test('the closing handshake, begun by the server: messages arrive until the peer answers', async () => {
  const { connect, core, handlers } = await serve()
  const client = await connect()
  expect(core().close(client.row, 1000, Buffer.from('done'))).toBe(true)
  expect(core().close(client.row, 1000)).toBe(false)
  const refused = new Promise((resolve) => core().send(client.row, TEXT, 'late', resolve))
  expect(await refused).toMatchObject({ code: 'ERR_STREAM_DESTROYED' })
  expect(await client.take(8)).toEqual(closeFrame(1000, 'done'))
  client.send('still', close(1000))
  await client.end()
  client.socket.end()
  await handlers.seen('closed')
  expect(handlers.events).toEqual([
    ['text', 'still'],
    ['closing', 1000, ''],
    ['closed', 1000, '', 'peer']
  ])
})

test('a peer that does not answer the close frame is closed by the timer', async () => {
  const { connect, core, handlers } = await serve({ closeTimeout: 10 })
  const [silent, half] = [await connect(), await connect()]
  core().close(silent.row, 1000)
  half.send(close(1000))
  expect(await handlers.seen('closed', 2)).toEqual(
    expect.arrayContaining([
      ['closed', 1006, '', 'timeout'],
      ['closed', 1000, '', 'timeout']
    ])
  )
})

test('FIN and RST without a close frame are 1006', async () => {
  const { connect, handlers } = await serve()
  const [fin, rst] = [await connect(), await connect()]
  fin.send('last')
  fin.socket.end()
  expect(await handlers.seen('closed')).toEqual([['closed', 1006, '', 'peer']])
  expect(handlers.events[0]).toEqual(['text', 'last'])
  rst.socket.resetAndDestroy()
  expect((await handlers.seen('closed', 2))[1]).toEqual(['closed', 1006, '', 'reset'])
})

test('a slow reader: bytes are kept in order, with callbacks', async () => {
  const { connect, core, handlers } = await serve()
  const client = await connect()
  client.socket.pause()
  const called: number[] = []
  const chunk = Buffer.alloc(100_000, 1)
  let count = 0
  while (core().queued(client.row) < 1_000_000) {
    const number = count++
    chunk.fill(number)
    core().send(client.row, BINARY, chunk, (error) => called.push(error ? -1 : number))
  }
  expect(core().isParked(client.row)).toBe(true)
  core().send(client.row, TEXT, 'last', () => called.push(count))
  client.send(masked(0x89, 'a'), masked(0x89, 'b'))
  await handlers.seen('ping', 2)
  client.socket.resume()
  for (let number = 0; number < count; number++) {
    const frame = await client.take(chunk.length + 10)
    expect(frame.equals(frameOf(BINARY, chunk.fill(number)))).toBe(true)
  }
  expect(await client.take(6)).toEqual(textFrame('last'))
  // Only the latest ping that waited is answered.
  expect(await client.take(3)).toEqual(frameOf(10, Buffer.from('b')))
  await handlers.seen('drain')
  expect(called).toEqual(Array.from({ length: count + 1 }, (_, i) => i))
  expect(core().queued(client.row)).toBe(0)
})

test('a keeper is told before a part of a frame is sent, or a close frame, and not of small frames', async () => {
  const server = park(http.createServer())
  const { connect, core, handlers } = await serve({}, server)
  const client = await connect()
  const connections = parkingOf(server)?.upgrades.connections
  if (connections === undefined) throw new Error('not supported')
  client.socket.pause()
  const told: [string, number][] = []
  // What the kernel has got of the connection by then, as its peer sees it.
  let sent = 0
  connections.onLeaving = () => told.push(['leaving', sent])
  connections.onChange = () => told.push(['changed', sent])
  const send = (length: number): void => {
    core().send(client.row, BINARY, Buffer.alloc(length))
    sent += length
  }
  send(10)
  send(100)
  expect(told).toEqual([])
  const most = 3_000_000
  while (core().queued(client.row) === 0) send(most)
  expect(told[0]).toEqual(['leaving', 110])
  // Nobody has it while something is queued.
  expect(told.at(-1)?.[0]).toBe('leaving')
  const before = told.length
  send(10)
  expect(told.length).toBe(before)
  client.socket.resume()
  await handlers.seen('drain')
  told.length = 0
  core().close(client.row, 1000)
  expect(told).toEqual([['leaving', sent]])
})

test('a slow reader that goes away: callbacks get an error', async () => {
  const { connect, core, handlers } = await serve()
  const client = await connect()
  client.socket.pause()
  const errors: unknown[] = []
  const chunk = Buffer.alloc(500_000)
  while (core().queued(client.row) === 0) core().send(client.row, BINARY, chunk)
  core().send(client.row, TEXT, 'never', (error) => errors.push(error))
  client.socket.resetAndDestroy()
  await handlers.seen('closed')
  expect(errors).toMatchObject([{ code: 'ECONNRESET' }])
})

test('a pong and a close frame wait behind the bytes for a slow reader', async () => {
  const { connect, core, handlers } = await serve()
  const client = await connect()
  client.socket.pause()
  const chunk = Buffer.alloc(500_000)
  let count = 0
  for (; core().queued(client.row) === 0; count++) core().send(client.row, BINARY, chunk)
  client.send(masked(0x89, 'a'), close(1000))
  await handlers.seen('closing')
  client.socket.resume()
  await client.end()
  expect(client.received.length).toBe(count * (chunk.length + 10) + 7)
  expect(client.received.subarray(-7)).toEqual(Buffer.from([0x8a, 1, 97, ...closeFrame(1000)]))
  client.socket.end()
  expect(await handlers.seen('closed')).toEqual([['closed', 1000, '', 'peer']])
})

test('connections of several servers are sent the same texts in turn', async () => {
  const [one, other] = [await serve(), await serve()]
  const [first, second] = [await one.connect(), await other.connect()]
  one.core().send(first.row, TEXT, 'mine')
  other.core().send(second.row, TEXT, 'yours')
  one.core().send(first.row, TEXT, 'mine')
  other.core().send(second.row, BINARY, Buffer.from('yours'))
  other.core().send(second.row, TEXT, 'yours')
  expect(await first.take(12)).toEqual(Buffer.concat([textFrame('mine'), textFrame('mine')]))
  const bytes = [textFrame('yours'), frameOf(BINARY, Buffer.from('yours')), textFrame('yours')]
  expect(await second.take(21)).toEqual(Buffer.concat(bytes))
})

test('a broadcast reaches the connections of its owner', async () => {
  const { connect, core, rows } = await serve()
  const clients = [await connect(), await connect(), await connect()]
  const frame = prepareFrame(TEXT, 'to all')
  core().close(rows[1] as number, 1000)
  expect(await core().broadcast(frame, 0)).toBe(2)
  expect(await clients[0]?.take(8)).toEqual(textFrame('to all'))
  expect(await clients[2]?.take(8)).toEqual(textFrame('to all'))
  expect(await core().broadcast(frame, 0, [core().id(rows[0] as number), 12])).toBe(1)
})

test('with `wakes`, what cannot be done asleep wakes the connection, with all unread bytes', async () => {
  const { connect, core, handlers } = await serve({
    wakes: true,
    idle: 1,
    // Once it was woken, a connection stays awake.
    mayPark: (row) => !handlers.events.some((event) => event[0] === 'woken' && event[1] === core().id(row))
  })
  const cases: [string, Buffer][] = [
    ['partial', text('cut off').subarray(0, 5)],
    ['fragment', masked(0x01, 'frag')],
    ['invalid', masked(0x81, Buffer.from([0xff, 65]))],
    ['invalid', masked(0x83, 'opcode')],
    ['invalid', close(1005)]
  ]
  for (const [i, [reason, frame]] of cases.entries()) {
    const client = await connect()
    await handlers.seen('parked', i + 1)
    client.send('before', Buffer.concat([frame, Buffer.from(reason === 'partial' ? '' : 'after')]))
    const wake = (await handlers.seen('wake', i + 1)).at(-1)
    const rest = Buffer.concat([frame, Buffer.from(reason === 'partial' ? '' : 'after')])
    expect(wake).toEqual(['wake', reason, rest.toString('latin1')])
    expect((await handlers.seen('text', i + 1)).at(-1)).toEqual(['text', 'before'])
    expect(core().isParked(client.row)).toBe(false)
    client.send(Buffer.from('raw'))
    expect((await handlers.seen('data', i + 1)).at(-1)).toEqual(['data', 'raw'])
    client.socket.destroy()
    await handlers.seen('closed', i + 1)
  }
})

test('a handler that wakes the connection gets what follows the message', async () => {
  let head: string | undefined
  const { connect, core, handlers } = await serve({
    wakes: true,
    idle: 1,
    onMessage(row) {
      head = core().wake(row)?.head.toString('latin1')
    }
  })
  const client = await connect()
  await handlers.seen('parked')
  client.send('one', 'two')
  await handlers.seen('parked', 2)
  expect(head).toBe(text('two').toString('latin1'))
})

test('bytes for a slow reader go to the new socket first', async () => {
  const { connect, core, handlers } = await serve({ wakes: true, idle: 1 })
  const client = await connect()
  await handlers.seen('parked')
  client.socket.pause()
  const chunk = Buffer.alloc(500_000, 7)
  let count = 0
  for (; core().queued(client.row) === 0; count++) core().send(client.row, BINARY, chunk)
  const done = new Promise((resolve) => core().send(client.row, TEXT, 'last', resolve))
  const woken = core().wake(client.row)?.socket
  woken?.on('end', () => woken.end()).resume()
  woken?.write('raw')
  client.socket.resume()
  for (let i = 0; i < count; i++)
    expect((await client.take(chunk.length + 10)).equals(frameOf(BINARY, chunk))).toBe(true)
  expect(await client.take(9)).toEqual(Buffer.concat([textFrame('last'), Buffer.from('raw')]))
  expect(await done).toBeFalsy()
})

test("others' listeners of 'close' are kept while a connection sleeps", async () => {
  const calls: string[] = []
  let first: Socket | undefined
  const { connect, core, handlers } = await serve({ wakes: true, idle: 1 }, undefined, (socket) => {
    first = socket
    // A ServerResponse has such a listener on its socket.
    socket.on('close', function (this: Socket) {
      calls.push(this instanceof net.Socket ? 'on' : 'without this')
    })
    socket.once('close', () => calls.push('once'))
  })
  const client = await connect()
  await handlers.seen('parked')
  const woken = core().wake(client.row)
  expect(woken?.socket.listenerCount('close')).toBe(2)
  await handlers.seen('parked', 2)
  expect(calls).toEqual([])
  client.socket.destroy()
  await handlers.seen('closed')
  await new Promise(setImmediate)
  expect(calls).toEqual(['on', 'once'])
  expect(first?.destroyed).toBe(true)
})

test('what a handler throws does not reach other messages or connections', async () => {
  const thrown: unknown[] = []
  const before = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', (error) => thrown.push(error.message))
  const got: string[] = []
  try {
    const { connect, handlers } = await serve({
      onMessage(_row, bytes, begin, end) {
        const message = bytes.toString('latin1', begin, end)
        got.push(message)
        if (message.startsWith('bad')) throw new Error(message)
      }
    })
    const [a, b] = [await connect(), await connect()]
    a.send('bad 1', 'good 1', masked(0x89, 'x'))
    b.send('bad 2', 'good 2', masked(0x89, 'x'))
    await handlers.seen('ping', 2)
    await new Promise(setImmediate)
    expect(got.sort()).toEqual(['bad 1', 'bad 2', 'good 1', 'good 2'])
    expect(thrown.sort()).toEqual(['bad 1', 'bad 2'])
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of before) process.on('uncaughtException', listener)
  }
})

test('a handler may close its connection, or another one, in the middle of a batch', async () => {
  const { connect, core, handlers } = await serve({
    onMessage(row, bytes, begin, end) {
      handlers.events.push(['text', bytes.toString('latin1', begin, end)])
      core().terminate(row)
    }
  })
  const client = await connect()
  client.send('one', 'two', 'three')
  expect(await handlers.seen('closed')).toEqual([['closed', 1006, '', 'server']])
  expect(handlers.events.filter(([name]) => name === 'text')).toEqual([['text', 'one']])
})

test('shutdown() of the server closes with code 1001', async () => {
  const server = park(http.createServer())
  const { connect, handlers } = await serve({}, server)
  const client = await connect()
  const report = server.shutdown({ grace: '1m' })
  expect(await client.take(4)).toEqual(closeFrame(1001))
  client.send('late', close(1001))
  await client.end()
  client.socket.end()
  expect(await report).toMatchObject({ finished: 1, cut: 0 })
  expect(handlers.events).toEqual([
    ['text', 'late'],
    ['closing', 1001, ''],
    ['closed', 1001, '', 'peer']
  ])
})

test('a connection to which the kernel refuses to send is closed, even if epoll has nothing to report', async () => {
  const { connect, core, handlers, server } = await serve()
  const client = await connect()
  shutdownWrite(parkingOf(server)?.upgrades.connections.table.fd(client.row) ?? -1)
  const error = await new Promise((resolve) => core().send(client.row, TEXT, 'never', resolve))
  expect(error).toMatchObject({ code: 'EPIPE' })
  expect(core().isOpen(client.row)).toBe(false)
  expect(await handlers.seen('closed')).toEqual([['closed', 1006, '', 'timeout']])
})

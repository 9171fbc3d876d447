/** Parked TCP servers: when a connection is parked, what wakes it, and what the application sees of it. */
import { closeSync, openSync } from 'node:fs'
import { createServer as createPlain, type ServerOpts, Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { type ParkOptions, park } from 'ebb'
import { type Connection, createServer, type ParkServer } from 'ebb/net'
import { describe, expect, test } from 'vitest'
import {
  CodedReader,
  client,
  clients,
  closed,
  coded,
  descriptorsReturn,
  eventually,
  expectSum,
  getConnections,
  listening,
  outcome,
  stats
} from '../support/net-parity.js'
import { gone, quiet, readExactly } from '../support/sockets.js'

descriptorsReturn()

/** Short, so that the tests are fast. */
const IDLE = 10

interface Wake {
  socket: Socket
  connection: Connection
}

/** An echo server that records the arguments of its listener, in order. */
async function echo(options: ServerOpts & ParkOptions = {}): Promise<{ server: ParkServer; woken: Wake[] }> {
  const woken: Wake[] = []
  const server = createServer({ idle: IDLE, ...options }, (socket, connection) => {
    woken.push({ socket, connection })
    socket.on('error', () => {})
    socket.on('data', (bytes) => socket.write(bytes))
  })
  return { server: await listening(server), woken }
}

async function expectEcho(socket: Socket, text = 'hello'): Promise<void> {
  socket.write(text)
  expect(`${await readExactly(socket, Buffer.byteLength(text))}`).toBe(text)
}

function last(woken: Wake[]): Wake {
  const wake = woken.at(-1)
  if (wake === undefined) throw new Error('nothing was ever woken')
  return wake
}

describe('until the first byte', () => {
  test('a connection is parked, and the listener is not called', async () => {
    const { server, woken } = await echo()
    await clients(server, 20)
    await stats(server, { accepted: 20, parked: 20, awake: 0, woken: 0 })
    await quiet()
    expect(woken).toEqual([])
    expect(await getConnections(server)).toBe(20)
    expectSum(server)
  })

  test('it wakes its connection, with all data that was sent', async () => {
    const { server, woken } = await echo({ idle: false })
    const [one] = await clients(server, 5)
    await stats(server, { parked: 5 })
    await expectEcho(one as Socket, 'x'.repeat(100_000))
    expect(woken).toHaveLength(1)
    const { socket, connection } = last(woken)
    expect(socket).toBeInstanceOf(Socket)
    expect(socket.remotePort).toBe(one?.localPort)
    expect(connection).toMatchObject({
      wakes: 1,
      parked: false,
      closed: false,
      keepAwake: false,
      attachment: undefined
    })
    expect(Number.isSafeInteger(connection.id)).toBe(true)
    expect(server.connection(socket)).toBe(connection)
    expect(server.stats()).toMatchObject({ parked: 4, awake: 1, accepted: 5, woken: 1, parkedAgain: 0 })
    expectSum(server)
  })

  test('a connection that closes without a byte is never reported', async () => {
    const { server, woken } = await echo()
    const seen: unknown[] = []
    server.on('disconnect', (connection) => seen.push(connection))
    const [fin, rst] = await clients(server, 2)
    await stats(server, { parked: 2 })
    fin?.end()
    rst?.resetAndDestroy()
    await stats(server, { parked: 0, awake: 0, closed: expect.objectContaining({ peer: 1, reset: 1 }) })
    await gone(fin?.resume() as Socket)
    await quiet()
    expect([woken, seen]).toEqual([[], []])
    expectSum(server)
  })

  test('first: server: a connection is awake at once, and parked when it is idle', async () => {
    const woken: Connection[] = []
    const server = await listening(
      createServer({ first: 'server', idle: IDLE }, (socket, connection) => {
        woken.push(connection)
        if (connection.wakes === 1) socket.write('220 hello\r\n')
        else socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    const socket = await client(server)
    expect(`${await readExactly(socket, 11)}`).toBe('220 hello\r\n')
    await stats(server, { parked: 1, awake: 0, woken: 1, parkedAgain: 1 })
    await expectEcho(socket)
    expect(woken.map(({ wakes }) => wakes)).toEqual([1, 2])
    expect(woken[1]?.id).toBe(woken[0]?.id)
  })

  test('first: server: a client that closes without a byte is reported', async () => {
    const causes: string[] = []
    const server = await listening(createServer({ first: 'server', idle: false }, (socket) => socket.resume()))
    server.on('disconnect', (_, cause) => causes.push(cause))
    const socket = await client(server)
    await stats(server, { awake: 1 })
    socket.end()
    await eventually(() => expect(causes).toEqual(['socket']))
  })
})

describe('after it has been idle', () => {
  test('it is parked again, and the next byte calls the listener with a new socket and the same id', async () => {
    const { server, woken } = await echo()
    const socket = await client(server)
    for (let wakes = 1; wakes <= 5; wakes++) {
      await expectEcho(socket, `message ${wakes}`)
      await stats(server, { parked: 1, awake: 0, woken: wakes, parkedAgain: wakes })
      expect(woken).toHaveLength(wakes)
      expect(await getConnections(server)).toBe(1)
    }
    expect(woken.map(({ connection }) => connection.wakes)).toEqual([1, 2, 3, 4, 5])
    expect(new Set(woken.map(({ connection }) => connection.id)).size).toBe(1)
    expect(new Set(woken.map((wake) => wake.socket)).size).toBe(5)
    expect(new Set(woken.map((wake) => wake.connection)).size).toBe(5)
    expectSum(server)
  })

  test('its socket emits close, but neither end nor error, and the client notices nothing', async () => {
    const events: string[] = []
    let parked: boolean | undefined
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        for (const event of ['end', 'finish', 'error', 'timeout', 'drain']) socket.on(event, () => events.push(event))
        socket.on('close', (hadError) => {
          events.push(`close ${hadError}, closed ${connection.closed}`)
          parked = connection.parked
        })
        socket.resume()
      })
    )
    const socket = await client(server)
    const seen: string[] = []
    for (const event of ['end', 'error', 'close']) socket.on(event, () => seen.push(event))
    socket.write('x')
    await stats(server, { parked: 1, parkedAgain: 1 })
    await quiet()
    expect(events).toEqual(['close false, closed false'])
    expect(parked).toBe(true)
    expect(seen).toEqual([])
  })

  test('bytes in either direction make it not idle', async () => {
    // The listener writes at intervals shorter than `idle`, and the peer sends nothing.
    let ticks = 0
    const server = await listening(
      createServer({ idle: 400 }, (socket) => {
        socket.resume()
        const timer = setInterval(() => {
          ticks++
          socket.write('.')
        }, 5)
        socket.on('close', () => clearInterval(timer))
      })
    )
    const socket = await client(server)
    socket.resume().write('x')
    await eventually(() => expect(ticks).toBeGreaterThan(300))
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1, parkedAgain: 0 })
  })

  test.each<[string, number | string | false]>([
    ['false', false],
    ['an hour', '1h']
  ])('idle: %s, it stays awake', async (_, idle) => {
    const { server, woken } = await echo({ idle })
    const socket = await client(server)
    await expectEcho(socket)
    await quiet()
    await expectEcho(socket)
    expect(woken).toHaveLength(1)
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1, parkedAgain: 0 })
  })

  test('park() of a net.Server without idle: connections stay awake', async () => {
    const server = await listening(park(createPlain((socket) => socket.pipe(socket))))
    const socket = await client(server)
    await stats(server, { parked: 1 })
    await expectEcho(socket)
    await quiet()
    await expectEcho(socket)
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1, woken: 1, parkedAgain: 0 })
  })

  test('park() of a net.Server with idle: the same as createServer() of ebb/net', async () => {
    const plain = createPlain()
    const server = park(plain, { idle: `${IDLE}ms` })
    expect(server).toBe(plain)
    expect(server.supported).toBe(true)
    const woken: [boolean, number, number][] = []
    server.on('connection', (socket: Socket, connection: Connection) => {
      woken.push([socket instanceof Socket, connection.id, connection.wakes])
      socket.on('data', (bytes) => socket.write(bytes))
    })
    await listening(server)
    const socket = await client(server)
    await expectEcho(socket)
    await stats(server, { parked: 1, parkedAgain: 1 })
    await expectEcho(socket)
    await stats(server, { parked: 1, parkedAgain: 2 })
    expect(woken).toEqual([
      [true, expect.any(Number), 1],
      [true, woken[0]?.[1], 2]
    ])
  })

  test.each(['soon', '-5s', '', -1, Number.NaN])('idle: %j is refused when the server is made', (idle) => {
    expect(() => createServer({ idle })).toThrow(expect.objectContaining({ code: expect.stringMatching(/^ERR_/) }))
    expect(() => park(createPlain(), { idle })).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^ERR_/) })
    )
  })
})

describe('the application decides', () => {
  test('keepAwake: the connection is not parked until it is reset', async () => {
    const { server, woken } = await echo()
    const socket = await client(server)
    socket.write('x')
    await eventually(() => expect(woken).toHaveLength(1))
    const { connection } = last(woken)
    connection.keepAwake = true
    expect(connection.keepAwake).toBe(true)
    for (let i = 0; i < 5; i++) await quiet()
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1 })
    connection.keepAwake = false
    await stats(server, { parked: 1, awake: 0 })
    // Only for that wake.
    socket.write('y')
    await eventually(() => expect(woken).toHaveLength(2))
    expect(last(woken).connection.keepAwake).toBe(false)
    await stats(server, { parked: 1, awake: 0, parkedAgain: 2 })
  })

  test('keepAwake: a reply that takes longer than idle is sent on the socket of its request', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        socket.on('data', () => {
          connection.keepAwake = true
          setTimeout(() => {
            expect(socket.destroyed).toBe(false)
            socket.write('reply')
            connection.keepAwake = false
          }, 10 * IDLE)
        })
      })
    )
    const socket = await client(server)
    for (let i = 0; i < 3; i++) {
      socket.write('ask')
      expect(`${await readExactly(socket, 5)}`).toBe('reply')
      await stats(server, { parked: 1, awake: 0 })
    }
  })

  test('pause(): a paused connection is not parked', async () => {
    const { server, woken } = await echo()
    const peer = await client(server)
    await expectEcho(peer)
    // Nothing is buffered, and nothing arrives.
    const { socket, connection } = last(woken)
    socket.pause()
    expect(connection.park()).toBe(false)
    for (let i = 0; i < 4; i++) await quiet()
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1, parkedAgain: 0 })
    socket.resume()
    await stats(server, { parked: 1, awake: 0 })
  })

  test('park(): parks at once, whatever idle is', async () => {
    const { server, woken } = await echo({ idle: false })
    const socket = await client(server)
    await expectEcho(socket)
    const { connection } = last(woken)
    expect(connection.park()).toBe(true)
    expect(connection).toMatchObject({ parked: true, closed: false })
    expect(server.stats()).toMatchObject({ parked: 1, awake: 0, parkedAgain: 1 })
    await quiet()
    expect(woken).toHaveLength(1)
    await expectEcho(socket)
    expect(last(woken).connection.wakes).toBe(2)
  })

  test('park() of a parked or closed connection changes nothing', async () => {
    const { server, woken } = await echo({ idle: false })
    const socket = await client(server)
    await expectEcho(socket)
    const { connection } = last(woken)
    connection.park()
    connection.park()
    expect(server.stats()).toMatchObject({ parked: 1, awake: 0, parkedAgain: 1 })
    await expectEcho(socket)
    // The handle of the previous wake has no socket any more.
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1 })
    socket.destroy()
    await stats(server, { awake: 0 })
    expect(connection.park()).toBe(false)
    expect(last(woken).connection.park()).toBe(false)
    expect(last(woken).connection).toMatchObject({ parked: false, closed: true })
  })

  test('park() with unread bytes: false, and the bytes are still there', async () => {
    const woken: Wake[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => void woken.push({ socket, connection }))
    )
    const peer = await client(server)
    peer.write('unread')
    await eventually(() => expect(woken).toHaveLength(1))
    const { socket, connection } = last(woken)
    // Into the socket's own buffer, which cannot be returned to the kernel.
    socket.on('readable', () => {})
    await eventually(() => expect(socket.readableLength).toBe(6))
    expect(connection.park()).toBe(false)
    for (let i = 0; i < 3; i++) await quiet()
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1, parkedAgain: 0 })
    expect(`${socket.read()}`).toBe('unread')
    await stats(server, { parked: 1, parkedAgain: 1 })
  })

  test('park() with unsent bytes: false, and the bytes arrive', async () => {
    const woken: Wake[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        socket.resume()
        woken.push({ socket, connection })
      })
    )
    const peer = await client(server)
    peer.write('x')
    await eventually(() => expect(woken).toHaveLength(1))
    const { socket, connection } = last(woken)
    let sent = 0
    while (socket.writableLength === 0 || sent < 1e6) {
      socket.write(coded(sent, 100_000))
      sent += 100_000
    }
    expect(connection.park()).toBe(false)
    const reader = new CodedReader()
    peer.on('data', (bytes) => reader.take(bytes))
    await eventually(() => expect(reader.position).toBe(sent))
    await stats(server, { parked: 1, parkedAgain: 1 })
  })

  test('park() within the listener, before the first byte is read: the byte is not lost', async () => {
    let calls = 0
    const server = await listening(
      createServer({ idle: false }, (socket, connection) => {
        if (++calls <= 3) connection.park()
        if (!connection.parked) socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    await expectEcho(await client(server), 'x'.repeat(50_000))
  })

  test('park() in a data handler, right after the reply: the reply arrives, and so does all later data', async () => {
    const server = await listening(
      createServer({ idle: false }, (socket, connection) => {
        socket.on('data', (bytes) => {
          socket.write(bytes)
          connection.park()
        })
      })
    )
    const socket = await client(server)
    const reader = new CodedReader()
    socket.on('data', (bytes) => reader.take(bytes))
    for (let round = 0; round < 300; round++) {
      socket.write(coded(round * 1000, 1000))
      if (round % 3 === 0) await eventually(() => expect(reader.position).toBe((round + 1) * 1000))
    }
    await eventually(() => expect(reader.position).toBe(300_000))
    expect(server.stats().parkedAgain).toBeGreaterThan(0)
    expectSum(server)
  })
})

describe('a listener that waits for the end of its socket, when the connection is parked', () => {
  // A pipeline() into a socket that closes always reports a premature close.
  const BROKEN = 'ERR_STREAM_PREMATURE_CLOSE'
  const listeners: [string, string, (socket: Socket) => Promise<void>][] = [
    [
      'for await',
      'over',
      async (socket) => {
        for await (const bytes of socket) socket.write(bytes)
      }
    ],
    [
      'finished()',
      'over',
      async (socket) => {
        socket.on('data', (bytes) => socket.write(bytes))
        await finished(socket)
      }
    ],
    ['pipeline()', BROKEN, (socket) => pipeline(socket, new PassThrough(), socket)]
  ]
  test.each(listeners)('%s: %s', async (_, told, listen) => {
    const results: string[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        listen(socket).then(
          () => results.push('over'),
          (error: NodeJS.ErrnoException) => results.push(`${error.code}`)
        )
      })
    )
    const peer = await client(server)
    for (let wakes = 1; wakes <= 3; wakes++) {
      await expectEcho(peer)
      await stats(server, { parked: 1, parkedAgain: wakes })
      await eventually(() => expect(results).toHaveLength(wakes))
    }
    expect(results).toEqual([told, told, told])
    // While it is awake, the FIN ends it.
    await expectEcho(peer)
    peer.end()
    await eventually(() => expect(results).toEqual([told, told, told, 'over']))
  })
})

describe('a method that the program has put on a socket itself', () => {
  test('emit() sees the close of each parked socket, also of the first one of the server', async () => {
    const seen: string[][] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        const events: string[] = []
        seen.push(events)
        const { emit } = socket
        socket.emit = (...args: [event: string, ...unknown[]]) => {
          events.push(args[0])
          return Reflect.apply(emit, socket, args)
        }
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    for (let parked = 1; parked <= 2; parked++) {
      await expectEcho(await client(server))
      await stats(server, { parked, awake: 0 })
    }
    await eventually(() => expect(seen.map((events) => events.at(-1))).toEqual(['close', 'close']))
  })
})

describe('a write to a detached socket', () => {
  test('is sent, and does not wake the connection', async () => {
    const { server, woken } = await echo()
    const socket = await client(server)
    await expectEcho(socket)
    await stats(server, { parked: 1, awake: 0 })
    const old = last(woken).socket
    const written = new Promise<unknown>((resolve) => old.write('late', (error) => resolve(error)))
    old.write(Buffer.from(' bytes'))
    old.write(' in order')
    expect(`${await readExactly(socket, 19)}`).toBe('late bytes in order')
    expect((await written) ?? undefined).toBeUndefined()
    expect(server.stats()).toMatchObject({ parked: 1, awake: 0, woken: 1 })
  })

  test('keeps its order with data that is sent in other ways', async () => {
    const { server, woken } = await echo({ idle: false })
    const socket = await client(server)
    await expectEcho(socket)
    const { socket: old, connection } = last(woken)
    connection.park()
    server.send(connection.id, '1')
    old.write('2')
    connection.send('3')
    old.write('4')
    expect(`${await readExactly(socket, 4)}`).toBe('1234')
    await expectEcho(socket)
    const { socket: fresh } = last(woken)
    expect(fresh).not.toBe(old)
    old.write('1')
    fresh.write('2')
    old.write('3')
    server.send(connection.id, '4')
    fresh.write('5')
    expect(`${await readExactly(socket, 5)}`).toBe('12345')
  })

  test('uses the encoding', async () => {
    const { server, woken } = await echo({ idle: false })
    const socket = await client(server)
    await expectEcho(socket)
    const { socket: old, connection } = last(woken)
    connection.park()
    old.write('c3a9', 'hex')
    old.write('w6k=', 'base64')
    old.write('é', 'latin1')
    old.write('é')
    expect((await readExactly(socket, 7)).toString('hex')).toBe('c3a9c3a9e9c3a9')
  })

  test('end(): sends the bytes and the FIN; later data of the client still arrives', async () => {
    const heard: string[] = []
    const woken: Wake[] = []
    const causes: string[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        woken.push({ socket, connection })
        socket.on('data', (bytes) => heard.push(`${bytes}`))
      })
    )
    server.on('disconnect', (_, cause) => causes.push(cause))
    const peer = await client(server)
    peer.write('hello')
    await stats(server, { parked: 1, parkedAgain: 1 })
    expect(last(woken).socket.end('good bye')).toBe(last(woken).socket)
    const received: string[] = []
    peer.on('data', (bytes) => received.push(`${bytes}`))
    await new Promise((resolve) => peer.once('end', resolve))
    expect(received.join('')).toBe('good bye')
    expect(server.stats()).toMatchObject({ parked: 1, awake: 0, woken: 1 })
    // The connection cannot be written to any more.
    expect(server.send(last(woken).connection.id, 'x')).toBe(false)
    peer.write('but')
    await eventually(() => expect(heard).toEqual(['hello', 'but']))
    expect(woken).toHaveLength(2)
    expect(last(woken).socket.writable).toBe(false)
    expect(last(woken).connection.wakes).toBe(2)
    peer.end('well')
    await eventually(() => expect(heard.join('')).toBe('hellobutwell'))
    await stats(server, { parked: 0, awake: 0 })
    expect(causes).toHaveLength(1)
  })

  test('gets an error when the connection is closed, as with any socket', async () => {
    const { server, woken } = await echo()
    const socket = await client(server)
    await expectEcho(socket)
    await stats(server, { parked: 1 })
    socket.destroy()
    await stats(server, { parked: 0, awake: 0 })
    // Another connection has its descriptor number now.
    const other = await client(server)
    const written = new Promise<Error | null | undefined>((resolve) => last(woken).socket.write('late', resolve))
    expect(await written).toBeInstanceOf(Error)
    await expectEcho(other)
  })
})

describe('disconnect', () => {
  interface Gone {
    id: number
    cause: string
    attachment: unknown
    closed: boolean
    parked: boolean
  }

  async function watched(
    options: ParkOptions = {}
  ): Promise<{ server: ParkServer; woken: Wake[]; disconnected: Gone[] }> {
    const { server, woken } = await echo(options)
    const disconnected: Gone[] = []
    server.on('connection', (_: Socket, connection: Connection) => {
      connection.attachment = { number: connection.id, wakes: connection.wakes }
    })
    server.on('disconnect', ({ id, attachment, closed, parked }: Connection, cause: string) => {
      disconnected.push({ id, cause, attachment, closed, parked })
    })
    return { server, woken, disconnected }
  }

  const ways: [string, (peer: Socket, server: Socket) => void][] = [
    ['the client’s FIN', (peer) => void peer.end()],
    ['the client’s RST', (peer) => void peer.resetAndDestroy()],
    ['destroy()', (_, socket) => void socket.destroy()],
    ['destroy() with an error', (_, socket) => void socket.destroy(new Error('enough'))],
    ['end()', (peer, socket) => void socket.end(() => peer.end())],
    ['a RST of the server', (_, socket) => void socket.resetAndDestroy()]
  ]
  test.each(ways)('awake, by %s: emitted once with cause socket', async (_, end) => {
    const { server, woken, disconnected } = await watched({ idle: false })
    const peers = await clients(server, 3)
    await Promise.all(peers.map((peer) => expectEcho(peer)))
    const sockets = new Map(woken.map(({ socket }) => [socket.remotePort, socket]))
    for (const peer of peers) end(peer, sockets.get(peer.localPort) as Socket)
    await stats(server, {
      awake: 0,
      closed: { peer: 0, reset: 0, timeout: 0, server: 0, socket: 3, proxy: 0, slow: 0 }
    })
    await quiet()
    const byId = (a: Gone, b: Gone): number => a.id - b.id
    expect(disconnected.sort(byId)).toEqual(
      woken
        .map(({ connection: { id } }) => ({
          id,
          cause: 'socket',
          attachment: { number: id, wakes: 1 },
          closed: true,
          parked: false
        }))
        .sort(byId)
    )
    expectSum(server)
  })

  test.each<[string, string, (peer: Socket) => void]>([
    ['FIN', 'peer', (peer) => void peer.end()],
    ['RST', 'reset', (peer) => void peer.resetAndDestroy()]
  ])('parked again, by the client’s %s: %s, once, without waking', async (_, cause, end) => {
    const { server, woken, disconnected } = await watched()
    const peers = await clients(server, 3)
    await Promise.all(peers.map((peer) => expectEcho(peer)))
    await stats(server, { parked: 3, awake: 0 })
    for (const peer of peers) end(peer)
    await stats(server, { parked: 0, awake: 0, woken: 3 })
    await Promise.all(peers.map((peer) => gone(peer.resume())))
    await quiet()
    const none = { peer: 0, reset: 0, timeout: 0, server: 0, socket: 0, proxy: 0, slow: 0 }
    expect(server.stats().closed).toEqual({ ...none, [cause]: 3 })
    expect(disconnected).toHaveLength(3)
    expect(new Set(disconnected.map(({ id }) => id))).toEqual(new Set(woken.map(({ connection }) => connection.id)))
    for (const one of disconnected) {
      expect(one).toEqual({ id: one.id, cause, attachment: { number: one.id, wakes: 1 }, closed: true, parked: false })
    }
    expectSum(server)
  })

  test('is emitted once, after many wakes', async () => {
    const { server, disconnected } = await watched()
    const peer = await client(server)
    for (let wakes = 1; wakes <= 4; wakes++) {
      await expectEcho(peer)
      await stats(server, { parked: 1, parkedAgain: wakes })
    }
    expect(disconnected).toEqual([])
    peer.write('x')
    peer.end()
    await eventually(() => expect(disconnected).toHaveLength(1))
    await quiet()
    expect(disconnected).toEqual([
      {
        id: expect.any(Number),
        cause: 'socket',
        attachment: expect.objectContaining({ wakes: 5 }),
        closed: true,
        parked: false
      }
    ])
  })

  test('the handle of the last wake is closed, too, and its attachment can still be read', async () => {
    const { server, woken, disconnected } = await watched()
    const peer = await client(server)
    await expectEcho(peer)
    await stats(server, { parked: 1 })
    peer.destroy()
    await eventually(() => expect(disconnected).toHaveLength(1))
    const { connection } = last(woken)
    expect(connection).toMatchObject({ closed: true, parked: false })
    expect(connection.send('x')).toBe(false)
  })
})

describe('ids', () => {
  test('are never reused, though descriptors are: an old handle reaches no connection', async () => {
    const { server, woken } = await echo()
    const ids = new Set<number>()
    const old: Connection[] = []
    let number: number | undefined
    let reused = 0
    while (reused < 20) {
      const peer = await client(server)
      await expectEcho(peer)
      const { socket, connection } = last(woken)
      const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
      if (fd === number) reused++
      number = fd
      connection.attachment = ids.size
      expect(ids.has(connection.id)).toBe(false)
      ids.add(connection.id)
      await stats(server, { parked: 1, awake: 0 })
      for (const stale of old) {
        expect(server.send(stale.id, 'for another')).toBe(false)
        expect(stale.send('for another')).toBe(false)
        expect(stale.park()).toBe(false)
        expect(stale).toMatchObject({ closed: true, parked: false })
      }
      // None of these calls reached the new connection, or woke or parked it.
      await expectEcho(peer, 'mine')
      expect(last(woken).connection).toMatchObject({ id: connection.id, wakes: 2, attachment: ids.size - 1 })
      old.push(connection)
      peer.destroy()
      await stats(server, { parked: 0, awake: 0 })
    }
    expect(ids.size).toBe(old.length)
  })

  test('an event of a connection closed in the same turn does not reach the new one with its descriptor', async () => {
    const woken = new Map<number | undefined, Connection[]>()
    let first: ((connection: Connection) => void) | undefined
    const server = await listening(
      createServer({ idle: false }, (socket, connection) => {
        const { remotePort } = socket
        woken.set(remotePort, [...(woken.get(remotePort) ?? []), connection])
        socket.on('error', () => {})
        socket.on('data', (bytes) => socket.write(bytes))
        first?.(connection)
      })
    )
    const peers = (await clients(server, 3)) as [Socket, Socket, Socket]
    for (const peer of peers) await expectEcho(peer)
    const [waking, closing, parking] = peers.map(({ localPort }) => woken.get(localPort)?.[0]) as [
      Connection,
      Connection,
      Connection
    ]
    // No descriptor number is free, until one is closed.
    const fds = Array.from({ length: 200 }, () => openSync('/dev/null', 'r'))
    try {
      expect([waking.park(), closing.park()]).toEqual([true, true])
      await quiet()
      while (server.stats().awake > 1) await quiet()
      fds.push(...Array.from({ length: 200 }, () => openSync('/dev/null', 'r')))
      const before = server.stats().woken
      first = (connection) => {
        first = undefined
        expect(connection.id).toBe(waking.id)
        closing.close()
        expect(parking.park()).toBe(true)
      }
      // Both are reported in one batch, in this order.
      peers[0].write('x')
      peers[1].write('x')
      await eventually(() => expect(first).toBeUndefined())
      await quiet()
      expect(server.stats()).toMatchObject({ parked: 1, awake: 1, woken: before + 1 })
      expect(parking).toMatchObject({ parked: true, closed: false })
      await expectEcho(peers[2])
    } finally {
      for (const fd of fds) closeSync(fd)
    }
  })

  test('are valid only for their own server', async () => {
    const [one, other] = [await echo(), await echo()]
    const [here, there] = [await client(one.server), await client(other.server)]
    await expectEcho(here)
    await expectEcho(there)
    const { connection } = last(one.woken)
    if (last(other.woken).connection.id !== connection.id) {
      expect(other.server.send(connection.id, 'x')).toBe(false)
    }
    expect(other.server.connection(last(one.woken).socket)).toBeUndefined()
    expect(one.server.connection(new Socket())).toBeUndefined()
  })

  test('every socket of a connection leads to it, the present one and the earlier ones', async () => {
    const { server, woken } = await echo()
    const peer = await client(server)
    await expectEcho(peer)
    await stats(server, { parked: 1 })
    await expectEcho(peer)
    const [first, second] = woken as [Wake, Wake]
    expect(server.connection(second.socket)).toBe(second.connection)
    expect(server.connection(first.socket)?.id).toBe(second.connection.id)
  })
})

describe('statistics', () => {
  test('add up after random events', async () => {
    const { server } = await echo({ attachmentLimit: 100 })
    const peers = await clients(server, 60)
    expectSum(server)
    await Promise.all(peers.slice(0, 40).map((peer) => expectEcho(peer)))
    expectSum(server)
    for (const [i, peer] of peers.entries()) {
      if (i % 4 === 0) peer.end()
      if (i % 4 === 1) peer.resetAndDestroy()
      if (i % 4 === 2) peer.write('x')
      expectSum(server)
    }
    await stats(server, { parked: 30, awake: 0, accepted: 60 })
    expectSum(server)
    expect(server.stats().bytesPerConnection).toBeGreaterThan(0)
    await closed(server)
    expect(server.stats()).toMatchObject({ parked: 0, awake: 0, accepted: 60, dropped: 0 })
    expectSum(server)
  })
})

test('the client’s FIN closes a parked connection, as it would close an awake one', async () => {
  const { server } = await echo()
  const peer = await client(server)
  await expectEcho(peer)
  await stats(server, { parked: 1 })
  peer.end()
  expect(await outcome(peer)).toEqual({ received: '', ended: true, reset: false })
})

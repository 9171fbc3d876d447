/**
 * Connections that break in every state, and listeners that throw: the behaviour of plain Node, without harm to other
 * connections.
 */
import type { Server, Socket } from 'node:net'
import { pipeline, Writable } from 'node:stream'
import { pipeline as pipelined } from 'node:stream/promises'
import type { Parked } from 'ebb'
import { type Connection, createServer } from 'ebb/net'
import { describe, expect, test } from 'vitest'
import { Child } from '../support/child.js'
import {
  addressOf,
  client,
  clients,
  coded,
  descriptorsReturn,
  eventually,
  expectSame,
  expectSum,
  type Kind,
  listening,
  ONCE,
  outcome,
  PARKED,
  PLAIN,
  stats
} from '../support/net-parity.js'
import { gone, quiet, readExactly, uncaught } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 5

/** Records the events of a server's socket. */
function note(socket: Socket, events: string[]): void {
  let bytes = ''
  const tell = (event: string): void => {
    if (bytes !== '') events.push(`data ${bytes.length > 100 ? bytes.length : bytes}`)
    bytes = ''
    events.push(event)
  }
  socket.on('data', (chunk) => {
    bytes += chunk
  })
  socket.on('end', () => tell('end'))
  socket.on('error', ({ code, syscall }: NodeJS.ErrnoException) => tell(`error ${code} ${syscall}`))
  socket.on('close', (hadError) => tell(`close ${hadError}`))
}

describe('a client that ends before its connection was awake', () => {
  test.each<[string, (peer: Socket) => void]>([
    ['a byte and a FIN', (peer) => void peer.end('x')],
    ['many bytes and a FIN', (peer) => void peer.end(Buffer.alloc(300_000, 'x'))]
  ])('%s at once', async (_, end) => {
    await expectSame(async (kind) => {
      const events: string[] = []
      const server = await listening(kind.create({}, (socket) => note(socket, events)))
      const peer = await client(server)
      end(peer)
      const seen = await outcome(peer)
      await eventually(() => expect(events.at(-1)).toMatch(/^close/))
      return [seen, events]
    }, ONCE)
  })

  test('a byte, and then a RST', async () => {
    // Whether the byte can still be read depends on timing. In either case the socket ends once, with or without an
    // error.
    for (const kind of [PLAIN, ...ONCE]) {
      const events: string[] = []
      const server = await listening(kind.create({}, (socket) => note(socket, events)))
      const peers = await clients(server, 20)
      for (const peer of peers) peer.write('x', () => peer.resetAndDestroy())
      await Promise.all(peers.map(gone))
      await quiet()
      await eventually(async () => {
        const count = await new Promise((resolve) => server.getConnections((_, count) => resolve(count)))
        expect(count).toBe(0)
      })
      const closes = events.filter((event) => event.startsWith('close')).length
      expect(closes).toBeLessThanOrEqual(20)
      for (const event of events) expect(event).toMatch(/^(data x|end|close (true|false)|error ECONNRESET read)$/)
    }
  })

  test('before it is accepted', async () => {
    const woken: Connection[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        woken.push(connection)
        socket.on('error', () => {})
        socket.resume()
      })
    )
    const child = new Child(`
      import { connect } from 'node:net'
      for (let i = 0; i < 200; i++) {
        const socket = connect(${JSON.stringify(addressOf(server))}, () => {
          if (i % 2) socket.end('x')
          else socket.resetAndDestroy()
        }).resume()
        socket.on('error', () => {})
      }`)
    await child.ended
    await eventually(() => expect(server.stats()).toMatchObject({ parked: 0, awake: 0 }))
    expectSum(server)
    // The server goes on.
    const peer = await client(server)
    await stats(server, { parked: 1 })
    peer.destroy()
  })
})

describe('a RST', () => {
  /** The events of the server's sockets, and its statistics, after 10 clients in the state of `prepare` were reset. */
  const stages: [string, { idle: number | false }, string, (peer: Socket, woken: number) => Promise<void> | void][] = [
    ['awake', { idle: false }, 'socket', () => {}],
    ['parked again', { idle: IDLE }, 'reset', () => {}]
  ]
  test.each(stages)(
    '%s: each connection ends once, with its cause, and nothing is thrown',
    async (_, { idle }, cause) => {
      const events: string[] = []
      const causes: string[] = []
      const server = await listening(
        createServer({ idle }, (socket) => {
          socket.on('data', (bytes) => socket.write(bytes))
          socket.on('error', ({ code }: NodeJS.ErrnoException) => events.push(`error ${code}`))
          socket.on('close', (hadError) => events.push(`close ${hadError}`))
        })
      )
      server.on('disconnect', (_: Connection, cause: string) => void causes.push(cause))
      const peers = await clients(server, 10)
      for (const peer of peers) peer.write('x')
      await Promise.all(peers.map((peer) => readExactly(peer, 1)))
      if (idle !== false) await stats(server, { parked: 10, awake: 0 })
      const thrown = await uncaught(async () => {
        for (const peer of peers) peer.resetAndDestroy()
        await stats(server, { parked: 0, awake: 0, woken: 10 })
        await quiet()
      })
      expect(thrown).toEqual([])
      expect(causes).toEqual(Array(10).fill(cause))
      if (idle === false) {
        expect(events.sort()).toEqual([...Array(10).fill('close true'), ...Array(10).fill('error ECONNRESET')])
      } else {
        // The sockets were closed when their connections were parked, and emit nothing after that.
        expect(events).toEqual(Array(10).fill('close false'))
      }
      expectSum(server)
    }
  )

  test('awake: the events of plain Node', async () => {
    await expectSame(async (kind) => {
      const events: string[] = []
      const server = await listening(
        kind.create({}, (socket) => {
          note(socket, events)
          socket.write('hello')
        })
      )
      const peer = await client(server)
      peer.write('x')
      await readExactly(peer, 5)
      peer.resetAndDestroy()
      await eventually(() => expect(events.at(-1)).toMatch(/^close/))
      return events
    }, ONCE)
  })

  test('awake, with bytes that wait to be sent', async () => {
    await expectSame(async (kind) => {
      const events: string[] = []
      const server = await listening(
        kind.create({}, (socket) => {
          socket.on('error', ({ code }: NodeJS.ErrnoException) => events.push(`error ${code}`))
          socket.on('close', (hadError) => events.push(`close ${hadError}`))
          socket.resume()
          for (let i = 0; i < 30; i++) socket.write(Buffer.alloc(1e6))
        })
      )
      const peer = await client(server)
      peer.write('x')
      await quiet()
      peer.resetAndDestroy()
      await eventually(() => expect(events.at(-1)).toMatch(/^close/))
      return events
    }, ONCE)
  })

  test('while bytes of send() wait to be sent', async () => {
    const woken: Connection[] = []
    const causes: string[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        woken.push(connection)
        socket.on('error', () => {})
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    server.on('disconnect', (_: Connection, cause: string) => void causes.push(cause))
    const peer = await client(server)
    peer.write('x')
    await readExactly(peer, 1)
    await stats(server, { parked: 1 })
    const { id } = woken[0] as Connection
    for (let i = 0; i < 30; i++) server.send(id, Buffer.alloc(1e6))
    await stats(server, { parked: 0, awake: 1 })
    peer.resetAndDestroy()
    await stats(server, { parked: 0, awake: 0 })
    await eventually(() => expect(causes).toEqual(['socket']))
    expect(server.send(id, 'x')).toBe(false)
    expectSum(server)
  })

  test('in the same turn as the wake, send() or park()', async () => {
    const causes: string[] = []
    const open = new Set<number>()
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        open.add(connection.id)
        socket.on('error', () => {})
        socket.on('data', (bytes) => {
          socket.write(bytes)
          if (connection.id % 2 === 0) connection.park()
        })
      })
    )
    server.on('disconnect', ({ id }: Connection, cause: string) => {
      expect(open.delete(id)).toBe(true)
      causes.push(cause)
    })
    const peers = await clients(server, 200)
    const thrown = await uncaught(async () => {
      for (const [i, peer] of peers.entries()) {
        peer.write('hello')
        setTimeout(
          () => {
            peer.resetAndDestroy()
            for (const id of open) server.send(id, 'x')
          },
          i % (3 * IDLE)
        )
      }
      await stats(server, { parked: 0, awake: 0, accepted: 200 })
      await quiet()
    })
    expect(thrown).toEqual([])
    expect([...open]).toEqual([])
    expect(causes.length).toBe(new Set([...open]).size + causes.length)
    expectSum(server)
  })

  test('right after data, while parked: one disconnect, whether the connection was woken or not', async () => {
    const open = new Set<number>()
    const gone_ = new Set<number>()
    const server = await listening(
      createServer({ idle: IDLE }, (socket, { id }) => {
        open.add(id)
        socket.on('error', () => {})
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    server.on('disconnect', ({ id }: Connection) => {
      expect(gone_.has(id)).toBe(false)
      gone_.add(id)
    })
    const peers = await clients(server, 100)
    for (const peer of peers) peer.write('x')
    await Promise.all(peers.map((peer) => readExactly(peer, 1)))
    await stats(server, { parked: 100 })
    for (const peer of peers) {
      peer.write('y')
      peer.resetAndDestroy()
    }
    await stats(server, { parked: 0, awake: 0 })
    await eventually(() => expect(gone_).toEqual(open))
    expectSum(server)
  })
})

describe('data and a FIN in one packet, while parked', () => {
  test.each([1, 1000, 1_000_000])('%i bytes wake the connection, all are read, then it ends', async (length) => {
    const received: Buffer[] = []
    const events: string[] = []
    const causes: string[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, { wakes }) => {
        if (wakes === 1) {
          socket.on('data', (bytes) => socket.write(bytes))
          return
        }
        socket.on('data', (bytes) => received.push(bytes))
        socket.on('end', () => {
          events.push('end')
        })
        socket.on('close', (hadError) => events.push(`close ${hadError}`))
      })
    )
    server.on('disconnect', (_: Connection, cause: string) => void causes.push(cause))
    const peer = await client(server)
    peer.write('x')
    await readExactly(peer, 1)
    await stats(server, { parked: 1 })
    peer.end(coded(0, length))
    expect(await outcome(peer)).toEqual({ received: '', ended: true, reset: false })
    await eventually(() => expect(events).toEqual(['end', 'close false']))
    expect(Buffer.concat(received).equals(coded(0, length))).toBe(true)
    await eventually(() => expect(causes).toEqual(['socket']))
    expect(server.stats()).toMatchObject({ woken: 2, parked: 0, awake: 0 })
  })

  test('the reply to the last data arrives', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        socket.on('data', (bytes) => socket.write(`${bytes}`.toUpperCase()))
      })
    )
    const peers = await clients(server, 50)
    for (const peer of peers) peer.write('x')
    await Promise.all(peers.map((peer) => readExactly(peer, 1)))
    await stats(server, { parked: 50 })
    const seen = await Promise.all(
      peers.map((peer) => {
        peer.end('last words')
        return outcome(peer)
      })
    )
    for (const one of seen) expect(one).toEqual({ received: 'LAST WORDS', ended: true, reset: false })
  })
})

describe('the listener', () => {
  test.each<[string, (socket: Socket) => void]>([
    ['destroy()', (socket) => void socket.destroy()],
    ['destroy() with an error', (socket) => void socket.on('error', () => {}).destroy(new Error('enough'))],
    ['resetAndDestroy()', (socket) => void socket.resetAndDestroy()],
    ['end()', (socket) => void socket.end()],
    ['end() with bytes', (socket) => void socket.end('good bye')],
    [
      'destroySoon()',
      (socket) => {
        socket.write('good bye')
        socket.destroySoon()
      }
    ]
  ])('%s at once, and on data: the client sees what it sees of plain Node', async (name, act) => {
    await expectSame(async (kind) => {
      const seen: unknown[] = []
      // After an immediate RST, a client of plain Node may get an error of connect().
      for (const when of name.includes('reset') ? ['on data'] : ['at once', 'on data']) {
        const server = await listening(
          kind.create({}, (socket) => {
            if (when === 'on data') socket.once('data', () => act(socket))
            else {
              act(socket)
              // Received bytes are read, because the kernel sends a RST for unread ones.
              socket.resume()
            }
          })
        )
        const peer = await client(server)
        // Immediately: whether the byte arrives before the end depends on timing, and so does what the kernel sends.
        peer.write('x')
        const { received, ended, reset } = await outcome(peer)
        seen.push(when === 'on data' ? { received, ended, reset } : ended || reset)
      }
      return seen
    })
  })

  test('ends connections while they are woken and parked: every descriptor is closed once', async () => {
    let calls = 0
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        calls++
        socket.on('error', () => {})
        socket.on('data', (bytes) => {
          socket.write(bytes)
          if (connection.wakes === 1) connection.park()
          else if (connection.wakes === 2) setTimeout(() => socket.destroy(), IDLE)
          else socket.destroy()
        })
      })
    )
    const peers = await clients(server, 100)
    for (let round = 0; round < 4; round++) {
      for (const peer of peers) peer.write('x')
      await quiet()
    }
    await Promise.all(peers.map((peer) => gone(peer.resume())))
    await stats(server, { parked: 0, awake: 0 })
    expect(calls).toBeGreaterThanOrEqual(200)
    expectSum(server)
  })

  test('emits an error without a listener: uncaught, as in plain Node, and the connection is closed', async () => {
    await expectSame(async (kind) => {
      const server = await listening(
        kind.create({}, (socket) => {
          socket.on('data', () => socket.destroy(new Error('nobody listens')))
        })
      )
      const peer = await client(server)
      let seen: unknown
      const thrown = await uncaught(async () => {
        peer.write('x')
        seen = await outcome(peer)
        await quiet()
      })
      return [thrown.map(String), seen]
    }, ONCE)
  })

  const throwing = (create: string): string => `
    import net from 'node:net'
    import { park } from 'ebb'
    import { createServer } from 'ebb/net'
    const caught = []
    process.on('uncaughtException', (error) => caught.push(error.message))
    const listener = (socket, connection) => {
      socket.on('error', () => {})
      if (connection?.wakes === 2) throw new Error('at the second wake')
      socket.on('data', (bytes) => {
        if (String(bytes) === 'throw') throw new Error('on data')
        socket.write(bytes)
      })
      socket.once('data', (bytes) => {
        if (String(bytes) === 'throw at first') throw new Error('first data')
      })
    }
    const server = ${create}
    let n = 0
    server.on('connection', () => {
      if (++n % 2 === 1) throw new Error('odd')
    })
    server.on('error', (error) => caught.push('error ' + error.message))
    server.on('disconnect', () => { throw new Error('disconnect') })
    server.listen(0, '127.0.0.1', () => console.log(JSON.stringify(server.address().port)))
    process.stdin.on('data', () => console.log(JSON.stringify({ caught, stats: server.stats?.() })))`

  test.each([
    `createServer({ idle: ${IDLE} }, listener)`,
    'createServer({ idle: false }, listener)',
    `park(net.createServer(listener), { idle: ${IDLE} })`,
    "createServer({ idle: false, first: 'server' }, listener)"
  ])('throws: %s: uncaught, once for each, and other connections live on', async (create) => {
    const child = new Child(throwing(create))
    const port = await child.next<number>()
    const { connect } = await import('node:net')
    const open = async (): Promise<Socket> => {
      const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
      peer.on('error', () => {})
      await new Promise((resolve) => peer.once('connect', resolve))
      return peer
    }
    const peers = await Promise.all(Array.from({ length: 40 }, open))
    // In one turn: in a batch of wakes, some listeners throw.
    for (const peer of peers) peer.write('hello')
    for (const peer of peers) expect(`${await readExactly(peer, 5)}`).toBe('hello')
    const [thrower, ...others] = peers as [Socket, ...Socket[]]
    thrower.write('throw')
    await eventually(async () => {
      const { caught } = await child.ask<{ caught: string[] }>('?')
      expect(caught.filter((message) => message === 'odd').length).toBeGreaterThan(0)
      expect(caught.filter((message) => message === 'on data' || message === 'at the second wake')).toHaveLength(1)
    })
    const late = await open()
    late.write('after all that')
    expect(`${await readExactly(late, 14)}`).toBe('after all that')
    // The socket whose listener threw is not read, so it would not see a FIN.
    thrower.resetAndDestroy()
    for (const peer of [...others, late]) peer.destroy()
    await eventually(async () => {
      const { stats, caught } = await child.ask<{ caught: string[]; stats: { parked: number; awake: number } }>('?')
      expect(stats).toMatchObject({ parked: 0, awake: 0 })
      expect(caught.filter((message) => message === 'disconnect')).toHaveLength(41)
    })
    child.process.kill()
  })
})

describe('a socket whose connection sleeps', () => {
  /** A server of the kind, a client whose connection sleeps (where the kind parks it), and the first socket of it. */
  async function asleep(kind: Kind): Promise<{ server: Server; peer: Socket; socket: Socket }> {
    let kept: Socket | undefined
    const server = await listening(
      kind.create({}, (socket) => {
        socket.on('error', () => {}).resume()
        kept ??= socket
      })
    )
    const peer = await client(server)
    peer.write('x')
    await eventually(() => expect(kept).toBeDefined())
    await quiet()
    if (kind.again) await eventually(() => expect(kept?.destroyed).toBe(true))
    return { server, peer, socket: kept as Socket }
  }

  test.each<[string, (socket: Socket, tell: (event: string) => (error?: Error | null) => void) => void]>([
    ['end(data, callback)', (socket, tell) => void socket.end('bye', tell('end'))],
    ['end(data, encoding, callback)', (socket, tell) => void socket.end('627965', 'hex', tell('end'))],
    ['end(callback)', (socket, tell) => void socket.end(tell('end'))],
    [
      'write(data, callback) and end(callback)',
      (socket, tell) => {
        socket.write('bye', tell('write'))
        socket.end(tell('end'))
      }
    ],
    [
      'end(callback) twice',
      (socket, tell) => {
        socket.end('bye', tell('one'))
        socket.end(tell('two'))
      }
    ],
    [
      "end(callback) after 'finish'",
      (socket, tell) => void socket.once('finish', () => socket.end(tell('late'))).end('bye')
    ]
  ])('%s: the callbacks come once, and then finish', async (_, act) => {
    await expectSame(async (kind) => {
      const { peer, socket } = await asleep(kind)
      const events: string[] = []
      socket.on('finish', () => events.push('finish'))
      act(socket, (name) => (error) => {
        events.push(`${name} ${(error as NodeJS.ErrnoException | null | undefined)?.code}`)
      })
      const { received, ended } = await outcome(peer)
      await quiet()
      return [events, received, ended]
    })
  })

  test('write() after end() is an error of its callback, and sends nothing', async () => {
    await expectSame(async (kind) => {
      const { peer, socket } = await asleep(kind)
      socket.end('bye')
      await quiet()
      const code = await new Promise((resolve) => {
        const taken = socket.write('more', (error) => resolve((error as NodeJS.ErrnoException | null)?.code))
        expect(taken).toBe(false)
      })
      expect(code).toBe('ERR_STREAM_WRITE_AFTER_END')
      return (await outcome(peer)).received
    })
  })

  test('write() and end() of a connection that is closed are errors of their callbacks', async () => {
    const { server, peer, socket } = await asleep(AGAIN)
    peer.destroy()
    await eventually(() => expect((server as Server & Parked).stats().parked).toBe(0))
    const codes = await Promise.all([
      new Promise((resolve) => expect(socket.write('x', (error) => resolve(error))).toBe(false)),
      new Promise((resolve) => socket.end((error?: Error | null) => resolve(error))),
      new Promise((resolve) => socket.end('x', (error?: Error | null) => resolve(error)))
    ])
    expect(codes).toEqual(Array(3).fill(expect.objectContaining({ code: 'ERR_STREAM_DESTROYED' })))
  })

  test.each<[string, (socket: Socket) => void]>([
    ['destroy()', (socket) => void socket.destroy()],
    ['destroySoon()', (socket) => void socket.destroySoon()],
    [
      'write() and destroySoon()',
      (socket) => {
        socket.write('bye')
        socket.destroySoon()
      }
    ],
    ['resetAndDestroy()', (socket) => void socket.resetAndDestroy()]
  ])('%s closes the connection', async (_, act) => {
    await expectSame(async (kind) => {
      const { peer, socket } = await asleep(kind)
      act(socket)
      return await outcome(peer)
    })
  })

  test('destroySoon() while the connection is awake for a slow reader loses nothing', async () => {
    const { server, peer, socket } = await asleep(AGAIN)
    socket.write(Buffer.alloc(MANY, 'x'))
    await eventually(() => expect((server as Server & Parked).stats().awake).toBe(1))
    socket.destroySoon()
    const { received } = await outcome(peer)
    expect(received.length).toBe(MANY)
  })

  test.each<[string, (socket: Socket) => void]>([
    ['in the turn of the parking', (socket) => void socket.destroy()],
    ["in a timer after 'close'", (socket) => void socket.on('close', () => setTimeout(() => socket.destroy()))],
    ["in an immediate after 'close'", (socket) => void socket.on('close', () => setImmediate(() => socket.destroy()))]
  ])('destroy() %s closes the connection', async (_, act) => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        socket.on('error', () => {}).resume()
        socket.on('data', () => {
          expect(connection?.park()).toBe(true)
          act(socket)
        })
      })
    )
    const peer = await client(server)
    peer.write('x')
    expect(await outcome(peer)).toMatchObject({ ended: true, reset: false })
  })

  test.each<[string, (socket: Socket) => void]>([
    ["'close'", (socket) => void socket.resume().on('close', () => socket.destroy())],
    [
      "'close', and a promise",
      (socket) => {
        socket.resume().on('close', async () => {
          await null
          socket.destroy()
        })
      }
    ],
    ['the end of a pipeline()', (socket) => pipeline(socket, drain(), () => socket.destroy())],
    ['the rejection of a pipeline()', (socket) => void pipelined(socket, drain()).catch(() => socket.destroySoon())],
    [
      'the end of for await',
      async (socket) => {
        for await (const _ of socket);
        socket.destroy()
      }
    ]
  ])('destroy() because of %s leaves the connection', async (_, react) => {
    let first = true
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        if (first) react(socket.on('error', () => {}))
        else socket.on('data', () => connection?.send('awake'))
        first = false
      })
    )
    const peers = await clients(server, 1)
    const [peer] = peers as [Socket]
    peer.write('x')
    await stats(server, { parked: 1, parkedAgain: 1 })
    await quiet()
    expect(server.stats()).toMatchObject({ parked: 1, awake: 0 })
    peer.write('y')
    expect(`${await readExactly(peer, 5)}`).toBe('awake')
  })
})

describe("a 'drop' listener", () => {
  test.each<[string, (server: Server, first: () => Socket) => void]>([
    ['closes the server', (server) => void server.close()],
    ['closes the server and its connections', (server, first) => void [server.close(), first().destroy()]],
    ['lets the server listen again', (server) => void server.close().listen(0, '127.0.0.1')],
    ['throws', () => fail()],
    ['closes the server and throws', (server) => fail(server.close())],
    ['admits more', (server) => void Object.assign(server, { maxConnections: 10 })]
  ])('that %s: the refused connection is closed', async (_, act) => {
    for (const kind of PARKED) {
      const sockets: Socket[] = []
      const server = await listening(kind.create({}, (socket) => sockets.push(socket.on('error', () => {}).resume())))
      server.maxConnections = 1
      const first = await client(server)
      first.write('x')
      await eventually(() => expect(sockets).toHaveLength(1))
      server.once('drop', () => act(server, () => sockets.at(-1) as Socket))
      await uncaught(async () => {
        const refused = await client(server)
        const { ended, reset } = await outcome(refused)
        expect(ended || reset, kind.name).toBe(true)
      })
      first.destroy()
    }
  })

  test('a block list that throws: the connection is closed', async () => {
    for (const kind of PARKED) {
      const server = await listening(kind.create({}))
      Object.assign(server, { blockList: { check: fail } })
      const errors = await uncaught(async () => {
        const refused = await client(server)
        await outcome(refused)
      })
      expect(errors, kind.name).toEqual([expect.objectContaining({ message: 'on purpose' })])
    }
  })
})

function fail(..._: unknown[]): never {
  throw new Error('on purpose')
}

/** More bytes than the kernel takes for a peer that does not read. */
const MANY = 16_000_000

/** The kind whose connections sleep again. */
const AGAIN = PARKED.find(({ again }) => again) as Kind

function drain(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() })
}

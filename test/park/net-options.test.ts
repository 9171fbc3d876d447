/** The options of `net.createServer` and the properties of its sockets: the same as with plain Node. */
import type { ServerOpts, Socket } from 'node:net'
import { createServer } from 'ebb/net'
import { libc } from 'ebb/sys'
import { describe, expect, test } from 'vitest'
import {
  client,
  descriptorsReturn,
  eventually,
  expectSame,
  type Kind,
  listening,
  ONCE,
  outcome,
  PARKED,
  stats
} from '../support/net-parity.js'
import { quiet, readExactly } from '../support/sockets.js'

descriptorsReturn()

const TCP_KEEPIDLE = 4
const TCP_KEEPINTVL = 5
const TCP_KEEPCNT = 6

/** The options of a server's socket in the kernel. */
function kernelOptions(socket: Socket): Record<string, number> {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const ask = (level: number, name: number): number => {
    const value = new Int32Array(1)
    const length = new Uint32Array([4])
    libc.check(libc.getsockopt(fd, level, name, libc.addressOf(value), libc.addressOf(length)), 'getsockopt')
    return value[0] as number
  }
  const keepAlive = ask(libc.SOL_SOCKET, libc.SO_KEEPALIVE)
  return {
    noDelay: ask(libc.IPPROTO_TCP, libc.TCP_NODELAY),
    keepAlive,
    // Without keep-alive, these values do not matter.
    ...(keepAlive === 1 && {
      idle: ask(libc.IPPROTO_TCP, TCP_KEEPIDLE),
      interval: ask(libc.IPPROTO_TCP, TCP_KEEPINTVL),
      count: ask(libc.IPPROTO_TCP, TCP_KEEPCNT)
    })
  }
}

async function expectEcho(peer: Socket): Promise<void> {
  peer.write('hello')
  expect(`${await readExactly(peer, 5)}`).toBe('hello')
}

describe('options of the kernel', () => {
  const cases: [ServerOpts, object][] = [
    [{}, { noDelay: 0, keepAlive: 0 }],
    [{ noDelay: true }, { noDelay: 1, keepAlive: 0 }],
    [{ noDelay: false }, { noDelay: 0, keepAlive: 0 }],
    [{ keepAlive: true }, { keepAlive: 1 }],
    [
      { keepAlive: true, keepAliveInitialDelay: 12_345 },
      { keepAlive: 1, idle: 12 }
    ],
    [{ keepAlive: true, keepAliveInitialDelay: 999 }, { keepAlive: 1 }],
    [{ keepAlive: false, keepAliveInitialDelay: 12_345 }, { keepAlive: 0 }],
    [
      { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 },
      { noDelay: 1, keepAlive: 1, idle: 60 }
    ]
  ]

  test('a socket can turn off what the server has turned on', async () => {
    const seen = await expectSame(async (kind) => {
      let turned: object | undefined
      const server = await listening(
        kind.create({ noDelay: true, keepAlive: true }, (socket) => {
          socket.setNoDelay(false).setKeepAlive(false)
          turned ??= kernelOptions(socket)
          socket.on('data', (bytes) => socket.write(bytes))
        })
      )
      const peer = await client(server)
      await expectEcho(peer)
      return turned
    })
    expect(seen).toEqual({ noDelay: 0, keepAlive: 0 })
  })

  test.each(cases)('%j', async (options, expected) => {
    const seen = await expectSame(async (kind) => {
      let options_: object | undefined
      const server = await listening(
        kind.create(options, (socket) => {
          options_ ??= kernelOptions(socket)
          socket.on('data', (bytes) => socket.write(bytes))
        })
      )
      await expectEcho(await client(server))
      return options_
    })
    expect(seen).toMatchObject(expected)
  })

  test.each(cases)('%j: the same after parking and waking', async (options) => {
    const seen: object[] = []
    const server = await listening(
      createServer({ ...options, idle: 5 }, (socket) => {
        seen.push(kernelOptions(socket))
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    const peer = await client(server)
    for (let wakes = 1; wakes <= 3; wakes++) {
      await expectEcho(peer)
      await stats(server, { parked: 1, parkedAgain: wakes })
    }
    expect(seen).toHaveLength(3)
    expect(seen[1]).toEqual(seen[0])
    expect(seen[2]).toEqual(seen[0])
  })

  test('options that the application sets on a socket stay set', async () => {
    const seen: object[] = []
    const server = await listening(
      createServer({ idle: 5 }, (socket, connection) => {
        if (connection.wakes === 1) {
          socket.setNoDelay(true)
          socket.setKeepAlive(true, 30_000)
        }
        seen.push(kernelOptions(socket))
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    const peer = await client(server)
    await expectEcho(peer)
    await stats(server, { parked: 1 })
    await expectEcho(peer)
    expect(seen).toEqual([expect.objectContaining({ noDelay: 1, keepAlive: 1, idle: 30 }), seen[0]])
  })

  test.each<ServerOpts>([
    { keepAliveInitialDelay: 'soon' as unknown as number },
    { highWaterMark: -1 },
    { noDelay: 1 as unknown as boolean }
  ])('%j: refused, or not, alike', async (options) => {
    const attempt = async (kind: Kind): Promise<unknown> => {
      try {
        kind.create(options)
        return 'taken'
      } catch (error) {
        const { name, code, message } = error as NodeJS.ErrnoException
        return { name, code, message }
      }
    }
    await expectSame(attempt)
  })
})

describe('properties of a socket', () => {
  test('setKeepAlive() with the delay of the server sets nothing, with another one it does', async () => {
    await expectSame(async (kind) => {
      const delays: unknown[] = []
      const server = await listening(
        kind.create({ keepAlive: true, keepAliveInitialDelay: 2000 }, (socket) => {
          const { _handle: handle } = socket as unknown as { _handle: { setKeepAlive(on: boolean, s: number): void } }
          const { setKeepAlive } = handle
          handle.setKeepAlive = (on, seconds) => {
            delays.push(seconds)
            setKeepAlive.call(handle, on, seconds)
          }
          for (const delay of [2000, 5000, 5000, 2000]) socket.setKeepAlive(true, delay)
          socket.on('data', (bytes) => socket.write(bytes))
        })
      )
      await expectEcho(await client(server))
      return delays
    })
  })

  test('are those of plain Node', async () => {
    await expectSame(async (kind) => {
      let seen: object | undefined
      let addresses: unknown
      const server = kind.create({}, (socket) => {
        const own = socket as Socket & { server?: unknown; _server?: unknown }
        addresses = [socket.remotePort, socket.localPort, socket.address()]
        seen = {
          remote: [socket.remoteAddress, socket.remoteFamily],
          local: [socket.localAddress, (socket as { localFamily?: string }).localFamily],
          server: own.server === server,
          _server: own._server === server,
          kind: socket.constructor.name,
          handle: (own as unknown as { _handle: object })._handle.constructor.name,
          states: [socket.connecting, socket.pending, socket.destroyed, socket.readyState, socket.closed],
          sides: [socket.readable, socket.writable, socket.allowHalfOpen, socket.readableEnded, socket.writableEnded],
          marks: [socket.readableHighWaterMark, socket.writableHighWaterMark, socket.writableNeedDrain],
          flowing: [socket.readableFlowing, socket.isPaused()],
          timeout: socket.timeout,
          counts: [socket.bytesRead, socket.bytesWritten],
          buffered: [socket.readableLength, socket.writableLength]
        }
        socket.on('data', (bytes) => socket.write(bytes))
      })
      await listening(server)
      const peer = await client(server)
      await expectEcho(peer)
      const { port } = server.address() as { port: number }
      expect(addresses).toEqual([peer.localPort, port, { address: '127.0.0.1', family: 'IPv4', port }])
      return seen
    })
  })

  test('bytesRead and bytesWritten are counted', async () => {
    await expectSame(async (kind) => {
      let accepted: Socket | undefined
      const server = await listening(
        kind.create({}, (socket) => {
          accepted = socket
          socket.on('data', (bytes) => socket.write(Buffer.concat([bytes, bytes])))
        })
      )
      const peer = await client(server)
      peer.write('abc')
      await readExactly(peer, 6)
      peer.write('de')
      await readExactly(peer, 4)
      return [accepted?.bytesRead, accepted?.bytesWritten]
    }, ONCE)
  })

  test.each([undefined, 1, 1000, 100_000])('highWaterMark: %j', async (highWaterMark) => {
    const [readable, writable] = await expectSame(async (kind) => {
      const seen: number[] = []
      const server = await listening(
        kind.create(highWaterMark === undefined ? {} : { highWaterMark }, (socket) => {
          seen.splice(0, 2, socket.readableHighWaterMark, socket.writableHighWaterMark)
          socket.on('data', (bytes) => socket.write(bytes))
        })
      )
      await expectEcho(await client(server))
      return seen
    })
    if (highWaterMark !== undefined) expect([readable, writable]).toEqual([highWaterMark, highWaterMark])
  })

  test('setTimeout() on a socket', async () => {
    await expectSame(async (kind) => {
      const events: string[] = []
      const server = await listening(
        kind.create({}, (socket) => {
          socket.resume()
          socket.setTimeout(20, () => {
            events.push('timeout')
            socket.end('too late')
          })
        })
      )
      const peer = await client(server)
      peer.write('x')
      return [await outcome(peer), events]
    }, ONCE)
  })
})

describe('allowHalfOpen', () => {
  for (const allowHalfOpen of [true, false]) {
    test(`${allowHalfOpen}: a byte, then a FIN`, async () => {
      await expectSame(async (kind) => {
        const events: string[] = []
        const server = await listening(
          kind.create({ allowHalfOpen }, (socket) => {
            events.push(`connection ${socket.allowHalfOpen}`)
            socket.on('data', (bytes) => events.push(`data ${bytes}`))
            socket.on('end', () => {
              events.push(`end ${socket.writable}`)
              if (allowHalfOpen) setTimeout(() => socket.end('after the end'), 5)
            })
            socket.on('finish', () => events.push('finish'))
            socket.on('close', (hadError) => events.push(`close ${hadError}`))
          })
        )
        const peer = await client(server)
        peer.write('x')
        await eventually(() => expect(events).toContain('data x'))
        peer.end()
        const seen = await outcome(peer)
        await eventually(() => expect(events.at(-1)).toBe('close false'))
        return [seen, events]
      }, ONCE)
    })
  }

  test('a byte and the FIN in one packet: the byte is answered', async () => {
    await expectSame(async (kind) => {
      const server = await listening(
        kind.create({ allowHalfOpen: true }, (socket) => {
          const chunks: Buffer[] = []
          socket.on('data', (bytes) => chunks.push(bytes))
          socket.on('end', () => socket.end(`${Buffer.concat(chunks)}`.toUpperCase()))
        })
      )
      const peer = await client(server)
      peer.end('all of it')
      return await outcome(peer)
    })
  })

  /** A server whose connection is parked after one message, with the events of its sockets. */
  async function parkedServer(options: ServerOpts): Promise<{ peer: Socket; events: string[]; stats: () => object }> {
    const events: string[] = []
    const server = await listening(
      createServer({ ...options, idle: 5 }, (socket, { wakes }) => {
        events.push(`wake ${wakes}`)
        socket.on('data', (bytes) => socket.write(bytes))
        socket.on('end', () => {
          events.push('end')
          if (options.allowHalfOpen === true) socket.end('good bye')
        })
      })
    )
    const peer = await client(server)
    await expectEcho(peer)
    await stats(server, { parked: 1, awake: 0 })
    return { peer, events, stats: () => server.stats() }
  }

  test('true: a FIN wakes a parked connection, and the listener may still write', async () => {
    const { peer, events, stats } = await parkedServer({ allowHalfOpen: true })
    peer.end()
    expect(await outcome(peer)).toEqual({ received: 'good bye', ended: true, reset: false })
    expect(events).toEqual(['wake 1', 'wake 2', 'end'])
    await eventually(() =>
      expect(stats()).toMatchObject({ parked: 0, awake: 0, woken: 2, closed: { peer: 0, reset: 0, socket: 1 } })
    )
  })

  test('false: a FIN closes a parked connection, and the listener is not called', async () => {
    const { peer, events, stats } = await parkedServer({})
    peer.end()
    expect(await outcome(peer)).toEqual({ received: '', ended: true, reset: false })
    expect(events).toEqual(['wake 1'])
    expect(stats()).toMatchObject({ parked: 0, awake: 0, woken: 1, closed: { peer: 1, reset: 0, socket: 0 } })
  })

  test('true: a FIN before any byte wakes the connection, too', async () => {
    const seen = await expectSame(async (kind) => {
      const server = await listening(
        kind.create({ allowHalfOpen: true }, (socket) => socket.resume().on('end', () => socket.end('good bye')))
      )
      const peer = await client(server)
      await quiet()
      peer.end()
      return await outcome(peer)
    })
    expect(seen.received).toBe('good bye')
  })

  test('true: after the FIN the listener may write on, and the connection is not parked in a loop', async () => {
    let calls = 0
    const server = await listening(
      createServer({ allowHalfOpen: true, idle: 5 }, (socket) => {
        calls++
        let left = 20
        socket.resume()
        const timer = setInterval(() => {
          if (socket.destroyed) {
            clearInterval(timer)
            return
          }
          socket.write('.')
          if (--left > 0) return
          clearInterval(timer)
          socket.end()
        }, 10)
      })
    )
    const peer = await client(server)
    peer.end('x')
    const { received, ended } = await outcome(peer)
    expect({ received, ended }).toEqual({ received: '.'.repeat(20), ended: true })
    expect(calls).toBe(1)
  })
})

describe('pauseOnConnect', () => {
  test('nothing is read before resume(), and then all of it', async () => {
    await expectSame(async (kind) => {
      const accepted: Socket[] = []
      const server = await listening(kind.create({ pauseOnConnect: true }, (socket) => void accepted.push(socket)))
      const peer = await client(server)
      peer.write('hello')
      await eventually(() => expect(accepted).toHaveLength(1))
      const socket = accepted[0] as Socket
      const before = [socket.isPaused(), socket.readableFlowing, socket.bytesRead, socket.readableLength]
      await quiet()
      const after = [socket.isPaused(), socket.readableFlowing, socket.bytesRead, socket.readableLength]
      socket.on('data', (bytes) => socket.write(bytes))
      await quiet()
      const unread = socket.bytesRead
      socket.resume()
      return [before, after, unread, `${await readExactly(peer, 5)}`]
    }, ONCE)
  })

  test('whether it is parked meanwhile or not, no byte is lost', async () => {
    for (const kind of PARKED) {
      const server = await listening(
        kind.create({ pauseOnConnect: true }, (socket) => {
          socket.on('error', () => {})
          setTimeout(() => {
            socket.on('data', (bytes) => socket.write(bytes))
            socket.resume()
          }, 30)
        })
      )
      const peer = await client(server)
      for (let i = 0; i < 3; i++) await expectEcho(peer)
    }
  })
})

/**
 * What the application has set on a socket holds while its connection sleeps: timeouts, references, options of the
 * kernel. Each scenario is played with plain Node, too.
 */
import http from 'node:http'
import http2 from 'node:http2'
import { createServer as createPlain, type Server, type ServerOpts, type Socket } from 'node:net'
import { listen, type Parked, park } from 'ebb'
import { type Connection, createServer, type ParkOptions } from 'ebb/net'
import { libc } from 'ebb/sys'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child } from '../support/child.js'
import { client, descriptorsReturn, eventually, listening, outcome, stats } from '../support/net-parity.js'
import { clients as dial, gone, quiet, readExactly } from '../support/sockets.js'

descriptorsReturn()

/** Idle timeout (ms) of the servers here. */
const IDLE = 5
/** Timeout (ms) that applications set: longer than it takes to park a connection. */
const TIMEOUT = 150
/** Time (ms) after which listeners of `connection` have been called for a silent client, if no client has spoken. */
const ASKED = 1200

type Listener = (socket: Socket, connection?: Connection) => void

/** A server of plain Node, and one whose connections sleep. */
const MAKERS: [name: string, make: (listener: Listener, options?: ServerOpts) => Server][] = [
  ['plain', (listener, options = {}) => createPlain(options, listener)],
  ['ebb/net', (listener, options = {}) => createServer({ ...options, idle: IDLE }, listener)],
  ['park(net, { idle })', (listener, options = {}) => park(createPlain(options, listener), { idle: IDLE })]
]

/** Plays a scenario with each server, and compares what it returns. */
async function same<T>(scenario: (make: (typeof MAKERS)[0][1], parks: boolean) => Promise<T>): Promise<T> {
  const seen: T[] = []
  for (const [name, make] of MAKERS) {
    seen.push(await scenario(make, name !== 'plain'))
    expect(seen.at(-1), `${name}, compared with plain Node`).toEqual(seen[0])
  }
  return seen[0] as T
}

async function untilAsleep(server: Server, count = 1): Promise<void> {
  await stats(server as Server & Parked, { parked: count, awake: 0 })
}

describe('setTimeout() of a socket', () => {
  test.each<[string, (socket: Socket, onTimeout: () => void) => void]>([
    ['with a callback', (socket, onTimeout) => socket.setTimeout(TIMEOUT, onTimeout)],
    ['with a listener', (socket, onTimeout) => socket.setTimeout(TIMEOUT).on('timeout', onTimeout)],
    ['with a listener before', (socket, onTimeout) => socket.once('timeout', onTimeout).setTimeout(TIMEOUT)],
    ['at the first bytes', (socket, onTimeout) => socket.once('data', () => socket.setTimeout(TIMEOUT, onTimeout))],
    [
      'of the socket whose connection sleeps',
      (socket, onTimeout) => {
        setTimeout(() => socket.setTimeout(TIMEOUT, onTimeout), TIMEOUT)
      }
    ]
  ])('%s: the event comes, and the connection is closed by the listener', async (_, set) => {
    for (const act of ['destroy', 'end', 'destroySoon'] as const) {
      await same(async (make) => {
        let events = 0
        let set_ = false
        const server = await listening(
          make((socket) => {
            socket.on('error', () => {}).resume()
            if (set_ && _.includes('sleeps')) return
            set_ = true
            set(socket, () => {
              events++
              socket[act]()
            })
          })
        )
        const peer = await client(server)
        peer.write('x')
        return [await outcome(peer), events]
      })
    }
  })

  test('it comes no earlier than its time after the last byte, in either direction', async () => {
    await same(async (make) => {
      let last = 0
      let kept: Socket | undefined
      const waited: number[] = []
      const server = await listening(
        make((socket) => {
          kept ??= socket
          socket.on('error', () => {}).on('data', () => socket.write('y'))
          socket.setTimeout(TIMEOUT, () => {
            waited.push(performance.now() - last)
            socket.destroy()
          })
        })
      )
      const peer = await client(server)
      const over = outcome(peer)
      for (let i = 0; i < 3; i++) {
        last = performance.now()
        peer.write('x')
        await new Promise((resolve) => setTimeout(resolve, TIMEOUT / 2))
      }
      // Bytes to a connection that sleeps, too.
      last = performance.now()
      kept?.write('z')
      const { received } = await over
      // A timer of Node may be 1 ms early.
      expect(waited.map((time) => time >= TIMEOUT - 2)).toEqual([true])
      return received
    })
  })

  test('without a listener, nothing happens', async () => {
    await same(async (make, parks) => {
      const server = await listening(
        make((socket) => void socket.setTimeout(20).on('data', (data) => socket.write(data)))
      )
      const peer = await client(server)
      peer.write('a')
      await readExactly(peer, 1)
      if (parks) await untilAsleep(server)
      await new Promise((resolve) => setTimeout(resolve, 60))
      peer.write('b')
      return `${await readExactly(peer, 1)}`
    })
  })

  test('a listener that does nothing is called once, and the connection goes on', async () => {
    await same(async (make) => {
      let events = 0
      const server = await listening(
        make((socket) => void socket.setTimeout(20, () => events++).on('data', (data) => socket.write(data)))
      )
      const peer = await client(server)
      peer.write('a')
      await readExactly(peer, 1)
      await eventually(() => expect(events).toBe(1))
      await new Promise((resolve) => setTimeout(resolve, 80))
      peer.write('b')
      return [`${await readExactly(peer, 1)}`, events]
    })
  })

  test.each([0, 10_000])('setTimeout(%i) of a socket whose connection sleeps takes an earlier one back', async (ms) => {
    await same(async (make, parks) => {
      let kept: Socket | undefined
      let events = 0
      const server = await listening(
        make((socket) => {
          kept ??= socket
          socket.setTimeout(TIMEOUT).on('timeout', () => events++)
          socket.on('data', (data) => socket.write(data))
        })
      )
      const peer = await client(server)
      peer.write('a')
      await readExactly(peer, 1)
      if (parks) await untilAsleep(server)
      kept?.setTimeout(ms)
      await new Promise((resolve) => setTimeout(resolve, 2 * TIMEOUT))
      return [events, kept?.timeout]
    })
  })

  test.each([-1, Number.NaN, '5', undefined, {}])('setTimeout(%j) throws as with plain Node', async (ms) => {
    await same(async (make, parks) => {
      let kept: Socket | undefined
      const server = await listening(
        make((socket) => {
          kept ??= socket.resume()
        })
      )
      const peer = await client(server)
      peer.write('a')
      await eventually(() => expect(kept).toBeDefined())
      if (parks) await untilAsleep(server)
      try {
        kept?.setTimeout(ms as number)
        return 'taken'
      } catch (error) {
        return (error as NodeJS.ErrnoException).code
      }
    })
  })

  test('a client that never spoke: once the timeout is known from another connection', async () => {
    for (const [name, make] of MAKERS) {
      const server = await listening(
        make(
          (socket) =>
            void socket
              .on('error', () => {})
              .setTimeout(TIMEOUT, () => socket.destroy())
              .resume()
        )
      )
      const [early, speaks] = [await client(server), await client(server)]
      speaks.write('x')
      await quiet()
      const late = await client(server)
      for (const peer of [early, late, speaks]) expect(await outcome(peer), name).toMatchObject({ ended: true })
    }
  })

  test('clients that never spoke, and no client has: the listeners are called for one of them', async () => {
    const makers: typeof MAKERS = [
      ...MAKERS,
      ['park(net)', (listener, options = {}) => park(createPlain(options, listener))]
    ]
    for (const [name, make] of makers) {
      let calls = 0
      const server = await listening(
        make((socket) => {
          calls++
          socket
            .on('error', () => {})
            .setTimeout(TIMEOUT, () => socket.destroy())
            .resume()
        })
      )
      const start = performance.now()
      const peers = await Promise.all([1, 2, 3].map(() => client(server)))
      const ends = peers.map(async (peer) => [await outcome(peer), performance.now() - start >= TIMEOUT - 2])
      expect(await Promise.all(ends), name).toEqual(peers.map(() => [expect.objectContaining({ ended: true }), true]))
      // The same client is not woken for its timeout after it was woken for its listeners, unless it was parked again.
      expect(calls, name).toBeLessThanOrEqual(4)
    }
  })

  test('clients that never spoke, of listeners that set no timeout: one of them is seen, and all stay', async () => {
    const seen: number[] = []
    const server = await listening(createServer({ idle: IDLE }, (_, { wakes }) => void seen.push(wakes)))
    const peers = [await client(server), await client(server)]
    await eventually(() => expect(seen).toEqual([1]))
    peers.push(await client(server))
    await untilAsleep(server, 3)
    await new Promise((resolve) => setTimeout(resolve, ASKED))
    expect(seen).toEqual([1])
    expect(server.stats()).toMatchObject({ parked: 3, awake: 0, woken: 1 })
    for (const peer of peers) peer.write('x')
    await eventually(() => expect(seen).toEqual(expect.arrayContaining([1, 2, 1, 1])))
  })

  test('clients that never spoke, if the first one is gone before the listeners are called for it', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => void socket.setTimeout(TIMEOUT, () => socket.destroy()).resume())
    )
    const first = await client(server)
    const second = await client(server)
    await stats(server, { parked: 2 })
    first.destroy()
    expect(await outcome(second)).toMatchObject({ ended: true })
    const third = await client(server)
    expect(await outcome(third)).toMatchObject({ ended: true })
  })

  test.each<[string, ParkOptions]>([
    ['firstByteTimeout: false', { firstByteTimeout: false }],
    ['a firstByteTimeout', { firstByteTimeout: '1h' }]
  ])('clients that never spoke, with %s: the listeners are never called for them', async (_, options) => {
    let calls = 0
    const server = await listening(
      createServer({ idle: IDLE, ...options }, (socket) => {
        calls++
        socket.setTimeout(20, () => socket.destroy()).resume()
      })
    )
    await client(server)
    await new Promise((resolve) => setTimeout(resolve, ASKED))
    expect(server.stats()).toMatchObject({ parked: 1, woken: 0 })
    expect(calls).toBe(0)
  })

  test('clients of HTTP that never spoke, and no client has: close() does not wait for the one that was seen', async () => {
    let calls = 0
    const server = await listening(
      park(
        http.createServer((_, response) => response.end('x')).on('connection', () => calls++),
        { idle: IDLE }
      )
    )
    const peers = [await client(server), await client(server)]
    await eventually(() => expect(calls).toBe(1))
    await untilAsleep(server, 2)
    const closed = new Promise((resolve) => server.close(resolve))
    for (const peer of peers) expect(await outcome(peer)).toEqual({ received: '', ended: true, reset: false })
    await closed
    expect(calls).toBe(1)
  })

  test('clients of HTTP that never spoke, and no client has: headersTimeout, and a timeout of the listeners', async () => {
    for (const timeout of [0, TIMEOUT]) {
      const server = await listening(
        park(
          http.createServer({ headersTimeout: 2 * ASKED, requestTimeout: 0 }).on('connection', (socket) => {
            if (timeout > 0) socket.setTimeout(timeout, () => socket.destroy())
          }),
          { idle: IDLE }
        )
      )
      const ends = [await client(server), await client(server)].map(outcome)
      for (const end of ends) {
        expect((await end).received).toMatch(timeout === 0 ? /^HTTP\/1.1 408 / : /^$/)
      }
    }
  })

  test('a listener that throws is called for one silent client, and not for the next ones', async () => {
    const child = new Child(`
      import { createServer } from 'ebb/net'
      import { connect } from 'node:net'
      import { setTimeout as wait } from 'node:timers/promises'
      let errors = 0
      process.on('uncaughtException', () => errors++)
      const server = createServer(() => { throw new Error('no') }).listen(0, async () => {
        for (let i = 0; i < 3; i++) connect(server.address().port)
        await wait(${2 * ASKED})
        console.log(JSON.stringify(errors))
        process.exit()
      })
    `)
    expect(await child.next()).toBe(1)
  })

  test('a listener that does not set the timeout again: the connection is closed', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket, { wakes }) => {
        if (wakes === 1) socket.setTimeout(TIMEOUT, () => socket.destroy())
        socket.resume()
      })
    )
    const peer = await client(server)
    peer.write('x')
    expect(await outcome(peer)).toMatchObject({ ended: true, reset: false })
  })

  test('of a thousand connections: no timer for each', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => void socket.setTimeout(60_000, () => socket.destroy()).resume())
    )
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const peers = await Promise.all(Array.from({ length: 1000 }, () => client(server)))
    for (const peer of peers) peer.write('x')
    await stats(server, { parked: 1000, awake: 0 })
    expect(timers()).toBeLessThan(20)
  })
})

describe('firstByteTimeout', () => {
  test('of ebb/net and park(): a silent client is closed, one that spoke is not', async () => {
    for (const make of [
      (listener: Listener) => createServer({ idle: IDLE, firstByteTimeout: '100ms' }, listener),
      (listener: Listener) => park(createPlain(listener), { firstByteTimeout: 100 })
    ]) {
      let calls = 0
      const server = await listening(
        make((socket) => {
          calls++
          socket.on('error', () => {}).on('data', (data) => socket.write(data))
        })
      )
      const [silent, speaks] = [await client(server), await client(server)]
      speaks.write('a')
      expect(await outcome(silent)).toEqual({ received: '', ended: true, reset: false })
      expect(server.stats().closed.timeout).toBe(1)
      await quiet()
      await readExactly(speaks, 1)
      speaks.write('b')
      expect(`${await readExactly(speaks, 1)}`).toBe('b')
      expect(calls).toBeLessThanOrEqual(2)
    }
  })

  test('of listen(): a silent client is closed, one that spoke is not', async () => {
    const closed: unknown[] = []
    const server = listen(
      { port: 0, host: '127.0.0.1', firstByteTimeout: 100 },
      { data: (connection, bytes) => connection.write(bytes), close: (_, error) => closed.push(error) }
    )
    onTestFinished(async () => {
      server.closeConnections()
      await server.close()
    })
    const [silent, speaks] = (await dial(server.address, 2)) as [Socket, Socket]
    speaks.write('a')
    expect(`${await readExactly(speaks, 1)}`).toBe('a')
    silent.resume().on('end', () => silent.end())
    await gone(silent)
    expect(closed).toEqual([undefined])
    speaks.write('b')
    expect(`${await readExactly(speaks, 1)}`).toBe('b')
    expect(server.clients).toBe(1)
  })

  test('bytes that came in time are served, though the event loop was busy', async () => {
    const spin = (): void => {
      const end = performance.now() + 400
      while (performance.now() < end);
    }
    const parked = await listening(
      park(
        createPlain((socket) => void socket.end('served')),
        { firstByteTimeout: 100 }
      )
    )
    const first = await client(parked)
    await stats(parked, { parked: 1 })
    first.write('x')
    spin()
    expect((await outcome(first)).received).toBe('served')

    const bare = listen(
      { port: 0, host: '127.0.0.1', firstByteTimeout: 100 },
      { data: (connection) => void connection.end() }
    )
    onTestFinished(async () => {
      bare.closeConnections()
      await bare.close()
    })
    const [second] = (await dial(bare.address, 1)) as [Socket]
    await eventually(() => expect(bare.clients).toBe(1))
    second.write('x')
    spin()
    const { ended, reset } = await outcome(second)
    expect([ended, reset]).toEqual([true, false])
  })

  test.each<[string, () => unknown]>([
    ['http', () => park(http.createServer(), { firstByteTimeout: 5 })],
    ["first: 'server'", () => createServer({ first: 'server', firstByteTimeout: 5 })],
    ['0', () => createServer({ firstByteTimeout: 0 })],
    ['text', () => createServer({ firstByteTimeout: 'soon' })],
    ['listen(), -1', () => listen({ port: 0, firstByteTimeout: -1 })]
  ])('%s: refused', (_, make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  })
})

describe('timeouts of an http2.Server', () => {
  test.each([false, true])('setTimeout(), with a listener: %s', async (listens) => {
    for (const parks of [false, true]) {
      const events: string[] = []
      const plain = http2.createServer()
      plain.setTimeout(TIMEOUT)
      if (listens) {
        plain.on('timeout', (session: unknown) => {
          events.push((session as object).constructor.name)
          ;(session as { destroy(): void }).destroy()
        })
      }
      const server = await listening((parks ? park(plain) : plain) as unknown as Server)
      const peer = await client(server)
      expect(await outcome(peer)).toMatchObject({ ended: true })
      expect(events).toEqual(listens ? ['ServerHttp2Session'] : [])
    }
  })
})

describe('sockets of an http.Server', () => {
  test.each(['connection', 'request'])("setTimeout() of the socket in a listener of '%s'", async (event) => {
    for (const parks of [false, true]) {
      let events = 0
      const plain = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
        if (event === 'request') request.socket.setTimeout(TIMEOUT, () => events++)
        response.end('x')
      })
      if (event === 'connection') plain.on('connection', (socket: Socket) => socket.setTimeout(TIMEOUT, () => events++))
      const server = await listening(parks ? park(plain, { idle: IDLE }) : plain)
      const peer = await client(server)
      peer.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      expect((await outcome(peer)).received).toMatch(/x$/)
      expect(events).toBe(1)
    }
  })

  test("a client that never spoke, and a listener of 'connection' that sets a timeout", async () => {
    for (const parks of [false, true]) {
      const plain = http.createServer((_request, response) => void response.end('x'))
      plain.on('connection', (socket: Socket) => socket.setTimeout(TIMEOUT))
      plain.on('connection', (socket: Socket) => socket.on('timeout', () => socket.destroy()))
      const server = await listening(parks ? park(plain, { idle: IDLE }) : plain)
      const [silent, speaks] = [await client(server), await client(server)]
      speaks.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      expect(await outcome(silent)).toMatchObject({ received: '', ended: true })
      speaks.destroy()
    }
  })
})

describe('options of the kernel', () => {
  function kernelOption(socket: Socket, level: number, name: number): number {
    const value = new Int32Array(1)
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
    const length = new Uint32Array([4])
    libc.check(libc.getsockopt(fd, level, name, libc.addressOf(value), libc.addressOf(length)), 'getsockopt')
    return value[0] as number
  }

  const read = (socket: Socket): number[] => [
    kernelOption(socket, libc.IPPROTO_TCP, libc.TCP_NODELAY),
    kernelOption(socket, libc.SOL_SOCKET, libc.SO_KEEPALIVE)
  ]

  test.each<[string, ServerOpts, ((socket: Socket) => void)[]]>([
    [
      'set before the sleep, taken back after it',
      {},
      [
        (socket) => socket.setNoDelay().setKeepAlive(true, 5000),
        (socket) => socket.setNoDelay(false).setKeepAlive(false)
      ]
    ],
    [
      'taken back before the sleep, set after it',
      { noDelay: true, keepAlive: true },
      [(socket) => socket.setNoDelay(false).setKeepAlive(false), (socket) => socket.setNoDelay(true).setKeepAlive(true)]
    ],
    ['of the server', { noDelay: true, keepAlive: true }, []]
  ])('%s', async (_, options, steps) => {
    await same(async (make, parks) => {
      const seen: number[][] = []
      let calls = 0
      const server = await listening(
        make((socket) => {
          const step = (): void => {
            steps[calls++]?.(socket)
            seen.push(read(socket))
          }
          // Plain Node has one socket for all.
          if (parks) step()
          socket.on('data', (data) => {
            if (!parks) step()
            socket.write(data)
          })
        }, options)
      )
      const peer = await client(server)
      for (let i = 0; i < 3; i++) {
        peer.write('x')
        await readExactly(peer, 1)
        if (parks) await untilAsleep(server)
      }
      return seen
    })
  })

  test('setNoDelay() and setKeepAlive() of a socket whose connection sleeps', async () => {
    await same(async (make, parks) => {
      const sockets: Socket[] = []
      const seen: number[][] = []
      const server = await listening(
        make((socket) => {
          sockets.push(socket)
          socket.on('data', (data) => {
            seen.push(read(socket))
            socket.write(data)
          })
        })
      )
      const peer = await client(server)
      for (const on of [true, false, true]) {
        peer.write('x')
        await readExactly(peer, 1)
        if (parks) await untilAsleep(server)
        sockets.at(0)?.setNoDelay(on).setKeepAlive(on, 5000)
      }
      peer.write('x')
      await readExactly(peer, 1)
      return seen
    })
  })
})

describe('unref() and ref(): the process exits as with plain Node', () => {
  /** A server whose only client stays connected in another process. */
  const source = (server: string, setUp: string) => `
    import { spawn } from 'node:child_process'
    import http from 'node:http'
    import net from 'node:net'
    import { park } from 'ebb'
    import { createServer } from 'ebb/net'
    const server = ${server}
    ${setUp}
    server.listen(0, '127.0.0.1', () => {
      const source = \`
        const peer = require('net').connect(\${server.address().port}, '127.0.0.1', () => peer.write('GET / HTTP/1.1\\\\r\\\\nHost: x\\\\r\\\\n\\\\r\\\\n'))
        peer.resume().on('close', () => process.exit()).on('error', () => {})
        setTimeout(() => process.exit(), 20_000)\`
      spawn(process.execPath, ['-e', source], { stdio: 'ignore' }).unref()
    })
    let kept
    const start = performance.now()
    const asleep = async () => {
      while (kept === undefined) await new Promise((resolve) => setTimeout(resolve, 10))
      while (server.stats !== undefined && server.stats().parked === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    }
    process.on('exit', () => console.log(JSON.stringify(performance.now() - start > 15_000 ? 'late' : 'at once')))`

  const servers: [string, string, string][] = [
    ['http', 'http.createServer({ keepAliveTimeout: 60_000 }, (q, r) => r.end())', 'idle: 20'],
    ['net', 'net.createServer((socket) => socket.resume())', 'idle: 20']
  ]
  const cases: [string, string][] = [
    ['server and sockets', "server.on('connection', (socket) => { kept ??= socket; socket.unref(); server.unref() })"],
    [
      'a socket whose connection sleeps',
      "server.on('connection', (socket) => { kept ??= socket; server.unref() }); setTimeout(async () => { await asleep(); kept.unref() })"
    ],
    [
      'a closed server',
      "server.on('connection', (socket) => { kept ??= socket; socket.unref(); setTimeout(async () => { await asleep(); server.close() }) })"
    ]
  ]
  test.each(
    servers.flatMap((server) => cases.map((one): [string, string, string, string, string] => [...server, ...one]))
  )('%s: %s', async (_name, create, options, _what, setUp) => {
    for (const server of [create, `park(${create}, { ${options} })`]) {
      const child = new Child(source(server, setUp))
      expect(await child.next()).toBe('at once')
      expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
    }
  })

  test('ref() again: the connection keeps the process running until it closes', async () => {
    const child = new Child(`
      import net from 'node:net'
      import { createServer } from 'ebb/net'
      let kept
      const server = createServer({ idle: 20 }, (socket) => { kept = socket.resume(); socket.unref(); server.unref() })
      server.listen(0, '127.0.0.1', () => console.log(server.address().port))
      const timer = setInterval(() => {
        if (kept === undefined || server.stats().parked === 0) return
        clearInterval(timer)
        kept.ref()
        console.log(JSON.stringify('asleep'))
      }, 10)`)
    const port = await child.next<number>()
    const { connect } = await import('node:net')
    const peer = connect(port, '127.0.0.1')
    peer.write('x')
    expect(await child.next()).toBe('asleep')
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(child.process.exitCode).toBe(null)
    peer.destroy()
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })
})

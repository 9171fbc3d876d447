/**
 * `listen()` of a parked TCP server: every form, its errors, and what it leaves behind, the same as with plain Node.
 */
import { closeSync, existsSync, openSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer as createPlain, type Server, Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { type Connection, createServer } from 'ebb/net'
import { libc, SocketAddress } from 'ebb/sys'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child } from '../support/child.js'
import {
  addressOf,
  client,
  clients,
  closed,
  descriptorsReturn,
  eventually,
  expectSame,
  getConnections,
  type Kind,
  listening,
  outcome,
  PARKED,
  PLAIN,
  stats
} from '../support/net-parity.js'
import { directory, freePort, gone, quiet, readExactly, until } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 5
const hasIPv6 = Object.values(networkInterfaces()).some((infos) => infos?.some(({ address }) => address === '::1'))

const echo = (socket: Socket): void => {
  socket.on('error', () => {})
  socket.on('data', (bytes) => socket.write(bytes))
}

async function expectEcho(peer: Socket, text = 'hello'): Promise<void> {
  peer.write(text)
  expect(`${await readExactly(peer, text.length)}`).toBe(text)
}

/** The result of `listen(...)`: the error that it throws, or the events until the server listens or fails. */
async function attempt(kind: Kind, listen: (server: Server) => Server): Promise<unknown[]> {
  const seen: unknown[] = []
  const say = (error: unknown): object => {
    const { name, code, message, errno, syscall, address, port } = error as NodeJS.ErrnoException & {
      [key: string]: unknown
    }
    return { name, code, message, errno, syscall, address, port }
  }
  const server = kind.create({}, echo)
  for (const event of ['listening', 'close']) server.on(event, () => seen.push(event))
  server.on('error', (error) => seen.push(say(error)))
  try {
    seen.push(listen(server) === server)
  } catch (error) {
    return [...seen, 'thrown', say(error), server.listening]
  }
  await eventually(() => expect(seen.length).toBeGreaterThan(1))
  const address = server.address()
  seen.push(server.listening)
  if (server.listening) {
    seen.push(
      typeof address === 'string' || address === null ? address : [address.address, address.family, address.port > 0]
    )
    const peer = connect(
      typeof address === 'string'
        ? { path: address }
        : { port: (address as { port: number }).port, host: loopback(address) }
    )
    await expectEcho(peer)
    peer.end()
    await new Promise((resolve) => server.close(resolve))
    seen.push(server.listening)
  }
  return seen
}

function loopback(address: unknown): string {
  const { family } = address as { family: string }
  return family === 'IPv6' ? '::1' : '127.0.0.1'
}

describe('listen()', () => {
  const forms: [string, (server: Server, port: number) => Server][] = [
    ['()', (server) => server.listen()],
    ['(port)', (server, port) => server.listen(port)],
    ["('port')", (server, port) => server.listen(`${port}`)],
    ['(0)', (server) => server.listen(0)],
    ['(port, host)', (server, port) => server.listen(port, '127.0.0.1')],
    ['(port, name)', (server, port) => server.listen(port, 'localhost')],
    ['(port, backlog)', (server, port) => server.listen(port, 10)],
    ['(port, host, backlog)', (server, port) => server.listen(port, '127.0.0.1', 10)],
    ['(port, undefined, undefined, callback)', (server, port) => server.listen(port, undefined, undefined, () => {})],
    ['(null)', (server) => server.listen(null as unknown as number)],
    ['(undefined)', (server) => server.listen(undefined)],
    ['({ port })', (server, port) => server.listen({ port })],
    ['({ port, host })', (server, port) => server.listen({ port, host: '127.0.0.1' })],
    ['({ port, host, exclusive })', (server, port) => server.listen({ port, host: '127.0.0.1', exclusive: true })],
    ['({ port: 0, host, backlog })', (server) => server.listen({ port: 0, host: '127.0.0.1', backlog: 1 })],
    [
      '({ port, ipv6Only })',
      (server, port) => server.listen({ port, host: hasIPv6 ? '::' : '127.0.0.1', ipv6Only: hasIPv6 })
    ],
    // Arguments that are not valid.
    ['({})', (server) => server.listen({})],
    ['(true)', (server) => server.listen(true as unknown as number)],
    ['({ port: 65536 })', (server) => server.listen({ port: 65_536 })],
    ['(-1)', (server) => server.listen(-1)],
    ['({ port: text })', (server) => server.listen({ port: 'text' as unknown as number })],
    ['(1.5)', (server) => server.listen(1.5)],
    ["({ host: '127.0.0.1' })", (server) => server.listen({ host: '127.0.0.1' })],
    ['({ signal: no signal })', (server) => server.listen({ port: 0, signal: 'no' as unknown as AbortSignal })],
    ['(port, an address of another machine)', (server) => server.listen(9, '192.0.2.1')],
    ['({ fd: one that is not open })', (server) => server.listen({ fd: 987_654 })],
    ['(a path in no directory)', (server) => server.listen('/nonexistent/ebb/test.sock')]
  ]
  test.each(forms)('%s', async (_, listen) => {
    const port = await freePort()
    await expectSame((kind) => attempt(kind, (server) => listen(server, port)))
  })

  test('a port in use, by plain Node or by a parked server', async () => {
    for (const other of [PLAIN, ...PARKED.slice(0, 1)]) {
      const taken = await listening(other.create({}))
      const { port } = addressOf(taken) as { port: number }
      const seen = await expectSame((kind) => attempt(kind, (server) => server.listen(port, '127.0.0.1')))
      expect(seen).toContainEqual(expect.objectContaining({ code: 'EADDRINUSE', port }))
      const again = await expectSame((kind) =>
        attempt(kind, (server) => server.listen({ port, host: '127.0.0.1', exclusive: true }))
      )
      expect(again).toEqual(seen)
    }
  })

  test('the next port, after one in use', async () => {
    await expectSame(async (kind) => {
      const taken = await listening(PLAIN.create({}))
      const { port } = addressOf(taken) as { port: number }
      const server = kind.create({}, echo)
      const code = await new Promise((resolve) => {
        server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
        server.listen(port, '127.0.0.1')
      })
      await listening(server)
      await expectEcho(await client(server))
      return code
    })
  })

  test('called twice: the error of plain Node', async () => {
    await expectSame(async (kind) => {
      const server = await listening(kind.create({}, echo))
      let said: unknown
      try {
        server.listen(0)
      } catch (error) {
        said = [(error as NodeJS.ErrnoException).code, (error as Error).message]
      }
      await expectEcho(await client(server))
      return said
    })
  })

  test('again, after close()', async () => {
    await expectSame(async (kind) => {
      const events: string[] = []
      const server = kind.create({}, echo)
      for (const event of ['listening', 'close']) server.on(event, () => events.push(event))
      const port = await freePort()
      for (let i = 0; i < 3; i++) {
        await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
        const peer = connect(port, '127.0.0.1')
        await expectEcho(peer)
        peer.end()
        await new Promise((resolve) => server.close(resolve))
      }
      return events
    })
  })

  test('with a signal', async () => {
    await expectSame(async (kind) => {
      const events: string[] = []
      const aborter = new AbortController()
      const server = kind.create({}, echo)
      server.on('close', () => events.push('close'))
      await new Promise<void>((resolve) =>
        server.listen({ port: 0, host: '127.0.0.1', signal: aborter.signal }, resolve)
      )
      const { port } = server.address() as { port: number }
      const peer = connect(port, '127.0.0.1')
      await expectEcho(peer)
      aborter.abort()
      events.push(`listening ${server.listening}`)
      await expectEcho(peer)
      peer.end()
      await eventually(() => expect(events).toContain('close'))
      const late = kind.create({})
      late.on('close', () => events.push('late close'))
      late.on('listening', () => events.push('late listening'))
      late.listen({ port: 0, host: '127.0.0.1', signal: AbortSignal.abort() })
      await eventually(() => expect(events).toContain('late close'))
      return events
    })
  })

  test('on the handle of another server', async () => {
    await expectSame(async (kind) => {
      const other = createPlain()
      await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
      const { port } = other.address() as { port: number }
      const server = kind.create({}, echo)
      await new Promise<void>((resolve) => server.listen(other, resolve))
      const address = server.address() as { port: number }
      const peer = connect(port, '127.0.0.1')
      await expectEcho(peer)
      peer.end()
      await new Promise((resolve) => server.close(resolve))
      return [address.port === port, server.listening]
    })
  })

  test('on a bound descriptor', async () => {
    await expectSame(async (kind) => {
      const fd = libc.check(libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_CLOEXEC, 0), 'socket')
      const address = new SocketAddress({ host: '127.0.0.1', port: 0 })
      libc.check(libc.bindAddress(fd, address.pointer, address.length), 'bind')
      const server = await listening(kind.create({}, echo), { fd })
      await expectEcho(await client(server))
      const { port: _, ...rest } = server.address() as { port: number }
      await closed(server)
      return [rest, existsSync(`/proc/self/fd/${fd}`)]
    })
  })

  test('on a descriptor from systemd: number 3', async () => {
    const listening_ = createPlain()
    await new Promise<void>((resolve) => listening_.listen(0, '127.0.0.1', resolve))
    const { port } = listening_.address() as { port: number }
    const { fd } = (listening_ as unknown as { _handle: { fd: number } })._handle
    const { spawn } = await import('node:child_process')
    const { ROOT } = await import('../support/cli.js')
    const child = spawn(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        `import { createServer } from 'ebb/net'
        createServer({ idle: ${IDLE} }, (socket) => {
          socket.on('error', () => {})
          socket.on('data', (bytes) => socket.write(bytes))
        }).listen({ fd: 3 }, () => console.log('listens'))`
      ],
      { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit', fd] }
    )
    onTestFinished(() => void child.kill('SIGKILL'))
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    // This process closes its descriptor: the other process has its own.
    await new Promise((resolve) => listening_.close(resolve))
    const peer = connect(port, '127.0.0.1')
    for (let i = 0; i < 3; i++) {
      await expectEcho(peer)
      await quiet()
    }
    peer.destroy()
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
  })

  test('asyncDispose', async () => {
    const disposable = Symbol.for('nodejs.asyncDispose')
    const symbol: symbol = (Symbol as { asyncDispose?: symbol }).asyncDispose ?? disposable
    await expectSame(async (kind) => {
      const server = kind.create({}) as unknown as Server & Record<symbol, () => Promise<void>>
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      await server[symbol]?.()
      return [server.listening, typeof server[symbol]]
    })
  })
})

describe('a Unix path', () => {
  test('the file exists while the server listens', async () => {
    await expectSame(async (kind) => {
      const path = join(directory(), 'é.sock')
      const server = await listening(kind.create({}, echo), { path })
      const seen = [server.address() === path, existsSync(path), statSync(path).isSocket()]
      await expectEcho(await client(server))
      await closed(server)
      return [...seen, existsSync(path)]
    })
  })

  test.each<[string, object]>([
    ['as it is', {}],
    ['readableAll', { readableAll: true }],
    ['writableAll', { writableAll: true }],
    ['both', { readableAll: true, writableAll: true }]
  ])('who may connect: %s', async (_, options) => {
    await expectSame(async (kind) => {
      const path = join(directory(), 'there')
      const server = kind.create({}, echo)
      await new Promise<void>((resolve) => server.listen({ path, ...options }, resolve))
      const { mode } = statSync(path)
      await new Promise((resolve) => server.close(resolve))
      return (mode & 0o777).toString(8)
    })
  })

  test.each(['a file', 'a socket'])('where %s exists: the error of plain Node, and the file stays', async (what) => {
    const path = join(directory(), 'there')
    if (what === 'a file') writeFileSync(path, 'mine')
    else await listening(createPlain(), { path })
    const seen = await expectSame((kind) => attempt(kind, (server) => server.listen(path)))
    expect(seen).toContainEqual(expect.objectContaining({ code: 'EADDRINUSE', address: path }))
    expect(existsSync(path)).toBe(true)
  })

  test('an abstract name', async () => {
    await expectSame(async (kind) => {
      const path = `\0ebb net ${process.pid}`
      const server = await listening(kind.create({}, echo), { path })
      const address = server.address()
      const peer = connect({ path })
      await expectEcho(peer)
      peer.destroy()
      await closed(server)
      return address
    })
  })

  test.each<[string, (name: string) => string]>([
    ['at the limit', (name) => name.padEnd(107, 'x')],
    ['over the limit by one byte', (name) => name.padEnd(108, 'x')],
    ['over the limit by far', (name) => name.padEnd(250, 'x')],
    ['over the limit in bytes, not in characters', (name) => name + 'ü'.repeat(45)],
    ['abstract, at the limit', (name) => `\0${name}`.padEnd(107, 'x')],
    ['abstract, over the limit', (name) => `\0${name}`.padEnd(109, 'x')]
  ])('as long as Node takes it: %s', async (_, path) => {
    await expectSame(async (kind) => {
      const home = directory()
      const name = path(`${home}/`)
      const result = await attempt(kind, (server) => server.listen(name))
      return [JSON.stringify(result).replaceAll(home, 'home'), readdirSync(home)]
    })
  })

  test('connections are parked, woken, written to and closed as over TCP', async () => {
    const path = join(directory(), 'there')
    const woken: Connection[] = []
    const causes: string[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, connection) => {
        woken.push(connection)
        echo(socket)
      }),
      { path }
    )
    server.on('disconnect', (_: Connection, cause: string) => void causes.push(cause))
    const peers = await clients(server, 10)
    await stats(server, { parked: 10 })
    expect(await getConnections(server)).toBe(10)
    for (let round = 1; round <= 3; round++) {
      for (const peer of peers) await expectEcho(peer)
      await stats(server, { parked: 10, awake: 0, woken: 10 * round })
    }
    expect(await server.broadcast('to all')).toBe(10)
    for (const peer of peers) expect(`${await readExactly(peer, 6)}`).toBe('to all')
    const { id } = woken[0] as Connection
    const first = peers[0] as Socket
    expect(server.send(id, 'to one')).toBe(true)
    await eventually(async () => expect(`${await readExactly(first, 6)}`).toBe('to one'))
    // More than the kernel takes.
    const big = Buffer.alloc(5e6, 'x')
    expect(server.send(id, big)).toBe(true)
    expect((await readExactly(first, 5e6)).equals(big)).toBe(true)
    await stats(server, { parked: 10, awake: 0 })
    first.end()
    // The client closes with unread bytes, so the kernel sends a RST.
    server.send((woken[1] as Connection).id, 'unread')
    await quiet()
    for (const peer of peers.slice(1)) peer.destroy()
    await stats(server, { parked: 0, awake: 0 })
    expect(causes).toHaveLength(10)
  })

  test('with the FIN right after the last data', async () => {
    const path = join(directory(), 'there')
    const server = await listening(createServer({ idle: IDLE }, echo), { path })
    const peer = await client(server)
    await expectEcho(peer)
    await stats(server, { parked: 1 })
    peer.end('last words')
    expect(await outcome(peer)).toEqual({ received: 'last words', ended: true, reset: false })
  })
})

describe.runIf(hasIPv6)('IPv6', () => {
  test('::1', async () => {
    const server = await listening(createServer({ idle: IDLE }, echo), { host: '::1', port: 0 })
    expect(server.address()).toMatchObject({ address: '::1', family: 'IPv6' })
    const peer = await client(server)
    for (let wakes = 1; wakes <= 3; wakes++) {
      await expectEcho(peer)
      await stats(server, { parked: 1, parkedAgain: wakes })
    }
  })

  test('::, with and without IPv4: addresses of both sides', async () => {
    for (const ipv6Only of [false, true]) {
      await expectSame(
        async (kind) => {
          const seen: unknown[] = []
          const server = kind.create({}, (socket) => {
            seen.push([socket.remoteAddress, socket.remoteFamily, socket.localAddress])
            echo(socket)
          })
          await new Promise<void>((resolve) => server.listen({ port: 0, host: '::', ipv6Only }, resolve))
          const { port, ...address } = server.address() as { port: number }
          for (const host of ['::1', '127.0.0.1']) {
            const peer = connect(port, host)
            try {
              await expectEcho(peer)
            } catch (error) {
              seen.push((error as NodeJS.ErrnoException).code)
            }
            peer.destroy()
          }
          await new Promise((resolve) => server.close(resolve))
          return [address, seen]
        },
        PARKED.filter(({ again }) => !again)
      )
    }
  })
})

describe('ref() and unref()', () => {
  /** A process with a server, which must end by itself, or must not. It prints `up` when it listens. */
  const process_ = (create: string, then: string): Child =>
    new Child(`
      import net from 'node:net'
      import { createServer } from 'ebb/net'
      const listener = (socket) => { socket.on('error', () => {}); socket.on('data', (bytes) => socket.write(bytes)) }
      const server = ${create}
      server.listen(0, '127.0.0.1', () => {
        console.log(JSON.stringify(server.address().port))
        ${then}
      })`)
  const servers = [
    'net.createServer(listener)',
    `createServer({ idle: ${IDLE} }, listener)`,
    'createServer({ idle: false }, listener)'
  ]

  test.each(servers)('%s', async (create) => {
    // Ends at once.
    const unref = process_(create, 'server.unref()')
    await unref.next()
    expect(await unref.ended).toMatchObject({ code: 0 })
    const back = process_(create, 'server.unref(); server.unref(); server.ref(); server.ref()')
    const port = await back.next<number>()
    const peer = connect(port, '127.0.0.1')
    await expectEcho(peer)
    expect(back.process.exitCode).toBe(null)
    peer.destroy()
    back.process.kill()
    // A connection keeps the process running, parked or awake, until it closes.
    const held = process_(
      create,
      "server.unref(); process.stdin.once('data', () => {}).unref(); setTimeout(() => {}, 500)"
    )
    const holder = connect(await held.next<number>(), '127.0.0.1')
    await expectEcho(holder)
    for (let i = 0; i < 15; i++) await quiet()
    await expectEcho(holder)
    holder.destroy()
    expect(await held.ended).toMatchObject({ code: 0 })
    // close() with a parked connection.
    const closing = process_(create, "server.on('connection', () => setTimeout(() => server.close(), 50)); ")
    const last = connect(await closing.next<number>(), '127.0.0.1')
    await expectEcho(last)
    await quiet()
    await quiet()
    await expectEcho(last)
    last.end()
    expect(await closing.ended).toMatchObject({ code: 0 })
  })
})

test('a descriptor that is not a listening socket', async () => {
  await expectSame(
    async (kind) => {
      const fd = openSync('/dev/null', 'r')
      try {
        return await attempt(kind, (server) => server.listen({ fd }))
      } finally {
        try {
          closeSync(fd)
        } catch {
          // Node has taken the descriptor.
        }
      }
    },
    PARKED.slice(0, 1)
  )
})

test('two servers at one path, one after the other: the first does not remove the file of the second', async () => {
  const path = join(directory(), 'there')
  const server = createServer({ idle: IDLE }, echo)
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const peer = connect({ path })
  await expectEcho(peer)
  server.close()
  expect(existsSync(path)).toBe(false)
  const second = await listening(createServer({ idle: IDLE }, echo), { path })
  peer.destroy()
  await new Promise<void>((resolve) => (server.listening ? server.once('close', resolve) : resolve()))
  await until(() => server.stats().parked + server.stats().awake === 0)
  expect(existsSync(path)).toBe(true)
  const other = await client(second)
  await expectEcho(other)
  other.destroy()
  await gone(other)
})

describe('arguments that only JavaScript can pass', () => {
  const odd: [string, unknown[]][] = [
    ...[true, 5, {}, '', '5', ' ', null].map((path): [string, unknown[]] => [JSON.stringify({ path }), [{ path }]]),
    ...['0x10000', 'abc', -1, 1.5, '', ' ', true, null, {}, Number.NaN, 65_536].map((port): [string, unknown[]] => [
      JSON.stringify({ port }),
      [{ port }]
    ]),
    ['{ port: undefined }', [{ port: undefined }]],
    ...[[], '  ', '', 65_536, '65536', false].map((first): [string, unknown[]] => [JSON.stringify(first), [first]]),
    ['a symbol', [Symbol.iterator]],
    ['a bigint', [1n]],
    ...[5, '', true].map((host): [string, unknown[]] => [JSON.stringify({ port: 0, host }), [{ port: 0, host }]]),
    ...['x', -5, '7', true, null].map((backlog): [string, unknown[]] => [
      JSON.stringify({ port: 0, backlog }),
      [{ port: 0, host: '127.0.0.1', backlog }]
    ]),
    ['(0, backlog -5)', [0, '127.0.0.1', -5]],
    ['{ fd: null, port }', [{ fd: null, port: 0, host: '127.0.0.1' }]],
    ['{ fd: -1 }', [{ fd: -1 }]],
    ['{ handle: { port } }', [{ handle: { port: 0, host: '127.0.0.1' } }]],
    ['a server that does not listen', [createPlain()]],
    ['inherited options', [Object.create({ port: 0, host: '127.0.0.1' })]]
  ]
  test.each(odd)('%s', async (_, args) => {
    await expectSame((kind) =>
      attempt(kind, (server) => server.listen(...(args.map((arg) => copy(arg)) as [port: number])))
    )
  })

  /** Node changes the options that it is given. */
  function copy(value: unknown): unknown {
    const isPlain = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
    return isPlain ? { ...value } : value
  }

  test.each<[string, (path: string) => unknown[]]>([
    ['a missing descriptor', (path) => [{ path, fd: undefined }]],
    ['a descriptor that is none', (path) => [{ path, fd: -1 }]],
    ['a port that is none', (path) => [{ path, port: true }]],
    ['a missing port, which is port 0', (path) => [{ path, port: undefined, host: '127.0.0.1' }]],
    ['a handle that is none', (path) => [{ handle: { path } }]],
    ['a backlog that is none', (path) => [{ path, backlog: 'x' }]],
    ['a negative backlog', (path) => [{ path, backlog: -5 }]],
    ['a backlog in the arguments', (path) => [path, 3]],
    ['no signal', (path) => [{ path, signal: 'no' }]],
    ['a host that is none', (path) => [{ path, host: 5 }]]
  ])('a path with %s', async (_, args) => {
    const path = join(directory(), 'odd')
    await expectSame(async (kind) => [
      await attempt(kind, (server) => server.listen(...(args(path) as [path: string]))),
      existsSync(path)
    ])
  })

  test('a path that begins like a number', async () => {
    const before = process.cwd()
    process.chdir(directory())
    onTestFinished(() => process.chdir(before))
    await expectSame(async (kind) => [await attempt(kind, (server) => server.listen('-1')), existsSync('-1')])
  })

  test('a path with NUL inside', async () => {
    const path = join(directory(), 'odd')
    await expectSame(async (kind) => {
      const server = kind.create({}, echo)
      const seen = await new Promise((resolve) => {
        server.once('error', ({ code, message }: NodeJS.ErrnoException) => resolve([code, message]))
        server.listen({ path: `${path}\0b` }, () => resolve(server.address()))
      })
      const bound = existsSync(path)
      if (server.listening) {
        const peer = connect({ path })
        await expectEcho(peer)
        peer.end()
        await new Promise((resolve) => server.close(resolve))
      }
      return [seen, bound, existsSync(path)]
    })
  })
})

interface Handle {
  fd: number
  constructor: { name: string }
  hasRef(): boolean
  close(): void
  listen(backlog: number): number
}
const handleOf = (server: Server): Handle => (server as unknown as { _handle: Handle })._handle

describe('the handle', () => {
  test.each(['a port', 'a path'])('of %s looks like that of plain Node', async (where) => {
    await expectSame(async (kind) => {
      const path = join(directory(), 'there')
      const server = await listening(kind.create({}, echo), where === 'a path' ? { path } : undefined)
      const handle = handleOf(server)
      const { _getActiveHandles } = process as unknown as { _getActiveHandles: () => unknown[] }
      const seen = [handle.constructor.name, existsSync(`/proc/self/fd/${handle.fd}`), handle.hasRef()]
      seen.push(
        _getActiveHandles().includes(server),
        process.getActiveResourcesInfo().some((name) => /Server/.test(name))
      )
      server.unref()
      seen.push(handle.hasRef())
      server.ref()
      seen.push(handle.hasRef())
      await closed(server)
      handle.close()
      await quiet()
      return [...seen, handle.fd < 0]
    })
  })

  test('an onconnection of the program is called with the handle of each connection', async () => {
    const connections: unknown[] = []
    await expectSame(async (kind) => {
      const seen: unknown[] = []
      const server = await listening(
        kind.create({ noDelay: true }, (socket) => {
          seen.push('connection')
          echo(socket)
        })
      )
      server.on('connection', (...args: unknown[]) => connections.push(args[1]))
      const handle = handleOf(server) as Handle & { onconnection(error: unknown, client?: object): void }
      const { onconnection } = handle
      handle.onconnection = function (error, accepted) {
        seen.push(this === handle, error || 0, accepted?.constructor.name)
        onconnection.call(this, error, accepted)
      }
      const peers = [await client(server), await client(server)]
      for (const peer of peers) await expectEcho(peer)
      seen.push(await getConnections(server))
      // Back to Node's own.
      handle.onconnection = onconnection
      const last = await client(server)
      await expectEcho(last)
      for (const peer of [...peers, last]) peer.destroy()
      await eventually(async () => expect(await getConnections(server)).toBe(0))
      return seen
    })
    // Those of plain Node have none.
    const known = connections.filter((connection) => (connection as Connection | undefined)?.id)
    expect(known).toHaveLength(connections.length - 3)
  })

  test('an onconnection of the program that keeps the handle from Node: the server goes on', async () => {
    await expectSame(async (kind) => {
      const server = await listening(kind.create({}, echo))
      const handle = handleOf(server) as Handle & { onconnection(error: unknown, client?: { close(): void }): void }
      const { onconnection } = handle
      const kept: { close(): void }[] = []
      handle.onconnection = (_, accepted) => void kept.push(accepted as { close(): void })
      const peer = await client(server)
      await eventually(() => expect(kept).toHaveLength(1))
      const ended = outcome(peer)
      for (const each of kept) each.close()
      handle.onconnection = onconnection
      const next = await client(server)
      await expectEcho(next)
      return [(await ended).ended, await getConnections(server)]
    })
  })

  test('listeners of listening: none but those of the program', async () => {
    await expectSame(async (kind) => {
      const server = kind.create({}, echo)
      const seen = [server.listenerCount('listening')]
      await new Promise<void>((resolve) =>
        server.listen(0, '127.0.0.1', () => {
          seen.push(server.listenerCount('listening'))
          resolve()
        })
      )
      await new Promise((resolve) => server.close(resolve))
      return seen
    })
  })

  test('closed in the turn in which it listens, and again later: the next socket of the server is not', async () => {
    await expectSame(async (kind) => {
      const server = kind.create({}, echo)
      server.listen(0)
      const first = handleOf(server)
      server.close()
      await listening(server)
      first.close()
      await quiet()
      await expectEcho(await client(server))
      return server.listening
    })
  })
})

/** Says its name to the first byte, as a parked server that waits for its client does. */
const named =
  (name: string) =>
  (socket: Socket): void => {
    socket.on('error', () => {}).on('data', () => socket.end(name))
  }

/** Returns what the server at an address says; or why nothing answers. */
function answer(address: ReturnType<typeof addressOf>): Promise<string> {
  return new Promise((resolve) => {
    const peer = connect(address)
    peer.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? ''))
    peer.on('data', (bytes) => resolve(`${bytes}`)).on('close', () => resolve('closed'))
    peer.write('?')
  })
}

describe('another server', () => {
  const cases = ['server', 'handle', 'fd'].flatMap((form) =>
    ['a port', 'a path'].flatMap((where) =>
      ['plain', 'parked'].flatMap((second) =>
        ['the first', 'the second'].map((closes): [string, string, string, string] => [second, form, where, closes])
      )
    )
  )
  test.each(cases)('%s, listens on its %s (%s), and %s is closed first', async (second, form, where, closes) => {
    await expectSame(async (kind) => {
      const path = join(directory(), 'there')
      const one = await listening(kind.create({}, named('one')), where === 'a path' ? { path } : undefined)
      const address = addressOf(one)
      const handle = handleOf(one)
      const other = (second === 'plain' ? PLAIN : kind).create({}, named('other'))
      const target = { server: one, handle: { _handle: handle }, fd: { fd: handle.fd } }[form]
      const seen: unknown[] = []
      await new Promise<void>((resolve) => {
        other.once('error', ({ code, message }: NodeJS.ErrnoException) => resolve(void seen.push(code, message)))
        other.listen(target, resolve)
      })
      seen.push(one.listening, other.listening, handleOf(other) === handle, other.listening && other.address() !== null)
      seen.push(await Promise.all(Array.from({ length: 5 }, () => answer(address))))
      const [early, late] = closes === 'the first' ? [one, other] : [other, one]
      if (early.listening) await new Promise((resolve) => early.close(resolve))
      // Gets the number of the descriptor that was closed.
      const file = openSync('/dev/null', 'r')
      seen.push(await answer(address), one.listening, other.listening)
      if (late.listening) await new Promise((resolve) => late.close(resolve))
      await quiet()
      seen.push(existsSync(`/proc/self/fd/${file}`), existsSync(path))
      closeSync(file)
      return seen
    })
  })

  test('listens on its handle, and connections of the first go on', async () => {
    await expectSame(async (kind) => {
      const one = await listening(kind.create({}, echo))
      const before = await clients(one, 5)
      for (const peer of before) await expectEcho(peer)
      await quiet()
      const other = PLAIN.create({}, named('other'))
      await new Promise<void>((resolve) => other.listen(one, resolve))
      const seen = [await answer(addressOf(one))]
      for (const peer of before) await expectEcho(peer)
      await closed(one)
      return [...seen, one.listening, other.listening, await new Promise((resolve) => other.close(() => resolve(true)))]
    })
  })

  test('a socket on the descriptor of a parked server: the error of plain Node', async () => {
    await expectSame(async (kind) => {
      const server = await listening(kind.create({}, echo))
      let said: unknown
      try {
        new Socket({ fd: handleOf(server).fd })
      } catch (error) {
        said = (error as NodeJS.ErrnoException).code
      }
      await expectEcho(await client(server))
      return said
    })
  })
})

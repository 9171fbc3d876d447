/** The PROXY protocol in front of parked servers, and wrappers that speak it themselves. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { BlockList, connect, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { type AddressInfo, type EbbError, listen, type ParkOptions, park } from 'ebb'
import { createServer } from 'ebb/net'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { descriptorsReturn } from '../support/net-parity.js'
import { listening } from '../support/parked.js'
import { directory, gone, readAll, readExactly, until } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 25
const LINE = 'PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n'
const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n'

/** A header of version 2 for the client 2001:db8::7, port 1234, and the server 2001:db8::1, port 443. */
function binary(extension = 0): Buffer {
  const address = (last: number): string => `\x20\x01\x0d\xb8${'\0'.repeat(11)}${String.fromCharCode(last)}`
  const rest = Buffer.concat([
    Buffer.from(`${address(7)}${address(1)}\x04\xd2\x01\xbb`, 'latin1'),
    Buffer.alloc(extension)
  ])
  return Buffer.concat([
    Buffer.from(`${SIGNATURE}\x21\x21`, 'latin1'),
    Buffer.from([rest.length >> 8, rest.length & 255]),
    rest
  ])
}

/** What a socket says about both ends. */
function ends({ remoteAddress, remoteFamily, remotePort, localAddress, localPort }: Socket): string {
  return [remoteAddress, remoteFamily, remotePort, localAddress, localPort].join(' ')
}
const V4 = '192.0.2.7 IPv4 1234 198.51.100.1 80'
const V6 = '2001:db8::7 IPv6 1234 2001:db8::1 443'

/** Tells both ends of the connection of each request. */
const web = (options: ParkOptions) =>
  listening(
    park(
      http.createServer({ keepAliveTimeout: 600_000 }, (request, response) => response.end(ends(request.socket))),
      { idle: IDLE, proxyProtocol: true, ...options }
    )
  )

async function client(target: Server | AddressInfo | string): Promise<Socket> {
  const to = target instanceof Object && 'listening' in target ? (target.address() as AddressInfo) : target
  const socket = typeof to === 'string' ? connect(to) : connect((to as { port: number }).port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket.setNoDelay().on('error', () => {})
}

async function body(socket: Socket): Promise<string> {
  let head = ''
  while (!head.endsWith('\r\n\r\n')) head += await readExactly(socket, 1)
  return `${await readExactly(socket, Number(/content-length: (\d+)/i.exec(head)?.[1]))}`
}

/** Collects the codes of rejected connections. */
function failures(server: Server): string[] {
  const codes: string[] = []
  server.on('proxyError', (error: EbbError, peer: AddressInfo) =>
    codes.push(`${error.code} ${'address' in peer && peer.address}`)
  )
  return codes
}

test('no client has spoken: the listeners are asked for a timeout with a client whose header is complete', async () => {
  const seen: string[] = []
  const server = await listening(
    createServer({ idle: IDLE, proxyProtocol: true }, (socket) => {
      seen.push(ends(socket))
      socket.on('error', () => {}).setTimeout(150, () => socket.destroy())
    })
  )
  const [without, silent] = [await client(server), await client(server)]
  silent.write(LINE)
  await Promise.all([gone(silent.resume()), gone(without.resume())])
  // A connection without a header is closed at the same timeout, but nobody sees it.
  expect([...new Set(seen)]).toEqual([V4])
})

test('every socket of a connection has the addresses of the client', async () => {
  const server = await web({})
  for (const [header, expected] of [
    [LINE, V4],
    [binary(), V6],
    [binary(300), V6],
    [binary(65_535 - 36), V6]
  ] as const) {
    const socket = await client(server)
    socket.write(header)
    socket.write(GET)
    expect(await body(socket)).toBe(expected)
    for (let i = 0; i < 2; i++) {
      await until(() => server.stats().awake === 0)
      socket.write(GET)
      expect(await body(socket)).toBe(expected)
    }
    socket.destroy()
    await until(() => server.stats().parked + server.stats().awake === 0)
  }
  // The next connection in the same row has its own.
  const socket = await client(server)
  socket.write(`PROXY UNKNOWN\r\n${GET}`)
  expect(await body(socket)).toBe(ends(socket).replace(/(\S+) IPv4 (\S+) (\S+) (\S+)/, '$3 IPv4 $4 $1 $2'))
})

test('a header may be cut anywhere, and what follows it is not lost', async () => {
  const server = await listening(
    createServer({ idle: IDLE, proxyProtocol: true }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', (bytes) => socket.write(`${ends(socket)}|${bytes}|`))
    })
  )
  const seen = new Map<number, string>()
  const listener = listen(
    { port: 0, proxyProtocol: true },
    {
      open: (connection) => {
        const { address, port } = connection.remoteAddress as { address: string; port: number }
        seen.set(connection.id, `${address} ${port}`)
      },
      data: (connection, bytes) => connection.write(`${seen.get(connection.id)}|${bytes}|`)
    }
  )
  onTestFinished(() => {
    void listener.close()
    listener.closeConnections()
  })
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom([Buffer.from(LINE), V4], [binary(), V6], [binary(100), V6]),
      fc.array(fc.nat(1000), { maxLength: 4 }),
      async ([header, expected], cuts) => {
        const bytes = Buffer.concat([header as Buffer, Buffer.from('after')])
        const [short] = /^\S+/.exec(expected as string) as RegExpExecArray
        for (const [target, prefix] of [
          [server, expected],
          [listener.address, `${short} 1234`]
        ] as const) {
          const socket = await client(target)
          let at = 0
          for (const cut of [...cuts.map((cut) => cut % bytes.length), bytes.length].toSorted((a, b) => a - b)) {
            if (cut > at) await new Promise((resolve) => socket.write(bytes.subarray(at, cut), resolve))
            at = Math.max(at, cut)
            await new Promise((resolve) => setImmediate(resolve))
          }
          const all = `${await readUntil(socket, 'after'.length)}`
          // The bytes may have come in parts.
          expect(
            all
              .split('|')
              .filter((_, i) => i % 2 === 1)
              .join('')
          ).toBe('after')
          expect(new Set(all.split('|').filter((_, i) => i % 2 === 0))).toEqual(new Set([prefix, '']))
          socket.destroy()
        }
      }
    ),
    { numRuns: 40 }
  )
})

/** Reads until `count` bytes have come back between bars. */
async function readUntil(socket: Socket, count: number): Promise<string> {
  let text = ''
  while (
    text
      .split('|')
      .filter((_, i) => i % 2 === 1)
      .join('').length < count ||
    !text.endsWith('|')
  ) {
    text += await readExactly(socket, 1)
  }
  return text
}

test('TLS begins after the header', async () => {
  const folder = directory()
  spawnSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-subj',
      '/CN=x',
      '-keyout',
      'key.pem',
      '-out',
      'cert.pem'
    ],
    { cwd: folder }
  )
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => readFileSync(join(folder, name)))
  const server = await listening(
    park(
      https.createServer({ key, cert } as https.ServerOptions, (request, response) =>
        response.end(ends(request.socket))
      ),
      { proxyProtocol: true }
    )
  )
  const raw = await client(server)
  raw.write(LINE)
  const secure = connectTls({ socket: raw, rejectUnauthorized: false })
  await once(secure, 'secureConnect')
  secure.write(GET)
  expect(await body(secure)).toBe(V4)
})

test('HTTP/2 shows the addresses', async () => {
  const server = await listening(
    park(
      http2.createServer((request, response) => response.end(ends(request.stream.session?.socket as Socket))),
      { proxyProtocol: true }
    )
  )
  const raw = await client(server)
  raw.write(LINE)
  const session = http2.connect('http://x', { createConnection: () => raw })
  onTestFinished(() => session.destroy())
  const stream = session.request({ ':path': '/' })
  let text = ''
  stream.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  await once(stream, 'end')
  expect(text).toBe(V4)
})

test('the block list is asked for the client, too', async () => {
  const blockList = new BlockList()
  blockList.addAddress('192.0.2.7')
  const server = await listening(
    createServer({ blockList, proxyProtocol: true } as object, (socket) => socket.end('x'))
  )
  // Node 20 does not know the option, but ebb does.
  ;(server as unknown as { blockList: BlockList }).blockList = blockList
  const [blocked, other] = [await client(server), await client(server)]
  blocked.write(`${LINE}x`)
  other.write(`${LINE.replace('192.0.2.7', '192.0.2.8')}x`)
  await gone(blocked.resume())
  expect(`${await readAll(other)}`).toBe('x')
  expect(server.stats().closed.server).toBe(1)
})

test('a server that speaks first waits for the header', async () => {
  const server = await listening(
    createServer({ first: 'server', proxyProtocol: true }, (socket) => socket.end(ends(socket)))
  )
  const socket = await client(server)
  socket.write(LINE.slice(0, 10))
  await until(() => server.stats().parked === 1)
  socket.write(LINE.slice(10))
  expect(`${await readAll(socket)}`).toBe(V4)
})

test('over a Unix socket', async () => {
  for (const proxyProtocol of [true, { from: ['unix', '10.0.0.0/8'] }]) {
    const path = join(directory(), 'socket')
    const server = await listening(
      createServer({ proxyProtocol }, (socket) => socket.resume().end(ends(socket))),
      path
    )
    const socket = await client(path)
    socket.write(`${LINE}x`)
    expect(`${await readAll(socket)}`).toBe(V4)
    await until(() => server.stats().awake === 0)
  }
})

describe('trusted networks', () => {
  for (const [from, trusted] of [
    [['127.0.0.0/8'], true],
    [['127.0.0.1', '::1'], true],
    [['0.0.0.0/0'], true],
    [['10.0.0.0/8', 'fd00::/8', 'unix'], false],
    [['::/0'], false]
  ] as const) {
    test(`${from}`, async () => {
      const server = await web({ proxyProtocol: { from: [...from] } })
      const socket = await client(server)
      socket.write(`${LINE}${GET}`)
      if (trusted) expect(await body(socket)).toBe(V4)
      // For HTTP, the header of a stranger is no request.
      else expect(`${await readAll(socket)}`).toMatch(/^HTTP\/1.1 400 /)
      const other = await client(server)
      other.write(GET)
      if (trusted) await gone(other.resume())
      else expect(await body(other)).toMatch(/^127\.0\.0\.1 IPv4 /)
    })
  }

  test('strangers are served at once by a server that speaks first', async () => {
    const server = await listening(
      createServer({ first: 'server', proxyProtocol: { from: ['10.0.0.0/8'] } }, (socket) => socket.end(ends(socket)))
    )
    expect(`${await readAll(await client(server))}`).toMatch(/^127\.0\.0\.1 IPv4 /)
  })

  test('of a server for both families', async () => {
    const server = await listening(
      park(
        http.createServer((request, response) => response.end(ends(request.socket))),
        { proxyProtocol: { from: ['127.0.0.1/32'] } }
      )
    )
    await new Promise((resolve) => server.close(resolve))
    await new Promise<void>((resolve) => server.listen(0, '::', resolve))
    const socket = await client(server)
    socket.write(`${LINE}${GET}`)
    expect(await body(socket)).toBe(V4)
  })
})

describe('a connection without a valid header is closed', () => {
  test('when its bytes are none', async () => {
    const server = await web({})
    const codes = failures(server)
    for (const bad of [GET, 'PROXY TCP4 nobody\r\n', 'x']) {
      const socket = await client(server)
      socket.write(bad)
      await gone(socket.resume())
    }
    await until(() => server.stats().closed.proxy === 3)
    expect(codes).toEqual(Array.from({ length: 3 }, () => 'ERR_EBB_PROXY_HEADER 127.0.0.1'))
    expect(server.stats()).toMatchObject({ woken: 0, parked: 0 })
  })

  test('when the client leaves in the middle of it; before it, nothing is reported', async () => {
    const server = await web({})
    const codes = failures(server)
    const [probe, cut] = [await client(server), await client(server)]
    probe.end()
    cut.end(binary().subarray(0, 20))
    await until(() => server.stats().closed.peer === 1 && server.stats().closed.proxy === 1)
    expect(codes).toEqual(['ERR_EBB_PROXY_HEADER 127.0.0.1'])
  })

  test('when it is not complete in time', async () => {
    const server = await web({ proxyProtocol: { timeout: 30 } })
    const codes = failures(server)
    const [silent, slow] = [await client(server), await client(server)]
    slow.write('PROXY TCP4 ')
    await gone(slow.resume())
    await until(() => codes.length > 0)
    expect(codes).toEqual(['ERR_EBB_PROXY_TIMEOUT 127.0.0.1'])
    // One that has not begun has the time of any new connection.
    silent.write(`${LINE}${GET}`)
    expect(await body(silent)).toBe(V4)
  })

  test('by listen(), too', async () => {
    const events: string[] = []
    const listener = listen(
      { port: 0, proxyProtocol: { timeout: 30 } },
      {
        open: () => events.push('open'),
        close: () => events.push('close'),
        proxyError: ({ code }) => events.push(code)
      }
    )
    onTestFinished(() => void listener.close())
    const [bad, slow, cut, probe] = await Promise.all(Array.from({ length: 4 }, () => client(listener.address)))
    bad?.write(GET)
    await until(() => events.length === 1)
    slow?.write('PROXY')
    await until(() => events.length === 2)
    cut?.end('PROXY')
    await until(() => events.length === 3)
    probe?.end()
    await until(() => listener.clients === 0)
    expect(events).toEqual(['ERR_EBB_PROXY_HEADER', 'ERR_EBB_PROXY_TIMEOUT', 'ERR_EBB_PROXY_HEADER'])
  })
})

test('options that are not valid', () => {
  for (const proxyProtocol of [
    5,
    'yes',
    null,
    { from: [] },
    { from: '10.0.0.0/8' },
    { from: ['x'] },
    { from: ['1.2.3.4/33'] },
    { from: [5] },
    { timeout: 0 }
  ]) {
    const options = { proxyProtocol } as unknown as ParkOptions
    const code = expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' })
    expect(() => park(http.createServer(), options)).toThrow(code)
    expect(() => createServer(options)).toThrow(code)
    expect(() => listen({ port: 0, ...(options as object) })).toThrow(code)
  }
})

describe('a wrapper that reads a header from each socket', () => {
  type Listener = (socket: Socket) => void

  /** Reads a line from a socket, and gives the rest back. */
  function readLine(socket: Socket, then: (address: string) => void): void {
    let text = ''
    const onReadable = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        text += chunk.toString('latin1')
      }
      const end = text.indexOf('\r\n')
      if (end === -1) return
      socket.off('readable', onReadable)
      if (!text.startsWith('PROXY ')) socket.destroy()
      if (text.length > end + 2) socket.unshift(Buffer.from(text.slice(end + 2), 'latin1'))
      then(text.split(' ')[2] as string)
    }
    socket.on('readable', onReadable)
  }

  const wrappers: Record<string, (server: Server) => void> = {
    'takes the place of the listeners': (server) => {
      const listeners = server.listeners('connection') as Listener[]
      server.removeAllListeners('connection')
      server.on('connection', (socket: Socket) => {
        readLine(socket, (address) => {
          Object.defineProperty(socket, 'remoteAddress', { get: () => address })
          for (const listener of listeners) listener.call(server, socket)
        })
      })
    },
    'takes the place of emit()': (server) => {
      const { emit } = server
      server.emit = (...args: [event: string, ...unknown[]]) => {
        if (args[0] !== 'connection') return Reflect.apply(emit, server, args)
        const socket = args[1] as Socket
        readLine(socket, (address) => {
          Object.defineProperty(socket, 'remoteAddress', { get: () => address })
          Reflect.apply(emit, server, args)
        })
        return true
      }
    }
  }

  for (const [name, wrap] of Object.entries(wrappers)) {
    for (const first of [LINE + GET, LINE, LINE.slice(0, 1), LINE.slice(0, 8)]) {
      test(`${name}, ${JSON.stringify(first.slice(0, 12))} first: the connection keeps its socket`, async () => {
        let last: Socket | undefined
        const server = http.createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
          last = request.socket
          response.end(request.socket.remoteAddress)
        })
        wrap(server)
        const parked = await listening(park(server, { idle: IDLE }))
        const socket = await client(parked)
        socket.write(first)
        await until(() => parked.stats().woken === 1)
        if (first.length < LINE.length + GET.length) socket.write((LINE + GET).slice(first.length))
        expect(await body(socket)).toBe('192.0.2.7')
        for (let i = 0; i < 2; i++) {
          await new Promise((resolve) => setTimeout(resolve, 4 * IDLE))
          expect(parked.connection(last as Socket)?.park()).toBe(false)
          socket.write(GET)
          expect(await body(socket)).toBe('192.0.2.7')
        }
        expect(parked.stats()).toMatchObject({ woken: 1, parkedAgain: 0, awake: 1 })
      })
    }
  }
})

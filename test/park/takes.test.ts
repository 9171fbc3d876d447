/**
 * Connections that somebody takes away from a parked server: another process, another server, TLS, a session, another
 * socket. They are served as with plain Node, are never parked, and nothing of them is left.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import { createServer as createPlain, Socket } from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import { type Parked, park } from 'ebb'
import { createServer } from 'ebb/net'
import { describe, expect, test } from 'vitest'
import { Child } from '../support/child.js'
import {
  client,
  descriptorsReturn,
  eventually,
  expectSame,
  expectSum,
  getConnections,
  listening,
  outcome,
  PARKED,
  PLAIN,
  stats
} from '../support/net-parity.js'
import { directory, gone, quiet, readExactly } from '../support/sockets.js'

descriptorsReturn()

/** Idle timeout (ms) of the servers here. */
const IDLE = 5

/** Reads from `peer` until `text` has arrived. */
async function expectText(peer: Socket, text: string): Promise<void> {
  expect(`${await readExactly(peer, text.length)}`).toBe(text)
}

/** Creates the request that a keep-alive client sends. */
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`

describe('a listener that removes all listeners of its socket', () => {
  test('of a net.Server: the connection ends once, and nothing is left', async () => {
    for (const kind of PARKED) {
      let disconnects = 0
      const server = (await listening(
        kind.create({}, (socket) => {
          socket.removeAllListeners().on('error', () => {})
          socket.resume().end('bye')
        })
      )) as ReturnType<typeof createServer>
      server.on('disconnect', () => disconnects++)
      for (let i = 1; i <= 5; i++) {
        const peer = await client(server)
        peer.write('x')
        expect((await outcome(peer)).received, kind.name).toContain('bye')
        await stats(server, { awake: 0, parked: 0 })
        expect(disconnects, kind.name).toBe(i)
      }
      expect(await getConnections(server)).toBe(0)
      expectSum(server)
    }
  })

  test.each(['upgrade', 'connect'])('of %s: the connection ends once, and nothing is left', async (event) => {
    const server = park(http.createServer(), { idle: IDLE })
    server.on(event, (_request, socket: Socket) => {
      socket.removeAllListeners().on('error', () => {})
      socket.end('HTTP/1.1 101 x\r\n\r\n')
    })
    await listening(server)
    for (let i = 0; i < 5; i++) {
      const peer = await client(server)
      peer.write(
        event === 'connect'
          ? 'CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n'
          : 'GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'
      )
      expect((await outcome(peer)).received).toBe('HTTP/1.1 101 x\r\n\r\n')
    }
    await stats(server, { awake: 0, parked: 0 })
    expectSum(server)
  })
})

describe('the socket is sent to another process', () => {
  const RECEIVER = `
    const spin = (ms) => { const end = Date.now() + ms; while (Date.now() < end); }
    process.on('message', (message, socket) => {
      // The acknowledgement of the first socket comes late, so that the others wait in the queue of the sender.
      if (message === 'first') spin(150)
      if (socket === undefined) return process.send('without a socket')
      socket.on('error', () => {}).on('data', (data) => socket.end('child ' + message + data))
      socket.write('hi ')
    })`

  /** A server that sends each connection to a child after `wait` ms. */
  const source = (how: string, wait: number) => `
    import { fork } from 'node:child_process'
    import net from 'node:net'
    import { createServer } from 'ebb/net'
    import { park } from 'ebb'
    const child = fork('receiver', [], { execArgv: ['--eval', ${JSON.stringify(RECEIVER)}] })
    child.on('message', (message) => console.log(JSON.stringify(message)))
    let sent = 0
    const listener = (socket) => {
      socket.on('error', () => {})
      const send = () => child.send(sent++ === 0 ? 'first' : 'next', socket)
      ${wait === 0 ? 'send()' : `socket.once('data', () => setTimeout(send, ${wait}))`}
    }
    const server = ${how}
    server.listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const one = (i) => new Promise((resolve) => {
      const peer = net.connect(server.address().port, '127.0.0.1')
      let text = ''
      peer.on('data', (data) => {
        text += data
        if (text === 'hi ') peer.write(' hello ' + i)
      })
      peer.on('error', ({ code }) => resolve(code)).on('close', () => resolve(text))
      ${wait === 0 ? '' : "peer.write('wake')"}
    })
    const texts = await Promise.all(Array.from({ length: 6 }, (_, i) => one(i)))
    const connections = () => new Promise((resolve) => server.getConnections((_, count) => resolve(count)))
    while (await connections() > 0 || (server.stats?.().awake ?? 0) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const { awake = 0, parked = 0 } = server.stats?.() ?? {}
    console.log(JSON.stringify([texts, awake, parked]))
    server.close(() => child.disconnect())`

  test.each([
    ['at once', 0, "createServer({ first: 'server', idle: 20 }, listener)"],
    ['at once, by park(net)', 0, "park(net.createServer(listener), { first: 'server' })"],
    ['after it was parked', 100, 'createServer({ idle: 20 }, listener)']
  ])('%s: the child serves it, and nothing is left', async (_, wait, how) => {
    const play = async (server: string): Promise<unknown> => {
      const child = new Child(source(server, wait))
      const seen = await child.next()
      expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
      return seen
    }
    const [parked, plain] = await Promise.all([play(how), play('net.createServer(listener)')])
    const normal = (seen: unknown): string => JSON.stringify(seen).replaceAll(/first|next/g, '')
    expect(normal(parked)).toBe(normal(plain))
    expect(plain).toEqual([Array(6).fill(expect.stringMatching(/^hi child (first|next) hello \d$/)), 0, 0])
  })
})

describe('another server gets the socket', () => {
  /** Sends requests on one connection, with pauses in which it would be parked. */
  async function talk(peer: Socket, request: string, response: RegExp, times = 3): Promise<void> {
    let received = ''
    peer.on('data', (bytes) => {
      received += bytes
    })
    for (let i = 0; i < times; i++) {
      received = ''
      peer.write(request)
      await eventually(() => expect(received).toMatch(response))
      await quiet()
    }
  }

  test('a net.Server passes connections to an http.Server', async () => {
    await expectSame(async (kind) => {
      const seen: string[] = []
      const web = http.createServer((request, response) => {
        seen.push(`${request.url}`)
        response.end('web')
      })
      let calls = 0
      const server = await listening(
        kind.create({}, (socket) => {
          calls++
          socket.once('readable', () => web.emit('connection', socket))
        })
      )
      const peer = await client(server)
      await talk(peer, get('/a'), /web$/)
      if (kind !== PLAIN) expect((server as unknown as Parked).stats()).toMatchObject({ awake: 1, parked: 0 })
      peer.destroy()
      await eventually(async () => expect(await getConnections(server)).toBe(0))
      return [calls, seen]
    })
  })

  test('a net.Server passes connections to an http2.Server', async () => {
    for (const kind of [PLAIN, ...PARKED]) {
      const web = http2.createServer((_request, response) => void response.end('h2'))
      const server = await listening(kind.create({}, (socket) => void web.emit('connection', socket)))
      const session = http2.connect(`http://127.0.0.1:${(server.address() as { port: number }).port}`)
      for (let i = 0; i < 3; i++) {
        const request = session.request({ ':path': '/' }).setEncoding('utf8')
        let body = ''
        for await (const part of request) body += part
        expect(body, kind.name).toBe('h2')
        await quiet()
      }
      if (kind !== PLAIN) {
        const parked = server as unknown as Parked
        expect(parked.stats(), kind.name).toMatchObject({ awake: 1, parked: 0 })
        // Bytes of the parked server would break the session.
        expect(await parked.broadcast('junk'), kind.name).toBe(0)
      }
      await new Promise<void>((resolve) => session.close(resolve))
    }
  })

  test('an http.Server passes CONNECT to another http.Server', async () => {
    const inner = http.createServer((_request, response) => void response.end('inner'))
    for (const idle of [undefined, IDLE]) {
      const outer = http.createServer()
      const server = idle === undefined ? outer : park(outer, { idle })
      server.on('connect', (_request, socket: Socket) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n')
        inner.emit('connection', socket)
      })
      await listening(server)
      const peer = await client(server)
      peer.write('CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n')
      await expectText(peer, 'HTTP/1.1 200 OK\r\n\r\n')
      await talk(peer, get('/'), /inner$/)
      peer.destroy()
      if (idle !== undefined) await stats(server as unknown as Parked, { awake: 0, parked: 0 })
    }
  })

  test('another socket on the same handle', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        const internals = socket as unknown as { _handle: object | null }
        const { _handle: handle } = internals
        internals._handle = null
        const other = new Socket({ handle } as object)
        other.on('error', () => {}).on('data', (bytes) => other.write(bytes))
      })
    )
    const peer = await client(server)
    for (let i = 0; i < 3; i++) {
      peer.write(`${i}`)
      await expectText(peer, `${i}`)
      await quiet()
      expect(server.stats()).toMatchObject({ awake: 1, parked: 0 })
      expect(server.send(server.connection(peer)?.id ?? 0, 'junk')).toBe(false)
    }
    peer.destroy()
    await stats(server, { awake: 0, parked: 0 })
    expectSum(server)
  })
})

describe('STARTTLS', () => {
  /** Undefined without the program `openssl`. */
  function certificate(): { key: Buffer; cert: Buffer } | undefined {
    const home = directory()
    const [key, cert] = [join(home, 'key.pem'), join(home, 'cert.pem')]
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
    try {
      execFileSync('openssl', [...request, '-subj', '/CN=x', '-keyout', key, '-out', cert], { stdio: 'ignore' })
    } catch {
      return undefined
    }
    return { key: readFileSync(key), cert: readFileSync(cert) }
  }

  test.each(['end', 'destroy', 'reset by the client'])(
    'a TLSSocket over the socket is served however long it is silent, then: %s',
    async (ending) => {
      const keys = certificate()
      if (keys === undefined) return
      await expectSame(async (kind) => {
        const events: string[] = []
        let calls = 0
        const server = await listening(
          kind.create({}, (raw) => {
            calls++
            raw.on('error', () => {}).on('close', () => events.push('raw close'))
            raw.once('data', () => {
              raw.write('OK\n')
              const secure = new tls.TLSSocket(raw, { isServer: true, ...keys })
              secure.on('error', () => {}).on('close', () => events.push('tls close'))
              secure.on('data', (bytes) => {
                if (`${bytes}` === 'end') secure.end('bye')
                else if (`${bytes}` === 'destroy') secure.destroy()
                else secure.write(`echo ${bytes}`)
              })
            })
          })
        )
        const raw = await client(server)
        raw.write('STARTTLS\n')
        await expectText(raw, 'OK\n')
        const secure = tls.connect({ socket: raw, rejectUnauthorized: false }).on('error', () => {})
        for (const text of ['a', 'b', 'c']) {
          secure.write(text)
          await expectText(secure, `echo ${text}`)
          await quiet()
          if (kind === PLAIN) continue
          expect((server as unknown as Parked).stats()).toMatchObject({ awake: 1, parked: 0 })
          expect(await (server as unknown as Parked).broadcast('junk')).toBe(0)
        }
        if (ending === 'reset by the client') raw.resetAndDestroy()
        else
          secure
            .once('end', () => secure.destroy())
            .resume()
            .write(ending)
        await gone(secure)
        await eventually(() => expect(events).toHaveLength(2))
        if (kind !== PLAIN) await stats(server as unknown as Parked, { awake: 0, parked: 0 })
        return [calls, events]
      })
    }
  )
})

describe('a connection that a timeout is about to close, while the event loop was busy', () => {
  /** Keeps the event loop busy. */
  function spin(ms: number): void {
    const end = performance.now() + ms
    while (performance.now() < end);
  }

  const KEEP_ALIVE = 100

  test.each([
    ['parked', IDLE],
    ['awake', '10s']
  ])('a request that came in time is answered (%s)', async (state, idle) => {
    const server = park(
      http.createServer({ keepAliveTimeout: KEEP_ALIVE }, (_request, response) => response.end('x')),
      { idle }
    )
    await listening(server)
    const peer = await client(server)
    let received = ''
    peer.on('data', (bytes) => {
      received += bytes
    })
    peer.write(get('/'))
    await eventually(() => expect(received).toMatch(/x$/))
    if (state === 'parked') await stats(server, { parked: 1 })
    peer.write(get('/'))
    // Longer than Node adds to the timeout, and than the wheel is late.
    spin(KEEP_ALIVE + 1500)
    await eventually(() => expect(received.match(/200 OK/g)).toHaveLength(2))
    // Without another request, it is closed.
    await eventually(() => expect(peer.readableEnded).toBe(true))
    expect(peer.errored).toBe(null)
  })

  test('the first request that came in time is answered', async () => {
    const server = park(
      http.createServer({ headersTimeout: 100, requestTimeout: 100 }, (_request, response) => response.end('x')),
      { idle: IDLE }
    )
    await listening(server)
    const peer = await client(server)
    await stats(server, { parked: 1 })
    peer.end(get('/'))
    spin(1000)
    expect((await outcome(peer)).received).toMatch(/^HTTP\/1.1 200 OK/)
  })

  test('empty lines are no request', async () => {
    const server = park(
      http.createServer({ keepAliveTimeout: KEEP_ALIVE }, (_request, response) => response.end('x')),
      { idle: IDLE }
    )
    await listening(server)
    const peer = await client(server)
    peer.write(get('/'))
    await stats(server, { parked: 1, parkedAgain: 1 })
    peer.write('\r\n'.repeat(100))
    spin(KEEP_ALIVE + 1500)
    const { ended, reset } = await outcome(peer)
    expect([ended, reset, server.stats().woken]).toEqual([true, false, 1])
  })
})

test('a plain server of the same process is left alone', async () => {
  createServer({ idle: IDLE })
  const server = await listening(createPlain((socket) => socket.setTimeout(20, () => socket.destroy()).resume()))
  const peer = await client(server)
  expect(await outcome(peer)).toMatchObject({ ended: true })
})

/** A parked `https.Server`: connections are parked before their handshake, and ordinary ones after it. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { park } from 'ebb'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { client, listening } from '../support/net-parity.js'
import {
  type Client,
  GET,
  parity,
  pause,
  type Scenario,
  type See,
  type Stage,
  silence,
  turn
} from '../support/parity.js'
import { readAll, readExactly } from '../support/sockets.js'

const home = mkdtempSync(join(tmpdir(), 'ebb-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const certificate = selfSigned()

/** Undefined without the program `openssl`. */
function selfSigned(): { key: Buffer; cert: Buffer } | undefined {
  const [key, cert] = [join(home, 'key.pem'), join(home, 'cert.pem')]
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  try {
    execFileSync('openssl', [...request, '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  return { key: readFileSync(key), cert: readFileSync(cert) }
}

function secure(options: https.ServerOptions = {}): Pick<Scenario, 'create' | 'connect'> {
  return {
    create: () => https.createServer({ ...certificate, ...options }),
    connect: (port) => tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
  }
}

function echoPath(server: http.Server, see: See): void {
  server.on('request', (request, response) => {
    const socket = request.socket as tls.TLSSocket
    expect(socket).toBeInstanceOf(tls.TLSSocket)
    see(`${socket.encrypted} ${socket.alpnProtocol} ${socket.getProtocol()} ${socket.remoteAddress}`, socket)
    if (request.url !== '/never') response.end(`[${request.url}]`)
  })
}

function tellErrors(server: http.Server, see: See): void {
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: tls.TLSSocket) => {
    // The messages of OpenSSL contain a memory address.
    see(`tlsClientError ${error.code}, ${socket.constructor.name}, destroyed ${socket.destroyed}`)
  })
}

/** Waits until this many connections are parked before their handshake. */
async function parked(stage: Stage, count: number): Promise<void> {
  await stage.have(count)
  await stage.stats((stats) => stats.parked === count && stats.awake === 0)
}

describe.skipIf(certificate === undefined)('https', () => {
  parity('requests, with silences between', {
    ...secure(),
    serve: echoPath,
    play: async (stage) => {
      const client = await stage.open()
      for (let i = 0; i < 4; i++) {
        expect((await client.get(`/${i}`)).body).toBe(`[/${i}]`)
        await silence()
        // An established TLS session lives in this process, so its connection is not parked again.
        await stage.stats((stats) => stats.awake === 1 && stats.parkedAgain === 0 && stats.woken === 1)
      }
      void client.send(GET('/a') + GET('/b'))
      for (const path of ['/a', '/b']) expect((await client.response()).body).toBe(`[${path}]`)
      client.fin()
      await stage.have(0)
    },
    check: ({ connections: [log] }) => expect(log?.[1]).toMatch(/^true http\/1.1 TLSv1.3 127.0.0.1$/)
  })

  parity('a handshake after a long silence', {
    ...secure(),
    serve: echoPath,
    play: async (stage) => {
      const client = await stage.openTcp()
      await parked(stage, 1)
      await silence()
      const inside = tls.connect({ socket: client.socket, rejectUnauthorized: false })
      const received = new Promise<string>((resolve) => inside.once('data', (chunk: Buffer) => resolve(`${chunk}`)))
      inside.write(GET('/late'))
      expect(await received).toContain('[/late]')
      // The bytes that this client received are encrypted.
      client.received = ''
      inside.destroy()
    }
  })

  parity('a handshake byte by byte', {
    ...secure(),
    serve: echoPath,
    play: async (stage) => {
      const relay = net.createServer((socket) => {
        const through = net.connect(stage.port, '127.0.0.1').setNoDelay(true)
        through.pipe(socket)
        let sent = Promise.resolve()
        const dribble = async (chunk: Buffer): Promise<void> => {
          for (const byte of chunk) {
            through.write(Buffer.of(byte))
            await turn()
          }
        }
        socket.on('data', (chunk: Buffer) => {
          sent = sent.then(() => dribble(chunk))
        })
        socket.on('close', () => sent.then(() => through.destroy()))
      })
      await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
      const { port } = relay.address() as net.AddressInfo
      const inside = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
      const received = new Promise<string>((resolve) => inside.once('data', (chunk: Buffer) => resolve(`${chunk}`)))
      inside.write(GET('/slowly'))
      expect(await received).toContain('[/slowly]')
      inside.end()
      await new Promise((resolve) => relay.close(resolve))
    }
  })

  for (const [what, end] of [
    ['ends', (client: Client) => client.fin()],
    ['breaks', (client: Client) => client.rst()]
  ] as const) {
    parity(`a client that connects and ${what} without a byte`, {
      ...secure(),
      serve: (server, see) => {
        echoPath(server, see)
        tellErrors(server, see)
      },
      play: async (stage) => {
        const client = await stage.openTcp()
        await parked(stage, 1)
        end(client)
        await stage.have(0)
        await stage.stats(({ woken, closed }) => woken === 0 && closed.peer + closed.reset === 1)
      },
      // No event is emitted for a connection that never sent a byte.
      design: (seen) => ({ ...seen, server: seen.server.filter((event) => !event.startsWith('tlsClientError')) })
    })

    parity(`a client that ${what} in the middle of its handshake`, {
      ...secure(),
      serve: (server, see) => {
        echoPath(server, see)
        tellErrors(server, see)
      },
      play: async (stage) => {
        const client = await stage.openTcp()
        await parked(stage, 1)
        void client.send('\x16\x03\x01\x02\x00\x01')
        await silence()
        end(client)
        await stage.have(0)
      },
      check: ({ server }) => expect(server[0]).toMatch(/^tlsClientError ECONNRESET/)
    })
  }

  parity('a client that speaks HTTP', {
    ...secure(),
    serve: (server, see) => {
      echoPath(server, see)
      tellErrors(server, see)
    },
    play: async (stage) => {
      const client = await stage.openTcp()
      void client.send(GET('/'))
      await client.over()
      await stage.have(0)
      expect((await (await stage.open()).get('/')).body).toBe('[/]')
    },
    check: ({ server }) => expect(server[0]).toMatch(/^tlsClientError ERR_SSL/)
  })

  parity('handshakeTimeout', {
    ...secure({ handshakeTimeout: 300 }),
    serve: (server, see) => {
      echoPath(server, see)
      tellErrors(server, see)
    },
    lasts: 300,
    play: async (stage) => {
      const client = await stage.openTcp()
      await stage.time(() => client.over())
      await stage.have(0)
    },
    check: ({ server }) => expect(server[0]).toMatch(/^tlsClientError ERR_TLS_HANDSHAKE_TIMEOUT/)
  })

  parity('handshakeTimeout, without a listener', {
    ...secure({ handshakeTimeout: 300 }),
    serve: echoPath,
    lasts: 300,
    play: async (stage) => {
      const client = await stage.openTcp()
      await stage.time(() => client.over())
    }
  })

  parity('handshakeTimeout: in the middle of the handshake', {
    ...secure({ handshakeTimeout: 300 }),
    serve: (server, see) => {
      echoPath(server, see)
      tellErrors(server, see)
    },
    play: async (stage) => {
      const client = await stage.openTcp()
      void client.send('\x16\x03\x01\x02\x00\x01')
      await client.over()
    },
    check: ({ server }) => expect(server[0]).toMatch(/^tlsClientError ERR_TLS_HANDSHAKE_TIMEOUT/)
  })

  parity('headersTimeout after the handshake', {
    ...secure({ headersTimeout: 200, requestTimeout: 0, connectionsCheckingInterval: 20 }),
    serve: echoPath,
    play: async (stage) => {
      const client = await stage.open()
      await client.over()
      expect(client.received).toContain('408')
    }
  })

  parity('keepAliveTimeout', {
    ...secure({ keepAliveTimeout: 1 }),
    serve: echoPath,
    play: async (stage) => {
      const client = await stage.open()
      await client.get('/')
      expect(await client.over()).toBe('FIN')
    }
  })

  parity('upgrade', {
    ...secure(),
    serve: (server) => {
      server.on('upgrade', (_, socket) => {
        socket.write('HTTP/1.1 101 Go On\r\n\r\n')
        socket.pipe(socket)
      })
    },
    play: async (stage) => {
      const client = await stage.open()
      void client.send(GET('/', 'Connection: Upgrade\r\nUpgrade: echo\r\n'))
      await client.reads('\r\n\r\n')
      for (const word of ['one', 'two']) {
        await silence()
        void client.send(word)
        await client.reads(word)
      }
    }
  })

  parity('getConnections(), closeIdleConnections(), closeAllConnections(), close()', {
    ...secure(),
    serve: (server) => {
      server.on('request', (request, response) => {
        if (request.url !== '/never') response.end(`[${request.url}]`)
      })
    },
    play: async (stage) => {
      const silent = await stage.openTcp()
      const idle = await stage.open()
      await idle.get('/1')
      const waiting = await stage.open()
      void waiting.send(GET('/1') + GET('/never'))
      await waiting.reads('[/1]')
      expect(await stage.connections()).toBe(3)
      stage.server.closeIdleConnections()
      await idle.over()
      await stage.have(2)
      await silence()
      expect([silent.ended, waiting.ended]).toEqual([undefined, undefined])
      let called = false
      stage.server.close(() => {
        called = true
      })
      stage.server.closeAllConnections()
      await waiting.over()
      await pause(50)
      // `http` does not know this connection yet, so it keeps the server open until it closes.
      expect(called).toBe(stage.parked)
      if (!stage.parked) silent.fin()
      await silent.over()
      await stage.closed
    }
  })

  parity('a hundred connections at once', {
    ...secure(),
    serve: (server) => {
      server.on('request', (request, response) => response.end(`[${request.url}]`))
    },
    play: async (stage) => {
      const clients = await Promise.all(Array.from({ length: 100 }, () => stage.open()))
      const bodies = await Promise.all(clients.map(async (client, i) => (await client.get(`/${i}`)).body))
      expect(bodies).toEqual(clients.map((_, i) => `[/${i}]`))
    },
    compared: (seen) => ({ ...seen, connections: [], clients: [] })
  })
})

/** Keep-alive timeout of a server (ms), and how long the event loop is busy meanwhile. */
const KEEP_ALIVE = 300
const BUSY = 2000

describe.skipIf(certificate === undefined)('an established connection whose timeout is over after a busy turn', () => {
  /** Opens a connection that is idle after a response. `send` sends at the beginning of the busy turn. */
  async function scenario(send: (secured: tls.TLSSocket, raw: net.Socket) => void): Promise<tls.TLSSocket> {
    const server = await listening(
      park(
        https.createServer({ ...certificate, keepAliveTimeout: KEEP_ALIVE }, (request, response) =>
          response.end(`[${request.url}]`)
        )
      )
    )
    const raw = await client(server)
    const secured = tls.connect({ socket: raw, rejectUnauthorized: false }).on('error', () => {})
    onTestFinished(() => void secured.destroy())
    // Bytes of another connection: what is sent while they are handled is read in the next turn, after the timers.
    const trigger = await listening(
      net.createServer((socket) =>
        socket.on('data', () => {
          send(secured, raw)
          const end = performance.now() + BUSY
          while (performance.now() < end);
        })
      )
    )
    const other = await client(trigger)
    secured.write(GET('/1'))
    while (!(await readExactly(secured, 1)).includes(']'));
    other.write('x')
    return secured
  }

  test('a request that came in time is served', async () => {
    const secured = await scenario((socket) => socket.write(GET('/2', 'Connection: close\r\n')))
    expect(`${await readAll(secured)}`).toMatch(/\[\/2\]$/)
  })

  test('a part of a record puts the timeout off once', async () => {
    const secured = await scenario((_, raw) => raw.write(Buffer.from([23, 3, 3])))
    expect(`${await readAll(secured)}`).toBe('')
  })
})

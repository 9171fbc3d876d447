import { spawnSync } from 'node:child_process'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { Aedes } from 'aedes'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { expired, selfSigned } from '../../../../test/support/certificates.js'
import { descriptors, until } from '../../../../test/support/sockets.js'
import { clientFor, portOf, rawServer } from './testing/speaking.js'

const hasOpenssl = spawnSync('openssl', ['version']).status === 0

describe.skipIf(!hasOpenssl)('with TLS', () => {
  const good = hasOpenssl ? selfSigned('DNS:localhost,IP:127.0.0.1') : { key: '', cert: '' }
  const ca = good.cert
  const sockets = new Set<TLSSocket>()
  afterEach(() => {
    for (const socket of sockets) socket.destroy()
  })

  async function server(
    options: TlsOptions = {},
    onSocket: (socket: TLSSocket) => void = (socket) => void socket.resume()
  ): Promise<number> {
    const tls = createServer({ ...good, ...options }, (socket) => {
      sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)))
      onSocket(socket)
    })
    tls.on('tlsClientError', () => {})
    return await portOf(tls)
  }

  test('opens, holds and closes connections; no socket or descriptor is left', async () => {
    const names: unknown[] = []
    const port = await server({}, (socket) => {
      names.push(socket.servername)
      socket.resume()
    })
    const client = clientFor(`tls://127.0.0.1:${port}`, { tls: { ca } })
    const before = descriptors()
    expect(await client.connect(30)).toMatchObject({ connected: 30, failed: {} })
    expect(client.open).toBe(30)
    await until(() => sockets.size === 30)
    expect(new Set(names)).toEqual(new Set([false]))
    await client.close()
    expect(await client.takeLost()).toEqual({})
    await until(() => sockets.size === 0 && descriptors() === before)
  })

  test('resets connections', async () => {
    const errors: unknown[] = []
    const port = await server({}, (socket) => {
      socket.resume().on('error', ({ code }: NodeJS.ErrnoException) => errors.push(code))
    })
    const client = clientFor(`tls://127.0.0.1:${port}`, { tls: { ca }, close: 'rst' })
    await client.connect(5)
    await until(() => sockets.size === 5)
    await client.close()
    await until(() => sockets.size === 0)
    expect(new Set(errors)).toEqual(new Set(['ECONNRESET']))
  })

  test('sends messages and compares echoes', async () => {
    const port = await server({}, (socket) => void socket.pipe(socket))
    for (const payload of ['hello {id} {n}', 'x'.repeat(300_000)]) {
      const client = clientFor(`tls://127.0.0.1:${port}`, { tls: { ca }, payload, every: 20, expectEcho: true })
      expect(await client.connect(3)).toMatchObject({ connected: 3, echoed: 3 })
      let answered = 0
      await until(() => {
        answered += client.takeTraffic().answered
        return answered > 10
      })
      await client.close()
    }
  })

  test('counts connections that the server closes', async () => {
    let i = 0
    const port = await server({}, (socket) => {
      if (i++ % 2 === 0) socket.end()
      else socket.resume()
    })
    const client = clientFor(`tls://127.0.0.1:${port}`, { tls: { ca } })
    await client.connect(10)
    await until(() => client.open === 5)
    expect(await client.takeLost()).toEqual({ FIN: 5 })
  })

  test('asks for a name, and checks the certificate for it', async () => {
    const names: unknown[] = []
    const other = selfSigned('DNS:other.example')
    const port = await server({
      SNICallback: (name, done) => {
        names.push(name)
        done(null)
      },
      ...other
    })
    const failed = async (tls: object): Promise<unknown> =>
      (await clientFor(`tls://127.0.0.1:${port}`, { tls: { ca: other.cert, ...tls } }).connect(1)).failed
    expect(await failed({ servername: 'other.example' })).toEqual({})
    expect(await failed({ servername: 'localhost' })).toEqual({ ERR_TLS_CERT_ALTNAME_INVALID: 1 })
    expect(await failed({})).toEqual({ ERR_TLS_CERT_ALTNAME_INVALID: 1 })
    expect(await failed({ insecure: true })).toEqual({})
    expect(names).toEqual(['other.example', 'localhost'])
  })

  test('says what is wrong with a certificate', async () => {
    const old = expired('IP:127.0.0.1')
    const ports = [await server(old), await server()] as const
    const failed = async (port: number, tls: object): Promise<unknown> =>
      (await clientFor(`tls://127.0.0.1:${port}`, { tls }).connect(3)).failed
    expect(await failed(ports[0], { ca: old.cert })).toEqual({ CERT_HAS_EXPIRED: 3 })
    expect(await failed(ports[1], {})).toEqual({ DEPTH_ZERO_SELF_SIGNED_CERT: 3 })
    expect(await failed(ports[0], { insecure: true })).toEqual({})
  })

  test('shows a certificate of its own', async () => {
    const mine = selfSigned('DNS:client')
    const port = await server({ requestCert: true, ca: mine.cert, maxVersion: 'TLSv1.2' })
    const client = clientFor(`tls://127.0.0.1:${port}`, { tls: { ca, ...mine } })
    expect(await client.connect(2)).toMatchObject({ connected: 2 })
    const without = await clientFor(`tls://127.0.0.1:${port}`, { tls: { ca } }).connect(2)
    expect(without.connected).toBe(0)
    expect(Object.values(without.failed)).toEqual([2])
  })

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('resumes sessions of %s', async (maxVersion) => {
    const port = await server({ maxVersion }, (socket) => void socket.pipe(socket))
    const options = { tls: { ca, resume: true }, payload: 'x', expectEcho: true }
    const client = clientFor(`tls://127.0.0.1:${port}`, options)
    await client.connect(1)
    expect(client.takeTraffic().resumed).toBe(0)
    await client.connect(5)
    expect(client.takeTraffic().resumed).toBe(5)
    const fresh = clientFor(`tls://127.0.0.1:${port}`, { ...options, tls: { ca } })
    await fresh.connect(1)
    await fresh.connect(5)
    expect(fresh.takeTraffic().resumed).toBe(0)
  })

  test('fails if the server speaks no TLS, says nothing, or closes', async () => {
    const failed = async (onSocket: Parameters<typeof rawServer>[0]): Promise<Record<string, number>> => {
      const port = await rawServer(onSocket)
      return (await clientFor(`tls://127.0.0.1:${port}`, { timeout: 300 }).connect(3)).failed
    }
    const [garbage, ...others] = Object.entries(
      await failed((socket) => socket.once('data', () => socket.write('SSH-2.0-x\r\n')))
    )
    expect([garbage?.[1], others]).toEqual([3, []])
    expect(garbage?.[0]).toMatch(/^ERR_SSL_|^EPROTO$/)
    expect(await failed((socket) => void socket.resume())).toEqual({ TIMEOUT: 3 })
    expect(await failed((socket) => socket.end())).toEqual({ FIN: 3 })
  })

  test('a server that stops reading is said to do so', async () => {
    const port = await server({}, (socket) => void socket.pause())
    const options = { tls: { ca }, payload: 'x'.repeat(8_000_000), timeout: 300 }
    const client = clientFor(`tls://127.0.0.1:${port}`, options)
    expect(await client.connect(2)).toMatchObject({ connected: 2, unanswered: { STALLED: 2 } })
  })

  test('https', async () => {
    const protocols: unknown[] = []
    const https = createHttps(good, (request, response) => {
      protocols.push((request.socket as TLSSocket).alpnProtocol)
      response.end('hello')
    })
    const port = await portOf(https)
    const client = clientFor(`https://127.0.0.1:${port}/`, { tls: { ca }, every: 10 })
    expect(await client.connect(3)).toMatchObject({ connected: 3, unanswered: {} })
    let answered = 0
    await until(() => {
      answered += client.takeTraffic().answered
      return answered > 20
    })
    expect(new Set(protocols)).toEqual(new Set(['http/1.1']))
    await client.close()
  })

  test('wss', async () => {
    const https = createHttps(good)
    const closed: number[] = []
    new WebSocketServer({ server: https }).on('connection', (socket) => {
      socket
        .on('message', (message) => socket.send(message, { binary: false }))
        .on('close', (code) => closed.push(code))
    })
    const port = await portOf(https)
    const client = clientFor(`wss://127.0.0.1:${port}/`, { tls: { ca }, payload: 'hello', expectEcho: true, ping: 20 })
    expect(await client.connect(3)).toMatchObject({ connected: 3, echoed: 3 })
    let pongs = 0
    await until(() => {
      pongs += client.takeTraffic().pongs
      return pongs > 6
    })
    await client.close()
    await until(() => closed.length === 3)
    expect(closed).toEqual([1000, 1000, 1000])
  })

  test('mqtts', async () => {
    const broker = await Aedes.createBroker()
    onTestFinished(() => new Promise<void>((resolve) => broker.close(resolve)))
    const tls = createServer(good, (socket) => broker.handle(socket))
    const { port } = await new Promise<AddressInfo>((resolve) =>
      tls.listen(0, '127.0.0.1', () => resolve(tls.address() as AddressInfo))
    )
    onTestFinished(() => void tls.close())
    const client = clientFor(`mqtts://127.0.0.1:${port}`, { tls: { ca }, topic: 'a', payload: 'b', qos: 1 })
    expect(await client.connect(3)).toMatchObject({ connected: 3, unanswered: {} })
    expect(client.takeTraffic()).toMatchObject({ answered: 3 })
    await client.close()
  })
})

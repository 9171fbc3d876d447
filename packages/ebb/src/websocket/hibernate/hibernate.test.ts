import { once } from 'node:events'
import { existsSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import type { Parked } from '../../park/park.js'
import { frameOf } from '../frames.js'
import { KINDS, serveHub } from '../testing/hub.js'
import { Client, close, closeFrame, masked, REQUEST, text, textFrame } from '../testing/server.js'
import { hibernate } from './hibernate.js'

/** The machine may be busy. */
const PATIENT = { timeout: 30_000, interval: 5 }

/** A client of `ws`, open. */
async function open(url: string, protocols: string[] = [], options = {}): Promise<WebSocket> {
  const client = new WebSocket(url, protocols, options)
  onTestFinished(() => client.terminate())
  await once(client, 'open')
  return client
}

/** Resolves with the status of a refusal, and its body. */
async function refused(url: string, options: http.RequestOptions = {}): Promise<[number | undefined, string]> {
  const client = new WebSocket(url, options)
  client.on('error', () => {})
  const [, response] = (await once(client, 'unexpected-response')) as [unknown, http.IncomingMessage]
  const parts: Buffer[] = []
  for await (const part of response) parts.push(part as Buffer)
  return [response.statusCode, String(Buffer.concat(parts))]
}

const next = async (client: WebSocket): Promise<string> => String((await once(client, 'message'))[0])

describe.each(KINDS)('%s', (kind) => {
  test('messages in both directions, from `ws`', async () => {
    const { url, sockets, seen, hub } = await serveHub(kind)
    const client = await open(url)
    client.send('one')
    client.send(Buffer.from('two'))
    client.send('')
    expect(await seen('message', 3)).toEqual([
      ['message', 'one', false],
      ['message', 'two', true],
      ['message', '', false]
    ])
    const [socket] = sockets
    expect(socket?.send('three')).toBe(true)
    expect(await next(client)).toBe('three')
    expect(socket?.send(Buffer.from('four'))).toBe(true)
    expect(await once(client, 'message')).toEqual([Buffer.from('four'), true])
    expect([hub.size, hub.count(), [...hub.sockets()].map(({ id }) => id)]).toEqual([1, 1, [socket?.id]])
    expect(socket?.remoteAddress).toMatchObject({ address: '127.0.0.1', family: 'IPv4' })
    expect(socket?.queued).toBe(0)
    client.close(4000, 'bye')
    expect(await seen('close')).toEqual([['close', 4000, 'bye', true, socket?.id]])
    expect(hub.size).toBe(0)
  })

  test('upgrade(): what it sees, and what it answers', async () => {
    const { url, hub, sockets, seen } = await serveHub(kind, {
      upgrade: ({ url, headers, protocols, origin, remoteAddress, incoming }) => ({
        protocol: protocols[1],
        tags: ['all', `room:${new URL(url, 'http://a').searchParams.get('room')}`],
        attachment: { url, origin, agent: headers['user-agent'], remoteAddress, incoming: incoming?.url },
        headers: { 'X-Extra': ['a', 'b'] }
      })
    })
    const client = new WebSocket(`${url}/chat?room=5`, ['one', 'two'], {
      origin: 'http://example.org',
      headers: { 'user-agent': 'test' }
    })
    onTestFinished(() => client.terminate())
    const opened = once(client, 'open')
    const [response] = (await once(client, 'upgrade')) as [http.IncomingMessage]
    expect(response.headers['x-extra']).toBe('a, b')
    await seen('open')
    const [socket] = sockets
    expect(socket).toMatchObject({
      closed: false,
      protocol: 'two',
      tags: ['all', 'room:5'],
      attachment: {
        url: '/chat?room=5',
        origin: 'http://example.org',
        agent: 'test',
        remoteAddress: '127.0.0.1',
        incoming: kind === 'a port of its own' ? undefined : '/chat?room=5'
      }
    })
    await opened
    expect(client.protocol).toBe('two')
    expect([hub.count('all'), hub.count('room:5'), hub.count('room:6')]).toEqual([1, 1, 0])
  })

  test.each([
    ['sync', (answer: unknown) => answer],
    ['async', (answer: unknown) => wait(1, answer)]
  ])('upgrade() refuses: %s', async (_, answered) => {
    const { url, hub, events } = await serveHub(kind, {
      upgrade({ origin, url }): never {
        if (url === '/throw') throw new Error('refused')
        if (url === '/reject') return Promise.reject(new Error('refused')) as never
        if (url === '/wrong') return answered({ tags: [1] }) as never
        if (url === '/large') return answered({ attachment: 'x'.repeat(20_000) }) as never
        if (url === '/302') return answered({ status: 302, headers: { Location: '/x' }, body: 'there' }) as never
        return answered(origin === 'http://good') as never
      }
    })
    const caught: unknown[] = []
    const note = (error: Error): void => void caught.push(error.message)
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException').on('uncaughtException', note)
    onTestFinished(() => {
      process.off('uncaughtException', note)
      for (const listener of listeners) process.on('uncaughtException', listener)
    })
    await open(url, [], { origin: 'http://good' })
    expect(await refused(url, { headers: { origin: 'http://bad' } })).toEqual([403, 'Forbidden'])
    expect(await refused(`${url}/302`)).toEqual([302, 'there'])
    for (const path of ['throw', 'reject', 'wrong', 'large']) {
      expect(await refused(`${url}/${path}`)).toEqual([500, 'Internal Server Error'])
    }
    expect(caught).toEqual(['refused', 'refused', expect.stringContaining('a tag must'), expect.stringContaining('20')])
    expect([hub.size, events.length]).toEqual([1, 1])
  })

  test('upgrade() answers with an object like a promise, which settles twice or throws', async () => {
    const fail = (): never => {
      throw new Error('then')
    }
    const like = (then: unknown): object => Object.defineProperty({}, 'then', { value: then })
    const { port, url, seen, hub } = await serveHub(kind, {
      upgrade({ url }): never {
        if (url === '/throws') return like(fail) as never
        if (url === '/getter') return Object.defineProperty({}, 'then', { get: fail }) as never
        return like((settle: (answer: unknown) => void) =>
          [true, true, false].forEach((each) => void settle(each))
        ) as never
      }
    })
    const caught: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    const note = (error: Error): void => void caught.push(error.message)
    process.removeAllListeners('uncaughtException').on('uncaughtException', note)
    onTestFinished(() => {
      process.off('uncaughtException', note)
      for (const listener of listeners) process.on('uncaughtException', listener)
    })
    for (const path of ['throws', 'getter']) expect((await refused(`${url}/${path}`))[0]).toBe(500)
    expect(caught).toEqual(['then', 'then'])
    const client = await Client.connect(port)
    await seen('open')
    await new Promise((resolve) => setImmediate(resolve))
    hub.get((await seen('open'))[0]?.[1] as number)?.send('once')
    expect(await client.take(6)).toEqual(textFrame('once'))
    client.socket.destroy()
    await seen('close')
    expect(hub.size).toBe(0)
  })

  test.each(['sync', 'async'])('a refusal whose body is larger than what the kernel takes: %s', async (how) => {
    const body = 'x'.repeat(8_000_000)
    const { url } = await serveHub(kind, {
      upgrade: () => (how === 'sync' ? { status: 400, body } : Promise.resolve({ status: 400, body }))
    })
    const [status, got] = await refused(url)
    expect([status, got === body]).toEqual([400, true])
  })

  test('HTTP/1.0, and a request with a body, are refused', async () => {
    const { port, hub } = await serveHub(kind)
    for (const request of [
      REQUEST.replace('HTTP/1.1', 'HTTP/1.0'),
      `${REQUEST.slice(0, -2)}Content-Length: 3\r\n\r\nabc`,
      `${REQUEST.slice(0, -2)}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`
    ]) {
      const socket = net.connect(port, '127.0.0.1').on('error', () => {})
      socket.end(request)
      const parts: Buffer[] = []
      for await (const part of socket) parts.push(part as Buffer)
      expect(String(Buffer.concat(parts))).toMatch(/^HTTP\/1.1 400 /)
    }
    expect(hub.size).toBe(0)
  })

  test('several of them on one server, by path', async () => {
    const { hub, url } = await serveHub(kind, { open: (socket) => void socket.send('one') }, { path: '/one' })
    const named = (name: string) => ({ open: (socket: { send(data: string): boolean }) => void socket.send(name) })
    const two = hibernate(hub.server, named('two'), { path: '/two' })
    expect((await refused(`${url}/three`))[0]).toBe(404)
    expect(() => hibernate(hub.server, {}, { path: '/two' })).toThrow('takes /two')
    const rest = hibernate(hub.server, named('rest'))
    expect(() => hibernate(hub.server)).toThrow('takes every path')
    for (const [path, name] of [
      ['one?x', 'one'],
      ['two', 'two'],
      ['three', 'rest']
    ]) {
      const client = new WebSocket(`${url}/${path}`)
      onTestFinished(() => client.terminate())
      expect(await next(client)).toBe(name)
      client.terminate()
    }
    await Promise.all([two.close(), rest.close()])
    // The path is free again.
    await hibernate(hub.server, {}, { path: '/two' }).close()
  })

  test('a client that leaves during an async upgrade()', async () => {
    let left = 0
    const { port, hub, events, seen } = await serveHub(kind, {
      async upgrade() {
        left++
        await wait(50)
        return true
      }
    })
    for (const leave of ['destroy', 'resetAndDestroy'] as const) {
      const socket = net.connect(port, '127.0.0.1').on('error', () => {})
      socket.write(`${REQUEST}frames that nobody reads`)
      const before: number = left
      while (left === before) await wait(1)
      socket[leave]()
    }
    // Others are served as before.
    const client = await Client.connect(port, text('early'))
    expect(await seen('message')).toEqual([['message', 'early', false]])
    // A FIN is seen when the connection is open, a RST before it: whoever was opened is closed.
    client.socket.destroy()
    const count = (name: string): number => events.filter(([other]) => other === name).length
    while (hub.size > 0 || count('open') !== count('close')) await wait(1)
  })

  test('frames that come with the request, or before an async upgrade() is done', async () => {
    const { port, seen, events } = await serveHub(kind, { upgrade: () => wait(20, true) })
    const client = await Client.connect(port, Buffer.concat([text('early'), text('cut').subarray(0, 4)]))
    client.send(text('cut').subarray(4))
    expect(await seen('message', 2)).toEqual([
      ['message', 'early', false],
      ['message', 'cut', false]
    ])
    expect(events[0]?.[0]).toBe('open')
    client.socket.destroy()
  })

  test('fragments, one byte at a time, and a message of 10 MB', async () => {
    const { port, seen, sockets } = await serveHub(kind, {}, { maxPayload: 0 })
    const client = await Client.connect(port)
    const bytes = Buffer.concat([masked(0x01, 'fr'), masked(0x89, 'p'), masked(0x00, 'ag'), masked(0x80, 'ments')])
    for (const byte of bytes) {
      client.socket.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await seen('message')).toEqual([['message', 'fragments', false]])
    expect(await client.take(3)).toEqual(frameOf(10, Buffer.from('p')))
    const large = Buffer.alloc(10_000_000, 'large ')
    client.send(masked(0x82, large))
    const [, [, got]] = (await seen('message', 2)) as [unknown, [string, string]]
    expect(got === large.toString('latin1')).toBe(true)
    expect(sockets[0]?.send(large)).toBe(true)
    expect((await client.take(large.length + 10)).equals(frameOf(2, large))).toBe(true)
    client.socket.destroy()
  })

  test('faults: error() with the close code, which the client gets', async () => {
    const { port, seen, events } = await serveHub(kind, {}, { maxPayload: 100 })
    for (const [bytes, code] of [
      [frameOf(1, Buffer.from('unmasked')), 1002],
      [masked(0x81, Buffer.from([0xff])), 1007],
      [masked(0x82, 'x'.repeat(101)), 1009],
      [masked(0xc1, 'rsv1'), 1002]
    ] as const) {
      events.length = 0
      const client = await Client.connect(port)
      client.send(bytes)
      expect(await client.take(4)).toEqual(closeFrame(code))
      client.send(close(code))
      client.socket.end()
      await seen('close')
      expect(events).toEqual([
        ['open', expect.any(Number)],
        ['error', 'ERR_EBB_WEBSOCKET', code],
        ['close', 1006, '', false, expect.any(Number)]
      ])
    }
  })

  test('close(), terminate(), FIN, RST; what a closed connection says', async () => {
    const { port, seen, sockets, hub, events } = await serveHub(kind, {
      upgrade: () => ({ tags: ['a'], attachment: 7 }),
      close: (socket: { attachment: unknown; tags: unknown }) =>
        void events.push(['kept', socket.attachment, socket.tags])
    })
    const clients = [await Client.connect(port), await Client.connect(port)]
    const [one, two] = sockets as [(typeof sockets)[0], (typeof sockets)[0]]
    one.close(3000, 'done')
    expect(one.send('late')).toBe(false)
    clients[0]?.send('still heard')
    expect(await clients[0]?.take(8)).toEqual(closeFrame(3000, 'done'))
    await seen('message')
    clients[0]?.send(close(3000, 'ok'))
    await clients[0]?.end()
    clients[0]?.socket.end()
    await seen('close')
    two.terminate()
    expect(two.closed).toBe(true)
    await seen('close', 2)
    const [three, four] = [await Client.connect(port), await Client.connect(port)]
    three.socket.end()
    await seen('close', 3)
    four.socket.resetAndDestroy()
    await seen('close', 4)
    expect(events.filter(([name]) => name === 'close').map((event) => event.slice(1, 4))).toEqual([
      [3000, 'ok', true],
      [1006, '', false],
      [1006, '', false],
      [1006, '', false]
    ])
    expect(events.filter(([name]) => name === 'kept')).toEqual(Array(4).fill(['kept', 7, ['a']]))
    // Their rows have other connections by now: what was kept does not reach them.
    const other = await Client.connect(port)
    expect(one).toMatchObject({ closed: true, queued: 0, tags: [], attachment: undefined, protocol: '' })
    expect(one.remoteAddress).toBeUndefined()
    expect(one.send('x')).toBe(false)
    one.close()
    one.ping()
    one.terminate()
    for (const set of [() => (one.attachment = 1), () => (one.tags = ['b'])]) {
      expect(set).toThrow(expect.objectContaining({ code: 'ERR_EBB_CONNECTION_CLOSED' }))
    }
    expect([hub.get(one.id), hub.size, hub.count('a'), other.received.length]).toEqual([undefined, 1, 1, 0])
    for (const client of [...clients, three, other]) client.socket.destroy()
  })

  test('a client that does not answer a close frame, or a ping', async () => {
    const { port, seen, hub } = await serveHub(kind, {}, { closeTimeout: 30, liveness: 30 })
    const silent = await Client.connect(port)
    expect(await silent.take(2)).toEqual(frameOf(9, Buffer.alloc(0)))
    expect(await seen('close')).toEqual([['close', 1006, '', false, expect.any(Number)]])
    const deaf = await Client.connect(port)
    ;[...hub.sockets()][0]?.close(1000)
    expect(await deaf.take(4)).toEqual(closeFrame(1000))
    await seen('close', 2)
    // Whoever answers stays.
    const client = await open(`ws://127.0.0.1:${port}`)
    for (let pings = 0; pings < 4; pings++) await once(client, 'ping')
    expect([hub.size, client.readyState]).toEqual([1, WebSocket.OPEN])
    silent.socket.destroy()
    deaf.socket.destroy()
  })

  test('liveness: whoever sends a message in parts, or reads slowly, is alive', async () => {
    const { port, hub, seen, events } = await serveHub(kind, {}, { liveness: 300 })
    const slow = await Client.connect(port)
    const bytes = Buffer.concat([
      masked(0x82, 'x'.repeat(300)),
      ...Array.from({ length: 30 }, (_, i) => masked(i === 0 ? 0x02 : i < 29 ? 0x00 : 0x80, 'y'.repeat(4)))
    ])
    // Not one answer to a ping in all this time.
    for (let at = 0; at < bytes.length; at += 6) {
      slow.send(bytes.subarray(at, at + 6))
      await wait(10)
    }
    expect((await seen('message', 2)).map(([, data]) => (data as string).length)).toEqual([300, 120])
    slow.socket.destroy()
    await seen('close')
    const reader = net.connect(port, '127.0.0.1').on('error', () => {})
    reader.write(REQUEST)
    await seen('open', 2)
    const [socket] = hub.sockets()
    socket?.send(Buffer.alloc(40_000_000))
    reader.pause()
    // It answers no ping before it has read all. When everything is sent, it is silent.
    events.length = 0
    while (events.length === 0) {
      reader.read()
      await wait(1)
    }
    expect(events[0]?.[0]).toBe('drain')
    reader.destroy()
    await seen('close')
  })

  test('maxQueued holds for pings', async () => {
    const { port, sockets, seen } = await serveHub(kind, {}, { maxQueued: 1000, overflow: 'drop' })
    const client = await Client.connect(port)
    client.socket.pause()
    const [socket] = sockets as [(typeof sockets)[0]]
    while (socket.queued === 0) socket.send(Buffer.alloc(60_000))
    const before = socket.queued
    for (let i = 0; i < 100; i++) socket.ping('x'.repeat(100))
    expect(socket.queued - before).toBeLessThanOrEqual(1000)
    client.socket.destroy()
    await seen('close')
  })

  test('drain() after an earlier response that nobody read', async () => {
    const { port, hub, seen, sockets } = await serveHub(kind)
    hub.server.removeAllListeners('request').on('request', (_, response) => response.end(Buffer.alloc(8_000_000)))
    hub.server.on('request', () => {})
    const socket = net.connect(port, '127.0.0.1').on('error', () => {})
    const answered = once(hub.server, 'request')
    socket.pause()
    socket.write(REQUEST.replace('Upgrade: websocket\r\nConnection: Upgrade\r\n', ''))
    await answered
    socket.write(REQUEST)
    await seen('open')
    expect(sockets[0]?.queued).toBeGreaterThan(0)
    sockets[0]?.send('x')
    socket.resume()
    await seen('drain')
    expect(sockets[0]?.queued).toBe(0)
    socket.destroy()
    await seen('close')
  })

  test('ping(): a client gets it', async () => {
    const { url, sockets } = await serveHub(kind)
    const client = await open(url)
    sockets[0]?.ping('there')
    expect(String((await once(client, 'ping'))[0])).toBe('there')
    expect(() => sockets[0]?.ping('x'.repeat(126))).toThrow(TypeError)
  })

  test('autoResponse: no handler, and a time', async () => {
    const pairs = [
      { request: 'ping', response: 'pong' },
      { request: 'é', response: 'è' }
    ]
    const { url, events, sockets, hub } = await serveHub(kind, {}, { autoResponse: pairs })
    const client = await open(url)
    const { id = 0 } = sockets[0] ?? {}
    expect(hub.autoResponseTimestamp(id)).toBeUndefined()
    const before = Date.now()
    client.send('ping')
    expect(await next(client)).toBe('pong')
    client.send('é')
    expect(await next(client)).toBe('è')
    const at = hub.autoResponseTimestamp(id)?.getTime() ?? 0
    expect(at >= before && at <= Date.now()).toBe(true)
    client.send(Buffer.from('ping'))
    client.send('Ping')
    await expect
      .poll(() => events.slice(1))
      .toEqual([
        ['message', 'ping', true],
        ['message', 'Ping', false]
      ])
    client.terminate()
    await vi.waitUntil(() => hub.size === 0, PATIENT)
    expect(hub.autoResponseTimestamp(id)).toBeUndefined()
    await open(url)
    expect(hub.autoResponseTimestamp(sockets[1]?.id ?? 0)).toBeUndefined()
  })

  test('broadcast() to all and to a tag; sockets() while connections come and go', async () => {
    const { url, hub, sockets } = await serveHub(kind, { upgrade: ({ url }) => ({ tags: url.slice(1).split(',') }) })
    const clients = [await open(`${url}/a`), await open(`${url}/a,b`), await open(`${url}/b`)]
    const got: string[][] = [[], [], []]
    for (const [i, client] of clients.entries()) client.on('message', (data) => got[i]?.push(String(data)))
    expect(await hub.broadcast('all')).toBe(3)
    expect(await hub.broadcast(Buffer.from('a'), 'a')).toBe(2)
    expect(await hub.broadcast('none', 'c')).toBe(0)
    const [first, second, third] = sockets as [(typeof sockets)[0], (typeof sockets)[0], (typeof sockets)[0]]
    first.tags = ['b', 'c', 'b']
    expect(first.tags).toEqual(['b', 'c'])
    expect(await hub.broadcast('b', 'b')).toBe(3)
    third.close()
    expect(await hub.broadcast('c', 'b')).toBe(2)
    await expect
      .poll(() => got)
      .toEqual([
        ['all', 'a', 'b', 'c'],
        ['all', 'a', 'b', 'c'],
        ['all', 'b']
      ])
    await vi.waitUntil(() => hub.size === 2, PATIENT)
    const walked: number[] = []
    for (const socket of hub.sockets('b')) {
      walked.push(socket.id)
      second.terminate()
      first.terminate()
    }
    expect(walked).toHaveLength(1)
    expect([hub.size, hub.count('b'), await hub.broadcast('nobody')]).toEqual([0, 0, 0])
    await expect(hub.broadcast(5 as never)).rejects.toThrow(TypeError)
  })

  test.each(['drop', 'close'] as const)('a slow reader, overflow: %s', async (overflow) => {
    const { port, hub, sockets, seen } = await serveHub(kind, {}, { maxQueued: 1_000_000, overflow })
    const client = await Client.connect(port)
    client.socket.pause()
    const [socket] = sockets as [(typeof sockets)[0]]
    const large = Buffer.alloc(400_000, 'x')
    let sent = 0
    while (socket.send(large)) sent++
    expect(sent).toBeGreaterThan(2)
    if (overflow === 'close') {
      expect(await seen('close')).toEqual([['close', 1006, '', false, socket.id]])
      expect([socket.closed, hub.size]).toEqual([true, 0])
    } else {
      expect(socket.queued).toBeGreaterThan(600_000)
      expect(await hub.broadcast(large)).toBe(0)
      client.socket.resume()
      await seen('drain')
      expect([socket.queued, socket.send('after')]).toEqual([0, true])
      const all = await client.take(sent * frameOf(2, large).length + textFrame('after').length)
      expect(all.subarray(-7)).toEqual(textFrame('after'))
    }
    client.socket.destroy()
  })

  test('a slow reader cannot make automatic responses grow', async () => {
    const { port, sockets, hub } = await serveHub(
      kind,
      {},
      { autoResponse: { request: 'p', response: 'q'.repeat(2000) } }
    )
    const client = await Client.connect(port)
    client.socket.pause()
    const [socket] = sockets as [(typeof sockets)[0]]
    while (socket.queued === 0) socket.send('x'.repeat(1_000_000))
    const before = socket.queued
    for (let i = 0; i < 1000; i++) client.socket.write(text('p'))
    client.send(masked(0x89, 'last'))
    await expect.poll(() => hub.autoResponseTimestamp(socket.id), PATIENT).toBeDefined()
    await expect.poll(() => socket.queued, PATIENT).toBeLessThan(before + 5000)
    client.socket.destroy()
  })

  test('what a handler throws: an uncaughtException, and the connection goes on', async () => {
    const fail = (message: string) => () => {
      throw new Error(message)
    }
    const { port, seen } = await serveHub(kind, {
      open: fail('o'),
      message: fail('m'),
      close: fail('c'),
      error: fail('e')
    })
    const caught: string[] = []
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException').on('uncaughtException', (error) => caught.push(error.message))
    onTestFinished(() => {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    })
    const client = await Client.connect(port)
    client.send('one', 'two', masked(0x89, 'alive'))
    expect(await client.take(7)).toEqual(frameOf(10, Buffer.from('alive')))
    client.send(masked(0xf0, ''))
    expect(await client.take(4)).toEqual(closeFrame(1002))
    client.socket.destroy()
    await seen('close')
    await expect.poll(() => caught, PATIENT).toEqual(['o', 'm', 'm', 'e', 'c'])
  })

  test('close(): the handshake with all; no more connections', async () => {
    const { url, hub, seen } = await serveHub(kind)
    const clients = await Promise.all([open(url), open(url)])
    const closes = clients.map((client) => once(client, 'close'))
    const closed = hub.close(1012, 'restart')
    expect(hub.close()).not.toBe(closed)
    await closed
    expect(hub.size).toBe(0)
    for (const event of await Promise.all(closes)) expect(event).toEqual([1012, Buffer.from('restart')])
    await seen('close', 2)
    const late = new WebSocket(url)
    // Refused, or answered by the HTTP server, which has no WebSockets any more.
    await once(late, 'error')
    await expect(hub.close(1005)).rejects.toThrow(TypeError)
  })
})

test('requests that are not for WebSockets', async () => {
  const { port, hub } = await serveHub('a port of its own', {}, { path: '/ws' })
  const response = await fetch(`http://127.0.0.1:${port}/`)
  expect([response.status, response.headers.get('upgrade')]).toEqual([426, 'websocket'])
  expect(await refused(`ws://127.0.0.1:${port}/other`)).toEqual([404, 'Not Found'])
  hub.server.on('request', (_, answer) => answer.end('health'))
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('health')
  expect(hub.size).toBe(0)
  await open(`ws://127.0.0.1:${port}/ws?a=b`)
  expect(hub.size).toBe(1)
})

test('a request that arrives in parts, or that is unusual, is read by http', async () => {
  const { port, events, hub } = await serveHub('a port of its own', {
    upgrade: ({ incoming }) => void events.push(['upgrade', incoming !== undefined])
  })
  const parts = [REQUEST.slice(0, 30), REQUEST.slice(30)]
  const slow = net.connect(port, '127.0.0.1')
  slow.setNoDelay()
  slow.write(parts[0] as string)
  while ((hub.server as unknown as Parked).stats().woken === 0) await wait(1)
  slow.write(parts[1] as string)
  expect(String((await once(slow, 'data'))[0])).toMatch(/^HTTP\/1.1 101 /)
  const twice = net.connect(port, '127.0.0.1')
  twice.write(REQUEST.replace('Host:', 'Cookie: a\r\nCookie: b\r\nHost:'))
  expect(String((await once(twice, 'data'))[0])).toMatch(/^HTTP\/1.1 101 /)
  expect(events.filter(([name]) => name === 'upgrade')).toEqual([
    ['upgrade', true],
    ['upgrade', true]
  ])
  await vi.waitUntil(() => hub.size === 2, PATIENT)
  slow.destroy()
  twice.destroy()
})

test('several hubs with a path, and a listener of somebody else, on one server', async () => {
  const server = http.createServer()
  const hubs = ['/a', '/b'].map((path) =>
    hibernate(server, { message: (socket, data) => void socket.send(path + data) }, { path })
  )
  server.on('upgrade', ({ url }, socket) => {
    if (url === '/c') socket.end('HTTP/1.1 418 c\r\nConnection: close\r\n\r\n')
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as net.AddressInfo
  onTestFinished(async () => {
    await Promise.all(hubs.map((hub) => hub.close()))
    server.close()
  })
  const [a, b] = [await open(`ws://127.0.0.1:${port}/a`), await open(`ws://127.0.0.1:${port}/b`)]
  a.send('1')
  expect(await next(a)).toBe('/a1')
  b.send('2')
  expect(await next(b)).toBe('/b2')
  expect(await refused(`ws://127.0.0.1:${port}/c`)).toEqual([418, ''])
  expect(hubs.map((hub) => hub.size)).toEqual([1, 1])
  expect(await hubs[0]?.broadcast('only a')).toBe(1)
  // An id of one hub is nothing to the other.
  const [{ id = 0 } = {}] = [...(hubs[0]?.sockets() ?? [])]
  expect(hubs[1]?.get(id)).toBeUndefined()
})

test('a Unix socket; its file goes with close()', async () => {
  const path = `${process.env.TMPDIR ?? '/tmp'}/ebb-hibernate-${process.pid}.sock`
  const hub = hibernate({ path }, { message: (socket, data) => void socket.send(data) })
  const client = await open(`ws+unix:${path}:/`)
  client.send('x')
  expect(await next(client)).toBe('x')
  await hub.close()
  expect(existsSync(path)).toBe(false)
})

test('arguments', () => {
  const invalid = expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' })
  for (const target of [undefined, null, 5, 'x', net.createServer(), https.createServer(), { port: 0, path: '/x' }]) {
    expect(() => hibernate(target as never)).toThrow(invalid)
  }
  expect(() => hibernate({})).toThrow(expect.objectContaining({ code: 'ERR_MISSING_ARGS' }))
  for (const handlers of [null, { open: 1 }, { upgrade: 'x' }]) {
    expect(() => hibernate({ port: 0 }, handlers as never)).toThrow(invalid)
  }
  for (const options of [
    null,
    { path: 'x' },
    { path: '/x?y' },
    { maxPayload: -1 },
    { maxQueued: '1' },
    { overflow: 'wait' },
    { liveness: 0 },
    { closeTimeout: 'soon' },
    { autoResponse: { request: 'a' } },
    { autoResponse: { request: 'x'.repeat(2049), response: '' } },
    {
      autoResponse: [
        { request: 'a', response: 'b' },
        { request: 'a', response: 'c' }
      ]
    }
  ]) {
    expect(() => hibernate({ port: 0 }, {}, options as never)).toThrow(invalid)
  }
})

test('arguments of a connection', async () => {
  const { url, sockets, hub } = await serveHub('a port of its own')
  await open(url)
  await expect(hub.broadcast('x', 5 as never)).rejects.toThrow('tag must be a string')
  const [socket] = sockets as [(typeof sockets)[0]]
  for (const wrong of [
    () => socket.send(5 as never),
    () => socket.close(1005),
    () => socket.close(999),
    () => socket.close('1000' as never),
    () => socket.close(3000.5),
    () => hub.count(5 as never),
    () => hub.sockets(['a'] as never),
    () => hub.sockets(null as never),
    () => socket.close(1000, 'é'.repeat(62)),
    () => socket.close(undefined, 'x'),
    () => (socket.tags = Array.from({ length: 11 }, (_, i) => `${i}`))
  ]) {
    expect(wrong).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  }
  expect(() => (socket.attachment = 'x'.repeat(20_000))).toThrow(RangeError)
  expect(() => (socket.attachment = () => {})).toThrow('could not be cloned')
  socket.attachment = new Map([[1, { two: 3n }]])
  expect(socket.attachment).toEqual(new Map([[1, { two: 3n }]]))
  socket.attachment = undefined
  expect([socket.attachment, socket.closed]).toEqual([undefined, false])
})

test('port that is in use', async () => {
  const { port } = await serveHub('a port of its own')
  expect(() => hibernate({ port })).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }))
})

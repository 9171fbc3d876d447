/** Sending to connections: to one by its id, and to all. */
import type { Socket } from 'node:net'
import { type Connection, createServer, type ParkServer } from 'ebb/net'
import { describe, expect, test } from 'vitest'
import {
  CodedReader,
  client,
  clients,
  coded,
  descriptorsReturn,
  eventually,
  expectSum,
  listening,
  stats
} from '../support/net-parity.js'
import { gone, quiet, readExactly, uncaught } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 5
const MB = 1e6

interface Crowd {
  server: ParkServer
  peers: Socket[]
  /** By index in `peers`. */
  ids: number[]
  /** The last connection of each, by index in `peers`. */
  connections: Connection[]
  /** How often the listener was called. */
  calls: () => number
}

/** This many clients that have each sent something; parked, unless `idle` prevents it. */
async function crowd(count: number, idle: number | false = IDLE): Promise<Crowd> {
  const byPort = new Map<number, Connection>()
  let calls = 0
  const server = await listening(
    createServer({ idle }, (socket, connection) => {
      calls++
      byPort.set(socket.remotePort ?? 0, connection)
      socket.on('error', () => {})
      socket.on('data', (bytes) => socket.write(bytes))
    })
  )
  const peers = await clients(server, count)
  for (const peer of peers) peer.write('x')
  await Promise.all(peers.map((peer) => readExactly(peer, 1)))
  if (idle !== false) await stats(server, { parked: count, awake: 0 })
  const connections = peers.map((peer) => byPort.get(peer.localPort ?? 0) as Connection)
  return { server, peers, ids: connections.map(({ id }) => id), connections, calls: () => calls }
}

/** Collects all bytes from now on. */
function collect(peer: Socket): { text: string } {
  const got = { text: '' }
  peer.on('data', (bytes) => {
    got.text += bytes
  })
  return got
}

describe('send()', () => {
  test('to a parked connection: it is sent, and the connection stays parked', async () => {
    const { server, peers, ids, calls } = await crowd(3)
    expect(server.send(ids[1] as number, 'hello, é')).toBe(true)
    expect(server.send(ids[1] as number, Buffer.from(' there'))).toBe(true)
    expect(server.send(ids[1] as number, new Uint8Array([33]))).toBe(true)
    const others = [collect(peers[0] as Socket), collect(peers[2] as Socket)]
    expect(`${await readExactly(peers[1] as Socket, 16)}`).toBe('hello, é there!')
    await quiet()
    expect(others).toEqual([{ text: '' }, { text: '' }])
    expect(server.stats()).toMatchObject({ parked: 3, awake: 0, woken: 3 })
    expect(calls()).toBe(3)
  })

  test('empty data sends nothing', async () => {
    const { server, peers, ids } = await crowd(1)
    const got = collect(peers[0] as Socket)
    expect(server.send(ids[0] as number, '')).toBe(true)
    expect(server.send(ids[0] as number, new Uint8Array())).toBe(true)
    await quiet()
    expect(got.text).toBe('')
    expect(server.stats()).toMatchObject({ parked: 1, awake: 0 })
  })

  test('to an awake connection: in order with what is written to its socket', async () => {
    let woken: { socket: Socket; connection: Connection } | undefined
    const server = await listening(
      createServer({ idle: false }, (socket, connection) => {
        woken = { socket, connection }
        socket.resume()
      })
    )
    const peer = await client(server)
    peer.write('x')
    await eventually(() => expect(woken).toBeDefined())
    const { socket, connection } = woken as { socket: Socket; connection: Connection }
    let expected = ''
    for (let i = 0; i < 300; i++) {
      const text = `${i},`
      expected += text
      if (i % 3 === 0) socket.write(text)
      else if (i % 3 === 1) expect(server.send(connection.id, text)).toBe(true)
      else expect(connection.send(text)).toBe(true)
    }
    expect(`${await readExactly(peer, expected.length)}`).toBe(expected)
    // Also when the kernel takes no more.
    let sent = 0
    for (; sent < 20 * MB; sent += MB) {
      if ((sent / MB) % 2 === 0) socket.write(coded(sent, MB))
      else expect(server.send(connection.id, coded(sent, MB))).toBe(true)
    }
    const reader = new CodedReader()
    peer.on('data', (bytes: Buffer) => reader.take(bytes))
    await eventually(() => expect(reader.position).toBe(sent))
  })

  test('a connection that is woken to send the rest, and closed in the same turn, is not announced', async () => {
    const { server, ids, calls } = await crowd(1)
    const [id] = ids as [number]
    const gone = new Promise((resolve) => server.once('disconnect', (_, cause) => resolve(cause)))
    expect(server.send(id, Buffer.alloc(20 * MB))).toBe(true)
    expect(server.closeConnection(id)).toBe(true)
    expect(await gone).toBe('socket')
    await quiet()
    expect(calls()).toBe(1)
    expect(server.stats()).toMatchObject({ parked: 0, awake: 0 })
  })

  test('20 MB in chunks, to a parked connection with a slow reader: it is woken, and all arrives in order', async () => {
    const { server, peers, ids, calls } = await crowd(2)
    const [peer] = peers as [Socket]
    const [id] = ids as [number]
    let sent = 0
    for (let i = 0; sent < 20 * MB; i++) {
      const length = [64, 1000, 250_000][i % 3] as number
      expect(server.send(id, coded(sent, length))).toBe(true)
      sent += length
    }
    await stats(server, { parked: 1, awake: 1, woken: 3 })
    await eventually(() => expect(calls()).toBe(3))
    const reader = new CodedReader()
    while (reader.position < sent) {
      const bytes = peer.read() as Buffer | null
      if (bytes !== null) reader.take(bytes)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    // When everything is sent, the connection may be parked again.
    await stats(server, { parked: 2, awake: 0 })
    expect(server.send(id, coded(sent, 1000))).toBe(true)
    peer.on('data', (bytes: Buffer) => reader.take(bytes))
    await eventually(() => expect(reader.position).toBe(sent + 1000))
    expect(server.stats()).toMatchObject({ parked: 2, awake: 0 })
  })

  test('more data while earlier data waits: it arrives in order, before what the woken listener writes', async () => {
    let first = true
    const ids: number[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket, { id, wakes }) => {
        ids.push(id)
        socket.resume()
        if (wakes === 2 && first) {
          first = false
          socket.write('FROM THE LISTENER')
        }
      })
    )
    const peer = await client(server)
    peer.write('x')
    await stats(server, { parked: 1, woken: 1 })
    const [id] = ids as [number]
    for (let sent = 0; sent < 10 * MB; sent += MB) server.send(id, coded(sent, MB))
    await eventually(() => expect(first).toBe(false))
    server.send(id, 'AFTER IT')
    const chunks: Buffer[] = []
    let length = 0
    peer.on('data', (bytes) => {
      chunks.push(bytes)
      length += bytes.length
    })
    await eventually(() => expect(length).toBe(10 * MB + 17 + 8))
    const all = Buffer.concat(chunks)
    // First, data that was sent before the wake. Data of the same turn may come before or after what the listener
    // wrote, but complete and in order.
    const from = all.indexOf('FROM THE LISTENER')
    expect(from).toBeGreaterThan(0)
    expect(`${all.subarray(-8)}`).toBe('AFTER IT')
    const coded_ = Buffer.concat([all.subarray(0, from), all.subarray(from + 17, -8)])
    expect(coded_.equals(coded(0, 10 * MB))).toBe(true)
  })

  test('to a parked connection: the buffer may be reused at once', async () => {
    const { server, peers, ids } = await crowd(1)
    const bytes = Buffer.alloc(MB)
    let count = 0
    for (; server.stats().parked === 1; count++) {
      bytes.fill(count)
      // The last one wakes the connection, and a part of it waits.
      server.send(ids[0] as number, bytes)
      bytes.fill(255)
    }
    const all = await readExactly(peers[0] as Socket, count * MB)
    for (let i = 0; i < count; i++) {
      expect(all.subarray(i * MB, (i + 1) * MB).every((byte) => byte === i)).toBe(true)
    }
  })

  test('to a closed connection, or an id that never existed: false', async () => {
    const { server, peers, ids, connections } = await crowd(3)
    const [parked, awake, broken] = peers as [Socket, Socket, Socket]
    parked.end()
    awake.write('y')
    await readExactly(awake, 1)
    awake.end()
    broken.resetAndDestroy()
    await stats(server, { parked: 0, awake: 0 })
    for (const id of ids) expect(server.send(id, 'x')).toBe(false)
    for (const connection of connections) expect(connection.send('x')).toBe(false)
    const most = Math.max(...ids)
    for (const id of [-1, most + 1, most + 1e6, 2 ** 32, 2 ** 53, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(server.send(id, 'x')).toBe(false)
    }
  })

  test('to a connection whose end was not reported yet: nothing is thrown, and it ends once', async () => {
    const disconnected: string[] = []
    const { server, peers, ids } = await crowd(20)
    server.on('disconnect', (_: Connection, cause: string) => void disconnected.push(cause))
    const thrown = await uncaught(async () => {
      for (const peer of peers) peer.resetAndDestroy()
      await Promise.all(peers.map(gone))
      // The first call notices it, at the latest.
      for (const id of ids) server.send(id, 'x')
      for (const id of ids) server.send(id, 'x')
      await stats(server, { parked: 0, awake: 0 })
      await quiet()
    })
    expect(thrown).toEqual([])
    expect(disconnected).toHaveLength(20)
    expectSum(server)
  })

  test('to a connection that was never awake', async () => {
    // Its id is only known from the filter of a broadcast.
    const server = await listening(createServer({ idle: IDLE }, (socket) => socket.resume()))
    const peer = await client(server)
    await stats(server, { parked: 1 })
    const ids: number[] = []
    expect(
      await server.broadcast('nobody', (id) => {
        ids.push(id)
        return false
      })
    ).toBe(0)
    expect(ids).toHaveLength(1)
    expect(server.send(ids[0] as number, 'psst')).toBe(true)
    expect(`${await readExactly(peer, 4)}`).toBe('psst')
    expect(server.stats()).toMatchObject({ parked: 1, woken: 0 })
  })

  test('within disconnect and the close event of a socket', async () => {
    const sent: boolean[] = []
    const server = await listening(
      createServer({ idle: false }, (socket, connection) => {
        socket.resume()
        socket.on('close', () => sent.push(connection.send('x'), server.send(connection.id, 'x')))
      })
    )
    server.on('disconnect', (connection: Connection) =>
      sent.push(connection.send('x'), server.send(connection.id, 'x'))
    )
    const peer = await client(server)
    peer.end('x')
    await eventually(() => expect(sent).toEqual([false, false, false, false]))
  })

  test.each<[string, unknown]>([
    ['a number', 1],
    ['an object', {}],
    ['null', null],
    ['nothing', undefined]
  ])('%s is refused, as by write()', async (_, bytes) => {
    const { server, peers, ids } = await crowd(1)
    expect(() => server.send(ids[0] as number, bytes as string)).toThrow(TypeError)
    await expect((async () => server.broadcast(bytes as string))()).rejects.toThrow(TypeError)
    server.send(ids[0] as number, 'fine')
    expect(`${await readExactly(peers[0] as Socket, 4)}`).toBe('fine')
  })

  test('after the listener has sent a FIN: false or an error, and nothing is sent after the FIN', async () => {
    const woken: Connection[] = []
    const server = await listening(
      createServer({ idle: IDLE, allowHalfOpen: true }, (socket, connection) => {
        woken.push(connection)
        socket.on('error', () => {})
        socket.resume().end('the last')
      })
    )
    const peer = await client(server)
    const got = collect(peer)
    let ended = false
    peer.on('end', () => {
      ended = true
    })
    peer.write('x')
    await eventually(() => expect(ended).toBe(true))
    const thrown = await uncaught(async () => {
      woken[0]?.send('too late')
      await quiet()
    })
    expect(thrown).toEqual([])
    expect(got.text).toBe('the last')
    peer.end()
    await stats(server, { parked: 0, awake: 0 })
  })
})

describe('broadcast()', () => {
  test('reaches all connections: parked, awake, and never woken', async () => {
    const { server, peers, calls } = await crowd(30, false)
    const silent = await clients(server, 10)
    await stats(server, { parked: 10, awake: 30 })
    let n = 0
    server.on('connection', () => n++)
    // Some of the awake connections are parked now.
    const got = [...peers, ...silent].map(collect)
    expect(await server.broadcast('to all')).toBe(40)
    await eventually(() => expect(got.map(({ text }) => text)).toEqual(Array(40).fill('to all')))
    expect([n, calls()]).toEqual([0, 30])
    expect(server.stats()).toMatchObject({ parked: 10, awake: 30, woken: 30 })
  })

  test('reaches parked and awake connections in any mixture', async () => {
    const { server, peers, connections } = await crowd(40, false)
    for (const [i, connection] of connections.entries()) if (i % 2 === 0) expect(connection.park()).toBe(true)
    expect(server.stats()).toMatchObject({ parked: 20, awake: 20 })
    const got = peers.map(collect)
    for (let i = 0; i < 5; i++) expect(await server.broadcast(Buffer.from(`${i} `))).toBe(40)
    await eventually(() => expect(got.map(({ text }) => text)).toEqual(Array(40).fill('0 1 2 3 4 ')))
    expect(server.stats()).toMatchObject({ parked: 20, awake: 20 })
  })

  test('filter: called once for each id, and only accepted ids are reached', async () => {
    const { server, peers, ids } = await crowd(20)
    const asked: number[] = []
    const wanted = new Set(ids.slice(5, 12))
    const got = peers.map(collect)
    const count = await server.broadcast('chosen', (id) => {
      asked.push(id)
      return wanted.has(id)
    })
    expect(count).toBe(7)
    expect(asked.sort((a, b) => a - b)).toEqual([...ids].sort((a, b) => a - b))
    await quiet()
    expect(got.map(({ text }) => text)).toEqual(ids.map((id) => (wanted.has(id) ? 'chosen' : '')))
  })

  test('a filter that throws rejects the promise, and the server goes on', async () => {
    const { server, peers } = await crowd(3)
    await expect(
      server.broadcast('x', () => {
        throw new Error('of the filter')
      })
    ).rejects.toThrow('of the filter')
    expect(await server.broadcast('fine')).toBe(3)
    for (const peer of peers) expect(`${await readExactly(peer, 4)}`).toBe('fine')
  })

  test('a filter that closes the connection that it is called for: no other connection gets its bytes', async () => {
    const { server, peers, connections } = await crowd(30)
    const byId = new Map(connections.map((connection) => [connection.id, connection]))
    const got = peers.map(collect)
    const count = await server.broadcast('not received', (id) => {
      // All but the first: low descriptor numbers belong to other connections, too.
      if (id === connections[0]?.id) return false
      byId.get(id)?.close()
      return true
    })
    await quiet()
    expect(count).toBe(0)
    expect(got.map(({ text }) => text)).toEqual(Array(30).fill(''))
    await stats(server, { parked: 1, awake: 0 })
    expectSum(server)
  })

  test('a filter that sends to, parks and wakes the connection that it is called for', async () => {
    const { server, peers, connections } = await crowd(30, false)
    const byId = new Map(connections.map((connection) => [connection.id, connection]))
    const got = peers.map(collect)
    const count = await server.broadcast('all', (id) => {
      const connection = byId.get(id) as Connection
      if (id % 2 === 0) connection.park()
      connection.send('one, ')
      return true
    })
    expect(count).toBe(30)
    await eventually(() => expect(got.map(({ text }) => text)).toEqual(Array(30).fill('one, all')))
    expectSum(server)
  })

  test('to no connection: 0', async () => {
    const server = createServer()
    expect(await server.broadcast('x')).toBe(0)
    await listening(server)
    expect(await server.broadcast('x')).toBe(0)
  })

  test('the bytes are copied when it is called', async () => {
    const { server, peers } = await crowd(600)
    const bytes = Buffer.from('as it was')
    const sent = server.broadcast(bytes)
    bytes.fill('!')
    expect(await sent).toBe(600)
    for (const peer of peers) expect(`${await readExactly(peer, 9)}`).toBe('as it was')
  })

  test('to slow readers: they are woken, and get everything in order', async () => {
    const { server, peers } = await crowd(6)
    let sent = 0
    while (server.stats().awake < 6) {
      expect(await server.broadcast(coded(sent, MB))).toBe(6)
      sent += MB
      expect(sent).toBeLessThan(100 * MB)
    }
    const readers = peers.map((peer) => {
      const reader = new CodedReader()
      peer.on('data', (bytes: Buffer) => reader.take(bytes))
      return reader
    })
    await eventually(() => expect(readers.map(({ position }) => position)).toEqual(Array(6).fill(sent)))
    await stats(server, { parked: 6, awake: 0 })
  })

  test('to 5,000: the event loop goes on between slices, and two broadcasts arrive in their order', async () => {
    const server = await listening(
      createServer({ idle: '1h', firstByteTimeout: false }, (socket, connection) => {
        socket.on('data', (bytes) => {
          socket.write(bytes)
          // Some of the connections stay awake.
          if (connection.id % 50 !== 0) connection.park()
        })
      })
    )
    const peers: Socket[] = []
    for (let i = 0; i < 10; i++) peers.push(...(await clients(server, 500)))
    await stats(server, { parked: 5000 })
    for (const peer of peers.slice(0, 2000)) peer.write('x')
    await Promise.all(peers.slice(0, 2000).map((peer) => readExactly(peer, 1)))
    const got = peers.map(collect)

    let turns = 0
    let over = false
    const turn = (): void => {
      turns++
      if (!over) setImmediate(turn)
    }
    setImmediate(turn)
    const first = server.broadcast('first ')
    const second = server.broadcast('second ')
    let turnsBefore = 0
    void first.then(() => {
      turnsBefore = turns
    })
    expect(await Promise.all([first, second])).toEqual([5000, 5000])
    over = true
    expect(turnsBefore).toBeGreaterThan(3)
    expect(await server.broadcast('third')).toBe(5000)
    await eventually(() => expect(got.filter(({ text }) => text === 'first second third')).toHaveLength(5000))
    expectSum(server)
  })

  test('while connections come and go, are parked and woken: those that stay get each broadcast once', async () => {
    const { server, peers } = await crowd(1500)
    const got = peers.map(collect)
    const broadcasts: Promise<number>[] = []
    const staying = got.filter((_, i) => i % 3 !== 0)
    const late: Socket[] = []
    for (let round = 0; round < 6; round++) {
      broadcasts.push(server.broadcast(`<${round}>`))
      for (const [i, peer] of peers.entries()) {
        if (i % 3 === 0 && i % 18 === 3 * round) {
          if (i % 2 === 0) peer.destroy()
          else peer.resetAndDestroy()
        } else if (i % 7 === round) peer.write('x')
      }
      late.push(...(await clients(server, 20)))
    }
    const counts = await Promise.all(broadcasts)
    for (const count of counts) {
      expect(count).toBeGreaterThanOrEqual(1000)
      expect(count).toBeLessThanOrEqual(1500 + 120)
    }
    const all = '<0><1><2><3><4><5>'
    await eventually(() => expect(staying.filter(({ text }) => text.replaceAll('x', '') !== all)).toEqual([]))
    await quiet()
    expect(staying.filter(({ text }) => text.replaceAll('x', '') !== all)).toEqual([])
    await stats(server, { parked: 1000 + 120, awake: 0 })
    expectSum(server)
  })

  test('completes when the server is closed meanwhile', async () => {
    const { server, peers } = await crowd(1000)
    const got = peers.map(collect)
    const sending = server.broadcast('the last')
    server.close()
    expect(await sending).toBe(1000)
    await eventually(() => expect(got.every(({ text }) => text === 'the last')).toBe(true))
    for (const peer of peers) peer.destroy()
    await stats(server, { parked: 0, awake: 0 })
  })

  test('completes when all connections close meanwhile', async () => {
    const { server, peers } = await crowd(1000)
    const thrown = await uncaught(async () => {
      const sending = server.broadcast('not received')
      for (const peer of peers) peer.resetAndDestroy()
      expect(await sending).toBeLessThanOrEqual(1000)
      await stats(server, { parked: 0, awake: 0 })
    })
    expect(thrown).toEqual([])
    expect(await server.broadcast('x')).toBe(0)
  })
})

/** Attachments: what a connection keeps while it is parked. */
import { connect, createServer as createPlain, type Socket } from 'node:net'
import { park } from 'ebb'
import { type Connection, createServer, type ParkServer } from 'ebb/net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addressOf, client, clients, descriptorsReturn, eventually, listening, stats } from '../support/net-parity.js'
import { readExactly } from '../support/sockets.js'

descriptorsReturn()

const LIMIT = 16_384

/** An awake connection, and functions that park and wake it. */
class Sleeper {
  readonly server: ParkServer
  readonly peer: Socket
  readonly woken: Connection[]

  constructor(server: ParkServer, peer: Socket, woken: Connection[]) {
    this.server = server
    this.peer = peer
    this.woken = woken
  }

  get now(): Connection {
    return this.woken.at(-1) as Connection
  }

  /** Parks and wakes it, and returns the connection of the new wake. */
  async sleep(): Promise<Connection> {
    expect(this.now.park()).toBe(true)
    expect(this.server.stats()).toMatchObject({ parked: 1, awake: 0 })
    return await this.wake()
  }

  async wake(): Promise<Connection> {
    this.peer.write('x')
    await readExactly(this.peer, 1)
    return this.now
  }
}

async function sleeper(options: { attachmentLimit?: number } = {}): Promise<Sleeper> {
  const woken: Connection[] = []
  const server = await listening(
    createServer({ idle: false, ...options }, (socket, connection) => {
      woken.push(connection)
      socket.on('data', (bytes) => socket.write(bytes))
    })
  )
  const it = new Sleeper(server, await client(server), woken)
  await it.wake()
  return it
}

const cycle: { self?: unknown; list: unknown[] } = { list: [1] }
cycle.self = cycle
cycle.list.push(cycle)

describe('is the same after parking and waking', () => {
  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['true', true],
    ['a number', 12.5],
    ['-0', -0],
    ['NaN', Number.NaN],
    ['a string', 'é \0 \u{1f98a}'],
    ['a BigInt', -(2n ** 100n)],
    ['an object', { name: 'ebb', nested: { list: [1, 'two', null, undefined] } }],
    ['an array with holes', Object.assign(new Array(3), { 0: 1, 2: 3 })],
    ['a Date', new Date(1e12)],
    ['a RegExp', /^a.b$/giu],
    ['a Map', new Map<unknown, unknown>([['key', new Map([[1, new Set([2])]])]])],
    ['a Set', new Set<unknown>([1, 'a', new Date(0)])],
    ['an Error', new RangeError('too much')],
    ['an ArrayBuffer', new Uint8Array([1, 2, 3]).buffer],
    ['a DataView', new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2)],
    ['a Uint8Array', new Uint8Array([1, 2, 3])],
    ['a Float64Array', new Float64Array([0.5, -1])],
    ['a BigInt64Array', new BigInt64Array([-1n, 2n])],
    ['a boxed string', Object('boxed')],
    ['a cycle', cycle]
  ])('%s', async (_, value) => {
    const it = await sleeper()
    it.now.attachment = value
    const before = it.now.attachment
    const after = (await it.sleep()).attachment
    const expected = structuredClone(value)
    expect(before).toStrictEqual(expected)
    expect(after).toStrictEqual(expected)
    // And after one more wake, without setting it again.
    expect((await it.sleep()).attachment).toStrictEqual(expected)
  })

  test('a Buffer: only its own bytes, not the rest of the pool', async () => {
    const it = await sleeper({ attachmentLimit: 100 })
    it.now.attachment = { bytes: Buffer.from('some bytes') }
    const { bytes } = (await it.sleep()).attachment as { bytes: Uint8Array }
    expect(bytes).toBeInstanceOf(Uint8Array)
    expect(Buffer.from(bytes).toString()).toBe('some bytes')
  })

  test('random values that can be cloned', async () => {
    const it = await sleeper({ attachmentLimit: 2 ** 20 })
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true
    })
    await fc.assert(
      fc.asyncProperty(anything, async (value) => {
        it.now.attachment = value
        expect((await it.sleep()).attachment).toEqual(structuredClone(value))
      }),
      { numRuns: 200 }
    )
  })
})

describe('is a copy', () => {
  test('taken when it is set, and made anew by each read', async () => {
    const it = await sleeper()
    const value = { list: [1] }
    it.now.attachment = value
    value.list.push(2)
    const first = it.now.attachment as typeof value
    expect(first).toEqual({ list: [1] })
    first.list.push(3)
    expect(it.now.attachment).not.toBe(first)
    expect((await it.sleep()).attachment).toEqual({ list: [1] })
  })

  test('the last value set counts, also undefined', async () => {
    const it = await sleeper()
    for (const value of [{ a: 'x'.repeat(1000) }, 'short', undefined, { a: 1 }, null]) {
      it.now.attachment = value
      expect((await it.sleep()).attachment).toStrictEqual(value)
    }
  })

  test('each connection has its own', async () => {
    const woken = new Map<number, Connection[]>()
    const server = await listening(
      createServer({ idle: 5 }, (socket, connection) => {
        woken.set(connection.id, [...(woken.get(connection.id) ?? []), connection])
        if (connection.wakes === 1) connection.attachment = { id: connection.id, port: socket.remotePort }
        else expect(connection.attachment).toEqual({ id: connection.id, port: socket.remotePort })
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    const peers = await clients(server, 50)
    for (let round = 0; round < 3; round++) {
      for (const peer of peers) peer.write('x')
      await Promise.all(peers.map((peer) => readExactly(peer, 1)))
      await stats(server, { parked: 50, awake: 0 })
    }
    expect(woken.size).toBe(50)
    // Some close, and new ones get their descriptors: a new connection has no attachment.
    for (const peer of peers.slice(0, 25)) peer.destroy()
    await stats(server, { parked: 25 })
    const known = new Set(woken.keys())
    const fresh = await clients(server, 25)
    for (const peer of [...fresh, ...peers.slice(25)]) {
      peer.write('x')
      await readExactly(peer, 1)
    }
    const first = [...woken].filter(([id]) => !known.has(id)).map(([, [connection]]) => connection)
    expect(first).toHaveLength(25)
    expect(first.every((connection) => connection?.wakes === 1)).toBe(true)
  })

  test('a new connection has none, even if it has the descriptor of one that had', async () => {
    const woken: Connection[] = []
    const server = await listening(
      createServer({ idle: false }, (socket, connection) => {
        woken.push(connection)
        expect(connection.attachment).toBeUndefined()
        connection.attachment = 'of another'
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    for (let i = 1; i <= 10; i++) {
      const peer = await client(server)
      peer.write('x')
      await readExactly(peer, 1)
      // Some end while parked, some while awake.
      if (i % 2 === 0) woken.at(-1)?.park()
      peer.destroy()
      await stats(server, { parked: 0, awake: 0, accepted: i })
    }
    expect(woken).toHaveLength(10)
  })
})

describe('is refused when it is set, and the old value stays', () => {
  const tooLarge = expect.objectContaining({ name: 'RangeError', code: 'ERR_EBB_ATTACHMENT_TOO_LARGE' })

  test.each<[string, unknown]>([
    ['a string', 'x'.repeat(LIMIT + 1)],
    ['bytes', new Uint8Array(LIMIT + 1)],
    ['many small things', Array.from({ length: LIMIT }, (_, i) => i)],
    ['deep down', { a: [{ b: new Map([['c', 'x'.repeat(LIMIT)]]) }] }]
  ])('too large: %s', async (_, value) => {
    const it = await sleeper()
    it.now.attachment = { old: 1 }
    expect(() => {
      it.now.attachment = value
    }).toThrow(tooLarge)
    expect(() => {
      it.now.attachment = value
    }).toThrow(RangeError)
    expect(it.now.attachment).toEqual({ old: 1 })
    expect((await it.sleep()).attachment).toEqual({ old: 1 })
  })

  test('the limit is in bytes, 16 KB unless it is set', async () => {
    const it = await sleeper()
    const set = (length: number): void => {
      it.now.attachment = new Uint8Array(length)
    }
    // A few bytes are the serialisation's own.
    set(LIMIT - 100)
    expect(() => set(LIMIT)).toThrow(tooLarge)
    // One character, two bytes.
    expect(() => {
      it.now.attachment = '\u{142}'.repeat(LIMIT / 2)
    }).toThrow(tooLarge)
    expect((await it.sleep()).attachment).toHaveLength(LIMIT - 100)
  })

  test('attachmentLimit, lower and higher, of park() and createServer()', async () => {
    const seen: [number, boolean][] = []
    const listener = (socket: Socket, connection: Connection): void => {
      for (const length of [10, 900, 100_000]) {
        let taken = true
        try {
          connection.attachment = 'x'.repeat(length)
        } catch (error) {
          taken = false
          expect(error).toEqual(tooLarge)
        }
        seen.push([length, taken])
      }
      socket.resume().end()
    }
    for (const attachmentLimit of [50, 1000, 200_000]) {
      for (const server of [
        createServer({ attachmentLimit }, listener),
        park(createPlain().on('connection', listener), { attachmentLimit })
      ]) {
        await listening(server)
        ;(await client(server)).end('x')
        await stats(server, { accepted: 1, awake: 0, parked: 0 })
        expect(seen.splice(0)).toEqual([
          [10, true],
          [900, attachmentLimit > 900],
          [100_000, attachmentLimit > 100_000]
        ])
      }
    }
  })

  test.each<[string, unknown]>([
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    ['a promise', Promise.resolve()],
    ['a WeakMap', new WeakMap()],
    ['a function within', { list: [{ deep: () => 1 }] }],
    ['a method', { name: 'ebb', method() {} }]
  ])('what cannot be cloned: %s', async (_, value) => {
    const it = await sleeper()
    it.now.attachment = ['old']
    let error: unknown
    try {
      it.now.attachment = value
    } catch (thrown) {
      error = thrown
    }
    let expected: unknown
    try {
      structuredClone(value)
    } catch (thrown) {
      expected = thrown
    }
    // The error of structuredClone().
    expect(error).toMatchObject({ name: 'DataCloneError', message: (expected as Error).message })
    expect((await it.sleep()).attachment).toEqual(['old'])
  })

  // structuredClone() ends the process with a signal for a closed handle.
  test.each(['open', 'closed'])('a handle of Node that is %s cannot be cloned', async (state) => {
    const it = await sleeper()
    const socket = connect(addressOf(it.server) as { port: number; host: string })
    await new Promise((resolve) => socket.once('connect', resolve))
    const { _handle: handle } = socket as unknown as { _handle: object }
    const done = new Promise((resolve) => socket.once('close', resolve))
    if (state === 'closed') {
      socket.destroy()
      await done
    }
    for (const value of [handle, { deep: [handle] }]) {
      expect(() => {
        it.now.attachment = value
      }).toThrow(expect.objectContaining({ name: 'DataCloneError' }))
    }
    expect(it.now.attachment).toBeUndefined()
    socket.destroy()
  })

  test('an error of a getter is passed on', async () => {
    const it = await sleeper()
    it.now.attachment = 1
    const error = new Error('mine')
    expect(() => {
      it.now.attachment = {
        get value(): never {
          throw error
        }
      }
    }).toThrow(error)
    expect(it.now.attachment).toBe(1)
  })
})

test('can be read and set while the connection is parked', async () => {
  const it = await sleeper()
  const { now } = it
  now.attachment = 'first'
  now.park()
  expect(now.attachment).toBe('first')
  now.attachment = 'second'
  expect((await it.wake()).attachment).toBe('second')
})

test('can be read after the connection has closed', async () => {
  const it = await sleeper()
  let attachment: unknown
  it.now.attachment = new Map([['last', 'words']])
  it.server.on('disconnect', (connection: Connection) => {
    attachment = connection.attachment
  })
  it.now.park()
  it.peer.destroy()
  await eventually(() => expect(attachment).toEqual(new Map([['last', 'words']])))
})

/** The data of a connection: every byte arrives, in order, and the handlers are called as documented. */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import {
  client,
  clients,
  directory,
  gone,
  quiet,
  readAll,
  readExactly,
  target,
  until
} from '../../../../test/support/sockets.js'
import type { Connection } from './connection.js'
import type { Listener, ListenOptions } from './listen.js'
import type { EpollListener } from './listener.js'
import { serve } from './testing/serve.js'

const MEGABYTE = Buffer.alloc(1_000_000, randomBytes(10_007))

/** Writes until the kernel takes no more, and once more. Returns the written bytes. */
function fill(connection: Connection): Buffer[] {
  const written: Buffer[] = []
  let taken = true
  while (taken) {
    written.push(MEGABYTE)
    taken = connection.write(MEGABYTE)
  }
  // The kernel may take a little more, but less than this.
  for (let i = 0; i < 2; i++) {
    written.push(MEGABYTE)
    connection.write(MEGABYTE)
  }
  return written
}

/** A listener that records its connections and the calls of its handlers. */
function recorded(
  on: { open?(connection: Connection): void; data?(connection: Connection, bytes: Buffer): void } = {},
  options?: ListenOptions
): { listener: Listener; connections: Connection[]; log: string[]; data: Buffer[] } {
  const connections: Connection[] = []
  const log: string[] = []
  const data: Buffer[] = []
  const listener = serve(
    {
      open(connection) {
        connections.push(connection)
        log.push('open')
        on.open?.(connection)
      },
      data(connection, bytes) {
        data.push(bytes)
        on.data?.(connection, bytes)
      },
      drain: () => void log.push('drain'),
      close: (_, error) => void log.push(error === undefined ? 'close' : `close ${error.code}`)
    },
    options
  )
  return { listener, connections, log, data }
}

/** The only connection of a listener, and its client. */
async function one({ listener, connections }: ReturnType<typeof recorded>): Promise<[Connection, Socket]> {
  const socket = await client(listener.address)
  await until(() => connections.length > 0)
  return [connections[0] as Connection, socket]
}

describe('echo', () => {
  // Chunks of 1 byte to 1 MB: many small ones, some large ones.
  const piece = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 100 }) },
    { weight: 2, arbitrary: fc.integer({ min: 1, max: 70_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 1_000_000 }) }
  )
  const conversation = fc.array(piece, { minLength: 1, maxLength: 12 })

  test.each<[string, () => ListenOptions]>([
    ['TCP', () => ({ port: 0 })],
    ['a Unix socket', () => ({ path: join(directory(), 'echo') })]
  ])('over %s: every byte, once and in order, to whom it belongs', async (_, options) => {
    const listener = serve({ data: (connection, bytes) => void connection.write(bytes) }, options())
    const talk = async (pieces: number[]): Promise<void> => {
      const socket = await client(listener.address)
      const echoed = readAll(socket)
      const sent = pieces.map((length) => randomBytes(length))
      for (const [i, bytes] of sent.entries()) {
        socket.write(bytes)
        if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      // A FIN while all of it is still being sent.
      socket.end()
      expect((await echoed).equals(Buffer.concat(sent))).toBe(true)
    }
    await fc.assert(
      fc.asyncProperty(fc.array(conversation, { minLength: 1, maxLength: 4 }), (conversations) =>
        Promise.all(conversations.map(talk)).then(() => {})
      ),
      { numRuns: 25 }
    )
    await until(() => listener.clients === 0)
  })

  test('a string is UTF-8', async () => {
    const listener = serve({ open: (connection) => connection.end('é€😀') })
    expect(`${await readAll(await client(listener.address))}`).toBe('é€😀')
  })

  test('empty writes send nothing', async () => {
    const results: boolean[] = []
    const listener = serve({
      open(connection) {
        results.push(connection.write(''), connection.write(new Uint8Array(0)))
        connection.end(Buffer.alloc(0))
      }
    })
    expect(await readAll(await client(listener.address))).toHaveLength(0)
    expect(results).toEqual([true, true])
  })

  test('a view sends its own bytes, not the rest of its buffer', async () => {
    const whole = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8])
    const listener = serve({
      open(connection) {
        connection.write(whole.subarray(2, 4))
        connection.write(Buffer.from(whole.buffer, 5, 2))
        connection.end()
      }
    })
    expect([...(await readAll(await client(listener.address)))]).toEqual([3, 4, 6, 7])
  })
})

describe('received bytes', () => {
  test('belong to the handler: later reads do not change them', async () => {
    const received: [number, Buffer][] = []
    const listener = serve({ data: ({ id }, bytes) => void received.push([id, bytes]) })
    const sockets = await clients(listener.address, 8)
    const sent = Array.from({ length: 8 }, () => randomBytes(500_000))
    await Promise.all(
      sockets.map(async (socket, i) => {
        const bytes = sent[i] as Buffer
        let at = 0
        for (let length = 1; at < bytes.length; length = (length * 7) % 30_011) {
          socket.write(bytes.subarray(at, at + length))
          at += length
          if (length % 2 === 0) await new Promise((resolve) => setImmediate(resolve))
        }
        socket.end()
      })
    )
    await until(() => listener.accepted === 8 && listener.clients === 0)
    const ids = [...new Set(received.map(([id]) => id))]
    const got = ids.map((id) => Buffer.concat(received.flatMap(([of, bytes]) => (of === id ? [bytes] : []))))
    expect(got.map(String).sort()).toEqual(sent.map(String).sort())
    expect(received.every(([, bytes]) => bytes.length > 0)).toBe(true)
  })

  test('may be overwritten without harm to other connections', async () => {
    const received: string[] = []
    const listener = serve({
      data(_, bytes) {
        received.push(`${bytes}`)
        bytes.fill(0)
      }
    })
    const socket = await client(listener.address)
    for (let i = 0; i < 20; i++) {
      socket.write(`${i};`)
      await until(() => received.join('').endsWith(`${i};`))
    }
    expect(received.join('')).toBe(Array.from({ length: 20 }, (_, i) => `${i};`).join(''))
  })

  test('are read and dropped without a handler, and the FIN closes the connection', async () => {
    const listener = serve({})
    const socket = await client(listener.address)
    for (let i = 0; i < 10; i++) socket.write(MEGABYTE)
    socket.end()
    expect(await readAll(socket)).toHaveLength(0)
    await until(() => listener.clients === 0)
  })

  test('a connection that sends without end does not hold up the others', async () => {
    const listener = serve({
      data(connection, bytes) {
        if (bytes.length < 100) connection.write(bytes)
      }
    })
    const loud = await client(listener.address)
    const timer = setInterval(() => loud.writableNeedDrain || loud.write(MEGABYTE), 0)
    const quietOne = await client(listener.address)
    for (let i = 0; i < 20; i++) {
      quietOne.write('ping')
      expect(`${await readExactly(quietOne, 4)}`).toBe('ping')
    }
    clearInterval(timer)
  })
})

describe('a reader that is slow', () => {
  test('gets 1 MB writes complete and in order, with one drain for each write() that returned false', async () => {
    const record = recorded()
    const [connection, socket] = await one(record)
    const written: Buffer[] = []
    for (let round = 1; round <= 3; round++) {
      written.push(...fill(connection))
      expect(connection.queued).toBeGreaterThan(0)
      expect(connection.queued).toBeLessThanOrEqual(3 * MEGABYTE.length)
      const queued = connection.queued
      expect(connection.write('more')).toBe(false)
      written.push(Buffer.from('more'))
      expect(connection.queued).toBe(queued + 4)
      await quiet()
      // Not before the kernel has all of it.
      expect(record.log.filter((entry) => entry === 'drain')).toHaveLength(connection.queued > 0 ? round - 1 : round)
      const expected = Buffer.concat(written.splice(0))
      expect((await readExactly(socket, expected.length)).equals(expected)).toBe(true)
      await until(() => record.log.filter((entry) => entry === 'drain').length === round)
      expect(connection.queued).toBe(0)
      expect(connection.write('')).toBe(true)
    }
    await quiet()
    expect(record.log).toEqual(['open', 'drain', 'drain', 'drain'])
  })

  test('gets 1-byte writes complete and in order', async () => {
    const record = recorded()
    const [connection, socket] = await one(record)
    const written = fill(connection)
    const queued = connection.queued
    const bytes = randomBytes(5000)
    for (const byte of bytes) connection.write(Buffer.of(byte))
    expect(connection.queued).toBe(queued + bytes.length)
    connection.end()
    const expected = Buffer.concat([...written, bytes])
    expect((await readAll(socket)).equals(expected)).toBe(true)
    socket.end()
    await until(() => record.log.includes('close'))
    // Nothing can be written after end(), so drain would be useless.
    expect(record.log).toEqual(['open', 'close'])
  })

  test('queued bytes are a copy: the caller may reuse its buffer', async () => {
    const record = recorded()
    const [connection, socket] = await one(record)
    const written = fill(connection)
    const mine = Buffer.from('mine')
    connection.write(mine)
    const large = Buffer.from(MEGABYTE)
    connection.write(large)
    mine.fill('x')
    large.fill('x')
    connection.end()
    const expected = Buffer.concat([...written, Buffer.from('mine'), MEGABYTE])
    expect((await readAll(socket)).equals(expected)).toBe(true)
  })

  test('that pauses between its reads gets everything, also over a Unix socket', async () => {
    const record = recorded({}, { path: join(directory(), 'slow') })
    const [connection, socket] = await one(record)
    const expected = Buffer.concat([...fill(connection), ...Array.from({ length: 3 }, () => MEGABYTE)])
    for (let i = 0; i < 3; i++) connection.write(MEGABYTE)
    connection.end()
    const got: Buffer[] = []
    for await (const chunk of socket) {
      got.push(chunk as Buffer)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(Buffer.concat(got).equals(expected)).toBe(true)
  })

  test('does not hold up the other connections', async () => {
    const record = recorded({ data: (connection, bytes) => void connection.write(bytes) })
    const [connection] = await one(record)
    fill(connection)
    const other = await client(record.listener.address)
    for (let i = 0; i < 20; i++) {
      other.write('ping')
      expect(`${await readExactly(other, 4)}`).toBe('ping')
    }
    expect(connection.queued).toBeGreaterThan(0)
  })

  test('close() frees the queued bytes', async () => {
    const record = recorded()
    const [connection, socket] = await one(record)
    fill(connection)
    connection.close()
    expect(connection.queued).toBe(0)
    expect(record.log).toEqual(['open', 'close'])
    await readAll(socket)
  })
})

describe('writing from within a handler', () => {
  test('open, data and drain', async () => {
    let blockages = 0
    let blocked = false
    const sent: Buffer[] = []
    const write = (connection: Connection, bytes: Buffer): void => {
      sent.push(bytes)
      const taken = connection.write(bytes)
      if (!taken && !blocked) blockages++
      blocked ||= !taken
    }
    let drains = 0
    const listener = serve({
      open: (connection) => write(connection, Buffer.from('hello\n')),
      data(connection) {
        while (!blocked) write(connection, MEGABYTE)
      },
      drain(connection) {
        drains++
        blocked = false
        if (drains === 4) connection.end('bye\n')
        else while (!blocked) write(connection, MEGABYTE)
      }
    })
    const socket = await client(listener.address)
    socket.write('go')
    const got = await readAll(socket)
    expect(got.equals(Buffer.concat([...sent, Buffer.from('bye\n')]))).toBe(true)
    expect(drains).toBe(4)
    expect(blockages).toBe(4)
  })

  test('close: write() returns false', async () => {
    const said: unknown[] = []
    const listener = serve({
      close(connection) {
        said.push(connection.closed, connection.write('x'), connection.queued, connection.remoteAddress)
        connection.end('x')
        connection.pause()
        connection.resume()
        connection.close()
      }
    })
    const socket = await client(listener.address)
    socket.end()
    await until(() => said.length > 0)
    expect(said).toEqual([true, false, 0, undefined])
    expect(listener.clients).toBe(0)
  })

  test('closing in data: data is not called again', async () => {
    const record = recorded({ data: (connection) => connection.close() })
    const socket = await client(record.listener.address)
    socket.write(MEGABYTE)
    await gone(socket.resume())
    expect(record.data).toHaveLength(1)
    expect(record.log).toEqual(['open', 'close'])
  })

  test('closing in open and in drain', async () => {
    const opened = recorded({ open: (connection) => connection.close() })
    await readAll(await client(opened.listener.address))
    expect(opened.log).toEqual(['open', 'close'])

    const log: string[] = []
    const listener = serve({
      open: (connection) => void fill(connection),
      drain(connection) {
        log.push('drain')
        connection.close()
      },
      close: () => void log.push('close')
    })
    await readAll(await client(listener.address))
    expect(log).toEqual(['drain', 'close'])
  })
})

describe('end()', () => {
  test('sends the queue, then a FIN; the peer may go on sending until its own FIN', async () => {
    const record = recorded()
    const [connection, socket] = await one(record)
    const written = fill(connection)
    connection.end('last')
    expect(() => connection.write('x')).toThrow(expect.objectContaining({ code: 'ERR_STREAM_WRITE_AFTER_END' }))
    const expected = Buffer.concat([...written, Buffer.from('last')])
    expect((await readAll(socket)).equals(expected)).toBe(true)
    expect(record.log).toEqual(['open'])
    socket.write('after your end')
    await until(() => record.data.length > 0)
    expect(`${Buffer.concat(record.data)}`).toBe('after your end')
    expect(() => connection.write('x')).toThrow(expect.objectContaining({ code: 'ERR_STREAM_WRITE_AFTER_END' }))
    socket.end()
    await until(() => record.log.includes('close'))
    expect(record.log).toEqual(['open', 'close'])
    expect(connection.write('x')).toBe(false)
  })

  test('calling it twice is the same as calling it once', async () => {
    const record = recorded()
    const [connection, socket] = await one(record)
    connection.end('x')
    connection.end()
    expect(() => connection.end('y')).toThrow(expect.objectContaining({ code: 'ERR_STREAM_WRITE_AFTER_END' }))
    expect(`${await readAll(socket)}`).toBe('x')
    socket.end()
    await until(() => record.log.includes('close'))
  })
})

describe('a peer that ends', () => {
  test('gets all queued bytes', async () => {
    const record = recorded()
    const [connection, socket] = await one(record)
    const written = fill(connection)
    socket.end('bye')
    await until(() => record.data.length > 0)
    await quiet()
    expect(record.log).toEqual(['open'])
    // A later write() returns false but does not throw, because end() was not called.
    const queued = connection.queued
    expect(connection.write('too late')).toBe(false)
    expect(connection.queued).toBe(queued)
    const expected = Buffer.concat(written)
    expect((await readAll(socket)).equals(expected)).toBe(true)
    await until(() => record.log.length > 1)
    expect(record.log).toEqual(['open', 'close'])
    expect(`${Buffer.concat(record.data)}`).toBe('bye')
  })

  test('after sending much that is not read yet: all of it is read first', async () => {
    const record = recorded()
    const socket = await client(record.listener.address)
    const bytes = randomBytes(300_000)
    socket.end(bytes)
    await until(() => record.log.includes('close'))
    expect(Buffer.concat(record.data).equals(bytes)).toBe(true)
  })

  test('at the same time as the server: close is called once', async () => {
    const record = recorded({ data: (connection) => connection.end('ok') })
    const socket = await client(record.listener.address)
    socket.end('x')
    expect(`${await readAll(socket)}`).toBe('ok')
    await until(() => record.log.includes('close'))
    expect(record.log).toEqual(['open', 'close'])
  })
})

describe('pause and resume', () => {
  test('nothing is delivered while it is paused, and everything after it', async () => {
    const record = recorded({ open: (connection) => connection.pause() })
    const [connection, socket] = await one(record)
    socket.write(MEGABYTE)
    await quiet()
    expect(record.data).toEqual([])
    connection.resume()
    await until(() => Buffer.concat(record.data).length === MEGABYTE.length)
    expect(Buffer.concat(record.data).equals(MEGABYTE)).toBe(true)
  })

  test('at every chunk, up to the FIN after the last one', async () => {
    const record = recorded({
      data(connection) {
        connection.pause()
        setImmediate(() => connection.resume())
      }
    })
    const socket = await client(record.listener.address)
    socket.end(MEGABYTE)
    await until(() => record.log.includes('close'))
    expect(Buffer.concat(record.data).equals(MEGABYTE)).toBe(true)
    expect(record.log).toEqual(['open', 'close'])
  })

  test('queued bytes are sent while it is paused', async () => {
    const record = recorded({ open: (connection) => connection.pause() })
    const [connection, socket] = await one(record)
    const expected = Buffer.concat(fill(connection))
    expect((await readExactly(socket, expected.length)).equals(expected)).toBe(true)
    await until(() => record.log.includes('drain'))
    expect(record.log).toEqual(['open', 'drain'])
  })

  test.each<[string, () => ListenOptions]>([
    ['TCP, after our end()', () => ({ port: 0 })],
    ['a Unix socket', () => ({ path: join(directory(), 'paused') })]
  ])('what a peer sent before it closed is there after the pause: %s', async (kind, options) => {
    const record = recorded(
      {
        open(connection) {
          connection.pause()
          if (kind.startsWith('TCP')) connection.end()
        }
      },
      options()
    )
    const socket = connect(target(record.listener.address))
    socket.resume().end('a word before I go', () => socket.destroy())
    await gone(socket)
    await until(() => record.connections.length > 0)
    const [connection] = record.connections as [Connection]
    const ready = vi.spyOn(record.listener as EpollListener, 'ready')
    await quiet()
    // epoll would report the hang-up in every turn of the event loop.
    expect(ready.mock.calls.length).toBeLessThan(5)
    expect(record.log).toEqual(['open'])
    connection.pause()
    connection.resume()
    await until(() => record.log.includes('close'))
    expect(record.log).toEqual(['open', 'close'])
    expect(`${Buffer.concat(record.data)}`).toBe('a word before I go')
  })

  test('a peer that closed with nothing left to read closes the connection at once', async () => {
    const record = recorded({ open: (connection) => connection.pause() }, { path: join(directory(), 'paused') })
    const [, socket] = await one(record)
    socket.destroy()
    await until(() => record.log.includes('close'))
    expect(record.log).toEqual(['open', 'close'])
  })
})

describe('handles', () => {
  test('ids are never reused, and an old handle does not touch the new connection with its descriptor', async () => {
    const old: Connection[] = []
    const listener = serve({
      open: (connection) => void old.push(connection),
      data: (connection, bytes) => void connection.write(bytes)
    })
    for (let i = 0; i < 50; i++) {
      const socket = await client(listener.address)
      socket.end()
      await gone(socket.resume())
      await until(() => listener.clients === 0)
    }
    expect(new Set(old.map(({ id }) => id)).size).toBe(50)
    const stale = old.slice()
    const socket = await client(listener.address)
    await until(() => old.length === 51)
    for (const connection of stale) {
      expect(connection.closed).toBe(true)
      expect(connection.write('from another life')).toBe(false)
      expect(connection.queued).toBe(0)
      expect(connection.remoteAddress).toBe(undefined)
      connection.pause()
      connection.end('x')
      connection.close()
    }
    expect(old[50]?.closed).toBe(false)
    socket.write('hello')
    expect(`${await readExactly(socket, 5)}`).toBe('hello')
  })

  test('two handles of one connection are interchangeable', async () => {
    const handles: Connection[] = []
    const keep = (connection: Connection): void => void handles.push(connection)
    const listener = serve({ open: keep, data: keep })
    const socket = await client(listener.address)
    socket.write('x')
    await until(() => handles.length === 2)
    const [a, b] = handles as [Connection, Connection]
    expect(a.id).toBe(b.id)
    a.write('a')
    b.end('b')
    expect(() => a.write('c')).toThrow(/write after end/)
    expect(`${await readAll(socket)}`).toBe('ab')
    b.close()
    expect([a.closed, b.closed]).toEqual([true, true])
  })
})

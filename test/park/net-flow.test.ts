/** Flow control: slow readers, and bytes that arrive at the moment when a connection is parked. */
import type { Socket } from 'node:net'
import { type Connection, createServer } from 'ebb/net'
import { describe, expect, test } from 'vitest'
import { Child } from '../support/child.js'
import {
  addressOf,
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
import { quiet, readExactly } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 5
const MB = 1e6

describe('a peer that reads slowly', () => {
  test('8 MB and more arrive complete before the connection is parked, although that takes longer than idle', async () => {
    let written = 0
    let woken: Socket | undefined
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        socket.resume()
        if (woken !== undefined) return
        woken = socket
        // More than the kernel takes, and at least 8 MB.
        while (written < 8 * MB || socket.writableLength === 0) {
          socket.write(coded(written, MB))
          written += MB
        }
      })
    )
    const peer = await client(server)
    peer.write('x')
    await eventually(() => expect(written).toBeGreaterThan(0))
    for (let i = 0; i < 5; i++) {
      await quiet()
      expect(woken?.writableLength).toBeGreaterThan(0)
      expect(server.stats()).toMatchObject({ parked: 0, awake: 1 })
    }
    const reader = new CodedReader()
    while (reader.position < written) {
      const bytes = peer.read() as Buffer | null
      if (bytes !== null) reader.take(bytes)
      await new Promise((resolve) => setTimeout(resolve, 2))
      const { parked, awake } = server.stats()
      if (awake === 0) expect(woken?.destroyed).toBe(true)
      else expect(parked).toBe(0)
    }
    expect(reader.position).toBe(written)
    await stats(server, { parked: 1, awake: 0, woken: 1 })
  })

  test('write callbacks are called before the connection is parked', async () => {
    const log: string[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        socket.resume()
        for (let i = 0; i < 20; i++) socket.write(Buffer.alloc(MB), (error) => log.push(`written ${error ?? i}`))
        socket.on('drain', () => log.push('drain'))
        socket.on('close', () => log.push('close'))
      })
    )
    const peer = await client(server)
    peer.write('x')
    await quiet()
    peer.resume()
    await stats(server, { parked: 1 })
    await eventually(() => expect(log).toContain('close'))
    expect(log.filter((said) => said.startsWith('written'))).toEqual(
      Array.from({ length: 20 }, (_, i) => `written ${i}`)
    )
    expect(log.at(-1)).toBe('close')
    expect(log).toContain('drain')
  })

  test('an echo of 8 MB to a reader that stops again and again', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        socket.pipe(socket)
        // pipeline() reports a socket that closes without an end.
        socket.on('error', () => {})
      })
    )
    const peer = await client(server)
    const reader = new CodedReader()
    let sent = 0
    const total = 8 * MB
    const feed = (): void => {
      while (sent < total) {
        const length = Math.min(100_000, total - sent)
        const more = peer.write(coded(sent, length))
        sent += length
        if (!more) break
      }
    }
    peer.on('drain', feed)
    feed()
    let stops = 0
    peer.on('data', (bytes: Buffer) => {
      reader.take(bytes)
      if (reader.position / MB > stops) {
        stops++
        peer.pause()
        setTimeout(() => peer.resume(), 6 * IDLE)
      }
    })
    await eventually(() => expect(reader.position).toBe(total))
    expect(stops).toBeGreaterThan(5)
    await stats(server, { parked: 1, awake: 0 })
  })
})

describe('a listener that reads slowly', () => {
  test('unread bytes wait in the kernel: none is lost, and the connection is not parked in a loop', async () => {
    const reader = new CodedReader()
    const woken: Socket[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        woken.push(socket)
        if (woken.length === 1) socket.pause()
        socket.on('data', (bytes) => reader.take(bytes))
      })
    )
    const peer = await client(server)
    let drained = false
    for (let sent = 0; sent < 8 * MB; sent += MB) {
      peer.write(coded(sent, MB), () => {
        if (sent === 7 * MB) drained = true
      })
    }
    await eventually(() => expect(woken).toHaveLength(1))
    for (let i = 0; i < 6; i++) await quiet()
    // Node may have read one buffer ahead, and not more.
    expect(server.stats()).toMatchObject({ parked: 0, awake: 1, woken: 1, parkedAgain: 0 })
    expect(reader.position).toBe(0)
    expect(drained).toBe(false)
    woken[0]?.resume()
    await eventually(() => expect(reader.position).toBe(8 * MB))
    await stats(server, { parked: 1, awake: 0 })
  })

  test('paused after the first bytes, with nothing in Node’s buffer', async () => {
    const reader = new CodedReader()
    const woken: Socket[] = []
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        woken.push(socket)
        socket.on('data', (bytes) => {
          reader.take(bytes)
          if (woken.length === 1 && reader.position === 1000) socket.pause()
        })
      })
    )
    const peer = await client(server)
    peer.write(coded(0, 1000))
    await eventually(() => expect(reader.position).toBe(1000))
    // Before the connection is idle, and the bytes are not read.
    peer.write(coded(1000, 5000))
    for (let i = 0; i < 6; i++) await quiet()
    // Whether the connection was parked before these bytes arrived or not, they are read once.
    expect(server.stats().woken).toBeLessThanOrEqual(2)
    woken[0]?.resume()
    await eventually(() => expect(reader.position).toBe(6000))
  })

  test('a listener that reads a little now and then', async () => {
    const reader = new CodedReader()
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        const timer = setInterval(() => {
          const bytes = (socket.read(30_000) ?? socket.read()) as Buffer | null
          if (bytes !== null) reader.take(bytes)
        }, 1)
        // Otherwise it would not read at all.
        socket.on('readable', () => {})
        socket.on('close', () => clearInterval(timer))
      })
    )
    const peer = await client(server)
    for (let sent = 0; sent < 3 * MB; sent += 100_000) {
      peer.write(coded(sent, 100_000))
      if (sent % MB === 0) await quiet()
    }
    await eventually(() => expect(reader.position).toBe(3 * MB))
    await stats(server, { parked: 1, awake: 0 })
  })

  test('a FIN after bytes that are not read yet', async () => {
    const chunks: Buffer[] = []
    const events: string[] = []
    let first: Socket | undefined
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        events.push('connection')
        first ??= socket.pause()
        socket.on('data', (bytes) => chunks.push(bytes))
        socket.on('end', () => events.push('end'))
        socket.on('close', () => events.push('close'))
      })
    )
    const peer = await client(server)
    peer.end(coded(0, 50_000))
    await eventually(() => expect(first).toBeDefined())
    for (let i = 0; i < 4; i++) await quiet()
    first?.resume()
    await stats(server, { awake: 0, parked: 0 })
    await eventually(() => expect(events).toEqual(['connection', 'end', 'close']))
    expect(Buffer.concat(chunks).equals(coded(0, 50_000))).toBe(true)
  })
})

describe('bytes at the very moment of parking', () => {
  /** The connection is parked at `idle`, or up to two timer ticks (ms) later. */
  const LEAST = IDLE
  const MOST = IDLE + 35

  /** Rounds of a client: a message within a few ms of the time when the server parks its connection, and the echo. */
  async function rounds(peer: Socket, count: number, seed: number): Promise<void> {
    const pause = (round: number): number => LEAST + ((round * 7 + seed * 13) % (MOST - LEAST))
    const reader = new CodedReader(seed)
    let wake: (() => void) | undefined
    let sent = 0
    let failed: unknown
    peer.on('data', (bytes: Buffer) => {
      try {
        reader.take(bytes)
      } catch (error) {
        failed = error
      }
      if (reader.position >= sent || failed !== undefined) wake?.()
    })
    peer.on('close', () => {
      failed ??= new Error('closed')
      wake?.()
    })
    for (let round = 0; round < count; round++) {
      const length = 1 + ((round * 37 + seed * 11) % 300)
      const echoed = new Promise<void>((resolve) => {
        wake = resolve
      })
      const part = round % 3 === 0 ? length >> 1 : length
      peer.write(coded(sent, part, seed))
      const from = sent + part
      sent += length
      if (part < length) setTimeout(() => peer.write(coded(from, length - part, seed)), pause(round))
      await echoed
      if (failed !== undefined) throw failed
      await new Promise((resolve) => setTimeout(resolve, pause(round)))
    }
    expect(reader.position).toBe(sent)
  }

  test('from this process: thousands of rounds, and every byte is echoed in order', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    const peers = await clients(server, 60)
    await Promise.all(peers.map((peer, i) => rounds(peer, 100, i)))
    const { woken, parkedAgain } = server.stats()
    expect(woken).toBeGreaterThan(600)
    expect(parkedAgain).toBeGreaterThan(600)
    await stats(server, { parked: 60, awake: 0 })
    expectSum(server)
  })

  test('from another process', async () => {
    const server = await listening(
      createServer({ idle: IDLE }, (socket) => {
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    const child = new Child(`
      import { connect } from 'node:net'
      let failed = 0, echoed = 0
      async function client(seed) {
        const socket = connect(${JSON.stringify(addressOf(server))}).setNoDelay()
        socket.on('error', () => {})
        let expected = '', got = '', wake
        socket.on('data', (bytes) => { got += bytes.toString('latin1'); if (got.length >= expected.length) wake?.() })
        socket.on('close', () => wake?.())
        for (let round = 0; round < 100; round++) {
          const echo = new Promise((resolve) => { wake = resolve })
          const message = 'client ' + seed + ', round ' + round + '.'
          expected += message
          socket.write(message)
          await echo
          if (got !== expected) { failed++; break }
          echoed++
          // Partly a busy loop, because timers would always fire at whole milliseconds.
          await new Promise((resolve) => setTimeout(resolve, ${LEAST} + (seed * 13 + round * 7) % ${MOST - LEAST}))
          const until = performance.now() + Math.random()
          while (performance.now() < until);
        }
        socket.destroy()
      }
      await Promise.all(Array.from({ length: 40 }, (_, seed) => client(seed)))
      console.log(JSON.stringify({ failed, echoed }))`)
    expect(await child.next()).toEqual({ failed: 0, echoed: 4000 })
    expect(server.stats().parkedAgain).toBeGreaterThan(400)
    await stats(server, { parked: 0, awake: 0 })
    expectSum(server)
  })

  test('in the same turn as park(): they wake the connection, and no byte is lost', async () => {
    let last: Connection | undefined
    const server = await listening(
      createServer({ idle: false }, (socket, connection) => {
        last = connection
        socket.on('data', (bytes) => socket.write(bytes))
      })
    )
    const peer = await client(server)
    peer.write('x')
    await readExactly(peer, 1)
    const reader = new CodedReader()
    peer.on('data', (bytes: Buffer) => reader.take(bytes))
    let sent = 0
    for (let round = 0; round < 1000; round++) {
      const length = 1 + (round % 100)
      // The bytes are in the kernel when this returns, and the reactor has not looked yet.
      peer.write(coded(sent, length))
      sent += length
      last?.park()
      if (round % 2 === 0) await eventually(() => expect(reader.position).toBe(sent))
      else await new Promise((resolve) => setImmediate(resolve))
    }
    await eventually(() => expect(reader.position).toBe(sent))
    expectSum(server)
  })
})

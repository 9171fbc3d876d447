/**
 * Plays a scenario with a plain and with parked TCP servers. Also has clients, and streams whose bytes show their
 * position.
 */
import { readdirSync, readlinkSync } from 'node:fs'
import { createServer as createPlain, connect as dial, type Server, type ServerOpts, type Socket } from 'node:net'
import { type Parked, type ParkOptions, type ParkStats, park } from 'ebb'
import { type Connection, createServer } from 'ebb/net'
import { afterAll, beforeAll, expect, onTestFinished, vi } from 'vitest'

export type Address = { host: string; port: number } | { path: string }
export type Where = Address | { fd: number }

/** Listener of a server. Plain Node passes no connection. */
type OnConnection = (socket: Socket, connection?: Connection) => void

/** A way to create a TCP server. */
export interface Kind {
  name: string
  create: (options: ServerOpts, listener?: OnConnection) => Server
  /**
   * Whether connections are parked again, so that the listener is called more than once, each time with another socket.
   */
  again: boolean
}

export const PLAIN: Kind = {
  name: 'plain Node',
  create: (options, listener) => createPlain(options, listener),
  again: false
}

function parked(name: string, options: ParkOptions, again = false): Kind {
  return { name, again, create: (serverOptions, listener) => createServer({ ...serverOptions, ...options }, listener) }
}

/** All ways to park the connections of a TCP server. */
export const PARKED: Kind[] = [
  parked('createServer of ebb/net, never parked again', { idle: false }),
  parked('createServer of ebb/net, parked again after 5 ms', { idle: 5 }, true),
  parked("createServer of ebb/net, first: 'server'", { idle: false, first: 'server' }),
  {
    name: 'park(net.createServer())',
    again: false,
    create: (options, listener) => park(createPlain(options, listener))
  }
]

/** Kinds whose listener is called once per connection, so that one socket emits all events of it. */
export const ONCE: Kind[] = PARKED.filter(({ again }) => !again)

/** Plays `scenario` with plain Node and with each of `kinds`. Their results must be equal. */
export async function expectSame<T>(scenario: (kind: Kind) => Promise<T>, kinds = PARKED): Promise<T> {
  const expected = await scenario(PLAIN)
  for (const kind of kinds) expect(await scenario(kind), `${kind.name}, compared with plain Node`).toEqual(expected)
  return expected
}

/** Clients and sockets of a server, which are ended after the test. */
interface Open {
  clients: Set<Socket>
  sockets: Set<Socket>
  over: boolean
}
const open = new WeakMap<Server, Open>()

/**
 * Listens on loopback, on a port that the kernel chooses. After the test, all sockets are destroyed, and the server
 * must close by itself.
 */
export async function listening<S extends Server>(
  server: S,
  where: Where = { host: '127.0.0.1', port: 0 }
): Promise<S> {
  const state: Open = { clients: new Set(), sockets: new Set(), over: false }
  open.set(server, state)
  server.on('connection', (socket: Socket) => {
    if (state.over) socket.destroy()
    state.sockets.add(socket)
    socket.once('close', () => state.sockets.delete(socket))
  })
  onTestFinished(() => closed(server))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return server
}

/** Ends all clients and sockets, and waits until the server has closed. */
export async function closed(server: Server): Promise<void> {
  const state = open.get(server)
  if (state === undefined || state.over) return
  state.over = true
  const close = new Promise<void>((resolve) => {
    if (server.listening) server.close(() => resolve())
    else resolve()
  })
  for (const socket of [...state.clients, ...state.sockets]) socket.destroy()
  await close
}

/** Returns the address of a server. */
export function addressOf(server: Server): Address {
  const address = server.address()
  if (address === null) throw new Error('the server does not listen')
  return typeof address === 'string' ? { path: address } : { host: address.address, port: address.port }
}

/** Connects a client. It is half-open, so the test ends it. Errors are ignored unless the test listens for them. */
export async function client(server: Server): Promise<Socket> {
  const socket = dial({ ...addressOf(server), allowHalfOpen: true })
  open.get(server)?.clients.add(socket)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.removeAllListeners('error').on('error', () => {})
  socket.setNoDelay(true)
  return socket
}

export function clients(server: Server, count: number): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => client(server)))
}

/** Waits until `check` does not throw, up to 20 s. */
export async function eventually(check: () => void): Promise<void> {
  await vi.waitFor(check, { timeout: 20_000, interval: 2 })
}

/** Waits until the statistics match. */
export async function stats(server: Parked, expected: Partial<ParkStats>): Promise<void> {
  await eventually(() => expect(server.stats()).toMatchObject(expected))
}

/** Checks that every accepted connection is parked, awake, or closed for exactly one reason. */
export function expectSum(server: Parked): void {
  const { parked, awake, accepted, closed } = server.stats()
  const gone = Object.values(closed).reduce((sum, count) => sum + count, 0)
  expect({ accepted, sum: parked + awake + gone }).toEqual({ accepted, sum: accepted })
}

export function getConnections(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
  })
}

/** Reads until the connection ends. Returns the bytes and how it ended. */
export async function outcome(socket: Socket): Promise<{ received: string; ended: boolean; reset: boolean }> {
  const chunks: Buffer[] = []
  let ended = socket.readableEnded
  let reset = socket.errored !== null
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk))
  socket.on('error', () => {
    reset = true
  })
  await new Promise<void>((resolve) => {
    const end = (): void => {
      ended = true
      // Ends the client's direction, if it is still open.
      socket.end()
    }
    if (socket.closed) resolve()
    else if (socket.readableEnded) end()
    socket.once('close', () => resolve())
    socket.once('end', end)
  })
  return { received: `${Buffer.concat(chunks)}`, ended, reset }
}

/** Checks for a test file that the same descriptors are open after its last test as before its first. */
export function descriptorsReturn(): void {
  let before: string[] = []
  beforeAll(async () => {
    // Opens the descriptors that ebb keeps for the life of the process.
    const server = createServer({ first: 'server' }, (socket) => socket.end())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const socket = dial(addressOf(server) as { host: string; port: number }).resume()
    await new Promise((resolve) => socket.once('close', resolve))
    await new Promise((resolve) => server.close(resolve))
    before = openFiles()
  })
  afterAll(async () => {
    await eventually(() => expect(openFiles()).toEqual(before))
  })
}

/** Returns the targets of all descriptors, without files of `/proc`, which ebb keeps open after it has read them. */
function openFiles(): string[] {
  const files = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, '')
    } catch {
      // The descriptor that reads the list.
      return '/proc/self/fd'
    }
  })
  return files.filter((file) => !file.startsWith('/proc/')).sort()
}

// A prime, so that no usual buffer size, nor a sum of a few of them, is a multiple of it.
const PERIOD = 65_521
const PATTERN = Buffer.alloc(PERIOD)
for (let at = 0, random = 1; at < PERIOD; at++) {
  random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0
  PATTERN[at] = random >>> 16
}

/** Returns `length` bytes from position `from` of the stream `seed`. Lost, duplicated or reordered bytes show up. */
export function coded(from: number, length: number, seed = 0): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let at = (from + seed * 7919) % PERIOD
  for (let done = 0; done < length; ) {
    const copied = PATTERN.copy(bytes, done, at)
    done += copied
    at = (at + copied) % PERIOD
  }
  return bytes
}

/** Reads a {@link coded} stream. Throws at the first wrong byte. */
export class CodedReader {
  position = 0
  readonly #seed: number

  constructor(seed = 0) {
    this.#seed = seed
  }

  take(chunk: Uint8Array): void {
    const expected = coded(this.position, chunk.length, this.#seed)
    if (!expected.equals(chunk)) {
      const at = chunk.findIndex((byte, i) => byte !== expected[i])
      throw new Error(`stream ${this.#seed}: wrong byte at position ${this.position + at}`)
    }
    this.position += chunk.length
  }
}

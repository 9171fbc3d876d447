/** TCP servers, plain and parked, for the same scenario; their clients; and bytes that know their place. */
import { readdirSync, readlinkSync } from 'node:fs'
import { createServer as createPlain, connect as dial, type Server, type ServerOpts, type Socket } from 'node:net'
import { type Parked, type ParkOptions, type ParkStats, park } from 'ebb'
import { type Connection, createServer } from 'ebb/net'
import { afterAll, beforeAll, expect, onTestFinished, vi } from 'vitest'

export type Address = { host: string; port: number } | { path: string }
export type Where = Address | { fd: number }

/** Plain Node passes no connection. */
type OnConnection = (socket: Socket, connection?: Connection) => void

export interface Kind {
  name: string
  create: (options: ServerOpts, listener?: OnConnection) => Server
  /** Whether connections are parked again: the listener is then called more than once, each time with another socket. */
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

/** All the ways in which a connection of a TCP server can be parked. */
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

/** Those whose listener is called once for each connection, so that what a socket tells is the whole story. */
export const ONCE: Kind[] = PARKED.filter(({ again }) => !again)

/** Plays `scenario` with plain Node and with each of `kinds`; what they return must be equal. */
export async function expectSame<T>(scenario: (kind: Kind) => Promise<T>, kinds = PARKED): Promise<T> {
  const expected = await scenario(PLAIN)
  for (const kind of kinds)
    expect(await scenario(kind), `${kind.name}, where plain Node is what is expected`).toEqual(expected)
  return expected
}

/** What a test knows of a server: who came from here, and what to end. */
interface Open {
  clients: Set<Socket>
  sockets: Set<Socket>
  over: boolean
}
const open = new WeakMap<Server, Open>()

/**
 * Listens on loopback, at a port of the kernel's choice, until the test is over: then everybody goes, and the server must
 * close by itself.
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

/** Where a server of {@link listening} is. */
export function addressOf(server: Server): Address {
  const address = server.address()
  if (address === null) throw new Error('the server does not listen')
  return typeof address === 'string' ? { path: address } : { host: address.address, port: address.port }
}

/** A connected client; half-open: it ends when the test ends it. Errors are the test's to look for. */
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

/** Waits until `check` passes. The limit is for what never will. */
export async function eventually(check: () => void): Promise<void> {
  await vi.waitFor(check, { timeout: 20_000, interval: 2 })
}

/** Waits until the statistics are so. */
export async function stats(server: Parked, expected: Partial<ParkStats>): Promise<void> {
  await eventually(() => expect(server.stats()).toMatchObject(expected))
}

/** Every connection that was accepted is parked, awake or closed for one reason. */
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

/** What a client gets until the connection is over, and how that is. */
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
      // Its own direction, if it is still open.
      socket.end()
    }
    if (socket.closed) resolve()
    else if (socket.readableEnded) end()
    socket.once('close', () => resolve())
    socket.once('end', end)
  })
  return { received: `${Buffer.concat(chunks)}`, ended, reset }
}

/** For a file: the descriptors of this process are the same, at its end, as before its first test. */
export function descriptorsReturn(): void {
  let before: string[] = []
  beforeAll(async () => {
    // What ebb makes once stays.
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

/** What the descriptors of this process are. Without the files of `/proc` that ebb keeps open once it has read them. */
function openFiles(): string[] {
  const files = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, '')
    } catch {
      // The one that reads the list.
      return '/proc/self/fd'
    }
  })
  return files.filter((file) => !file.startsWith('/proc/')).sort()
}

// A prime: no usual size of a buffer, and no sum of a few, is a multiple.
const PERIOD = 65_521
const PATTERN = Buffer.alloc(PERIOD)
for (let at = 0, random = 1; at < PERIOD; at++) {
  random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0
  PATTERN[at] = random >>> 16
}

/** `length` bytes from position `from` of the stream `seed`: one that is lost, doubled or out of order shows. */
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

/** Reads a {@link coded} stream, and throws at the first byte that is not what must come. */
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
      throw new Error(`stream ${this.#seed}: at ${this.position + at} came another byte than was sent`)
    }
    this.position += chunk.length
  }
}

/**
 * The messages of a handover, as bytes: pure functions, which trust nothing that they read.
 *
 *     successor                     predecessor
 *     HELLO       ------------->                    who I am, which servers I have
 *                 <-------------    WELCOME         who I am, which servers I have, and which ids will come
 *     READY       ------------->                    now
 *                 <-------------    LISTENING ...   a listening socket of a server
 *                 <-------------    ROWS ...        connections, with their descriptors
 *                 <-------------    CHUNK ...       parts of what is too large for ROWS
 *                 <-------------    DROP ...        connections that were sent, and do not move yet
 *                 <-------------    AWAY ...        ids of connections that come later, or never
 *                 <-------------    COMMIT          that is all: how much it was
 *     DONE        ------------->                    it is mine
 *
 * The predecessor serves its connections while it sends ROWS, CHUNK and DROP. When few are left, it waits for DONE.
 *
 * After DONE, ROWS, CHUNK and COMMIT follow for connections that have come to rest, each batch answered by DONE. Both
 * sides send ORDERs for connections that the other side has; ACK tells how many were carried out. After BYE no
 * connection comes any more; ORDERs may, until the predecessor closes its end. ABORT, from either side, says why a
 * batch, or all of it, is off.
 */
import { EbbError } from '../sys/errors.js'

/** Version of this protocol. Processes with different versions do not hand over to each other. */
const VERSION = 1

/** Kinds of messages. */
export const HELLO = 1
export const WELCOME = 2
export const READY = 3
export const LISTENING = 4
export const ROWS = 5
export const CHUNK = 6
export const AWAY = 7
export const COMMIT = 8
export const DONE = 9
export const ABORT = 10
export const BYE = 11
export const ORDER = 12
export const ACK = 13
/** To a keeper: who I am, and which servers I have; in place of HELLO. */
export const ATTACH = 14
/** Forget a connection, before anything is read from it. */
export const DROP = 15
/** To a keeper: the connections are this process's. 0: the keeper forgets what others have given. 1: it does not. */
export const OWN = 16
/** To a keeper: a server does not listen any more. */
export const UNLISTEN = 17

/** `ebbh`, in little-endian order. */
const MAGIC = 0x68626265
/** Magic (4 bytes), version (2), kind (2). */
export const HEADER = 8
/** Highest number of servers in a handover. */
const MOST_SERVERS = 1024
/** Longest reason that ABORT gives, in characters. */
const LONGEST_REASON = 1000
/** Longest string of a message as JSON, in characters. */
const LONGEST_STRING = 4096

/** A message, decoded. */
export interface Message {
  kind: number
  payload: Buffer
}

/** Makes the error for a message that cannot be what this protocol sends. */
export function broken(what: string): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', `the other process sent a message that is not valid: ${what}`)
}

/** Makes the error for a message that is valid, and does not fit what was sent before it. */
export function refused(what: string): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', `what the other process sent was refused: ${what}`)
}

/** Returns a message without a payload, or with one. */
export function encode(kind: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const bytes = blank(kind, payload.length)
  bytes.set(payload, HEADER)
  return bytes
}

/** Returns a message with a payload of `size` zeros. */
export function blank(kind: number, size: number): Buffer {
  const bytes = Buffer.alloc(HEADER + size)
  bytes.writeUInt32LE(MAGIC, 0)
  bytes.writeUInt16LE(VERSION, 4)
  bytes.writeUInt16LE(kind, 6)
  return bytes
}

/**
 * Returns the kind and the payload of a message.
 *
 * @throws {EbbError} `ERR_EBB_HANDOVER` if it is not one, or of another version
 */
export function decode(bytes: Buffer): Message {
  if (bytes.length < HEADER || bytes.readUInt32LE(0) !== MAGIC) throw broken('it does not begin as one')
  const version = bytes.readUInt16LE(4)
  if (version !== VERSION) {
    throw new EbbError(
      'ERR_EBB_HANDOVER',
      `the other process speaks version ${version} of the handover protocol, and this one version ${VERSION}: restart without a handover`
    )
  }
  return { kind: bytes.readUInt16LE(6), payload: bytes.subarray(HEADER) }
}

// Messages as JSON.

/** Kind of listeners, the ids of whose connections are serial numbers. */
export const SERIAL_KIND = 'listen'

/** A server as HELLO and WELCOME name it. */
interface ServerName {
  name: string
  /** `net`, `http`, `tls`, ...: only servers of one kind hand over to each other. */
  kind: string
}

/** A server as HELLO tells it. */
interface ToldServer extends ServerName {
  /** Names of those that take its upgraded connections. Default: none. */
  upgrades?: readonly string[] | undefined
}

/** Payload of HELLO. */
export interface Hello {
  pid: number
  node: string
  /** Version of the format of attachments that it can read. */
  format: number
  /** Descriptors that it can still open. */
  free: number
  /** Its servers, or {@link ALL_SERVERS}. */
  servers: readonly ToldServer[]
}

/** In HELLO: the servers that the other process has, with the numbers that they have in WELCOME. */
export const ALL_SERVERS: readonly ServerName[] = [{ name: '*', kind: '*' }]

/** Payload of WELCOME. */
export interface Welcome {
  pid: number
  node: string
  servers: readonly ToldServer[]
}

/** Payload of LISTENING. */
export interface Listening {
  /** Index of its server, in the list of HELLO; -1: see {@link HANDOVER_SOCKET}. */
  server: number
  /** Path of a Unix socket; empty for TCP. */
  path: string
  backlog: number
  /** What ids of new connections must be above, as servers of this kind count. */
  mostUses: number
}

/** Payload of LISTENING for the handover socket itself. */
export const HANDOVER_SOCKET: Readonly<Listening> = { server: -1, path: '', backlog: 0, mostUses: 0 }

/** Payload of ABORT. */
export interface Abort {
  reason: string
}

/** Makes a message with a payload as JSON. */
export function encodeJson(kind: number, value: Hello | Welcome | Listening | Abort): Buffer {
  return encode(kind, Buffer.from(JSON.stringify(value)))
}

/** Makes an ABORT. */
export function encodeAbort(reason: string): Buffer {
  return encodeJson(ABORT, { reason: reason.slice(0, LONGEST_REASON) })
}

/** Whether the servers of a HELLO are {@link ALL_SERVERS}. */
export function areAll(servers: readonly ServerName[]): boolean {
  return servers.length === 1 && servers[0]?.kind === '*'
}

/** Returns the index of the server with the name and the kind of `wanted`; -1 if there is none. */
export function indexOfServer(servers: readonly ServerName[], wanted: ServerName): number {
  return servers.findIndex(({ name, kind }) => name === wanted.name && kind === wanted.kind)
}

export function decodeHello(payload: Buffer): Hello {
  const value = parsed(payload)
  return {
    pid: whole(value.pid, 'pid'),
    node: text(value.node, 'node'),
    format: whole(value.format, 'format'),
    free: whole(value.free, 'free'),
    servers: servers(value.servers)
  }
}

export function decodeWelcome(payload: Buffer): Welcome {
  const value = parsed(payload)
  return { pid: whole(value.pid, 'pid'), node: text(value.node, 'node'), servers: servers(value.servers) }
}

/** @param count number of servers */
export function decodeListening(payload: Buffer, count: number): Listening {
  const value = parsed(payload)
  const server = value.server === -1 ? -1 : whole(value.server, 'server')
  if (server >= count) throw broken(`there is no server ${server}`)
  const mostUses = whole(value.mostUses, 'mostUses')
  return { server, path: text(value.path, 'path'), backlog: whole(value.backlog, 'backlog'), mostUses }
}

export function decodeAbort(payload: Buffer): Abort {
  return { reason: text(parsed(payload).reason, 'reason') }
}

function parsed(payload: Buffer): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(payload.toString())
  } catch {
    throw broken('it is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw broken('it is not an object')
  return value as Record<string, unknown>
}

function whole(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw broken(`${name} is not a whole number from 0 on`)
  return value as number
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string' || value.length > LONGEST_STRING) throw broken(`${name} is not a string`)
  return value
}

function servers(value: unknown): ToldServer[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MOST_SERVERS) throw broken('servers is not a list')
  const list = value.map((server: unknown) => {
    if (typeof server !== 'object' || server === null) throw broken('a server is not an object')
    const { name, kind, upgrades } = server as Record<string, unknown>
    if (upgrades !== undefined && !Array.isArray(upgrades)) throw broken('upgrades is not a list')
    return {
      name: text(name, 'name'),
      kind: text(kind, 'kind'),
      upgrades: upgrades?.map((upgrade) => text(upgrade, 'upgrades'))
    }
  })
  if (new Set(list.map(({ name }) => name)).size !== list.length) throw broken('two servers have one name')
  return list
}

// Chunks of attachments, orders: a server, an id, and bytes.

export function validId(id: number): number {
  if (!Number.isSafeInteger(id) || id <= 0) throw broken('an id is not valid')
  return id
}

/** Bytes before those of a chunk or an order: server (2), order (2), id (8). */
const PREFIX = 12
/** Bytes of a CHUNK or an ORDER in a message of `capacity` bytes. */
export function roomFor(capacity: number): number {
  return capacity - HEADER - PREFIX
}

/** A part of an attachment, or an order for a connection. */
export interface Addressed {
  server: number
  /** Number of the order in {@link ORDERS}; 0 for a chunk. */
  order: number
  /** 0 in an order for all upgraded connections of the server. */
  id: number
  bytes: Buffer
}

/** Orders, by their number. */
export const ORDERS = ['send', 'end', 'close', 'pause', 'resume', 'upgraded', 'part'] as const

/** The first order that may be for all upgraded connections, and not for one. */
const FOR_ALL = ORDERS.indexOf('upgraded')

/** Makes a CHUNK or an ORDER. */
export function encodeAddressed(kind: number, { server, order, id, bytes }: Addressed): Buffer {
  const message = blank(kind, PREFIX + bytes.length)
  message.writeUInt16LE(server, HEADER)
  message.writeUInt16LE(order, HEADER + 2)
  message.writeDoubleLE(id, HEADER + 4)
  message.set(bytes, HEADER + PREFIX)
  return message
}

/** Makes the CHUNKs of an attachment, each a message of at most `capacity` bytes. */
export function* chunksOf(server: number, id: number, attachment: string, capacity: number): Generator<Buffer> {
  const most = roomFor(capacity)
  for (let at = 0; at < attachment.length; at += most) {
    const bytes = Buffer.from(attachment.slice(at, at + most), 'latin1')
    yield encodeAddressed(CHUNK, { server, order: 0, id, bytes })
  }
}

/** @param count number of servers */
export function decodeAddressed(payload: Buffer, count: number): Addressed {
  if (payload.length < PREFIX) throw broken('it is cut')
  const server = payload.readUInt16LE(0)
  const order = payload.readUInt16LE(2)
  if (server >= count) throw broken(`there is no server ${server}`)
  if (order >= ORDERS.length) throw broken(`there is no order ${order}`)
  const id = payload.readDoubleLE(4)
  const isForAll = id === 0 && order >= FOR_ALL
  return { server, order, id: isForAll ? id : validId(id), bytes: payload.subarray(PREFIX) }
}

// Numbers: AWAY, COMMIT, DONE, ACK.

/** Numbers in a message of `capacity` bytes. */
export function mostNumbers(capacity: number): number {
  return Math.floor((capacity - HEADER) / 8)
}

/** Makes a message of numbers. */
export function encodeNumbers(kind: number, numbers: readonly number[]): Buffer {
  const message = blank(kind, 8 * numbers.length)
  for (const [i, number] of numbers.entries()) message.writeDoubleLE(number, HEADER + 8 * i)
  return message
}

/** Returns the numbers of a message: safe integers from 0 on. @param least how many there must be */
export function decodeNumbers(payload: Buffer, least: number): number[] {
  if (payload.length % 8 !== 0 || payload.length < 8 * least) throw broken('numbers are cut')
  const numbers: number[] = []
  for (let at = 0; at < payload.length; at += 8) {
    const number = payload.readDoubleLE(at)
    if (!Number.isSafeInteger(number) || number < 0) throw broken('a number is not valid')
    numbers.push(number)
  }
  return numbers
}

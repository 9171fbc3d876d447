/** Connections as rows of messages: written by the process that has them, and checked by the one that gets them. */
import { FORMAT, formatOf } from '../socket/attachments.js'
import type { MovedConnection } from '../socket/moved.js'
import { MOST_BYTES, MOST_DESCRIPTORS } from '../sys/channel.js'
import { EbbError } from '../sys/errors.js'
import { reactor } from '../sys/reactor.js'
import { cookieOf, isStreamSocket } from '../sys/socket.js'
import type { Movable } from './movable.js'
import { CHUNK, chunksOf, decodeAddressed, type Message, ROWS, refused } from './protocol.js'
import { decodeRows, type Row, RowWriter, sizeOfRow } from './rows.js'
import { step } from './steps.js'

/** Attachments up to this size (bytes) are sent with their row. It leaves room for several in a message. */
const INLINE = MOST_BYTES / 8

/** `CLOCK_MONOTONIC` in ms, which is the same in all processes of a machine. */
export function monotonic(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1000 + nanoseconds / 1e6
}

/** Takes messages: a `Channel`, or what keeps them for a later process. */
export interface Sink {
  /** @param deadline of `performance.now()` @throws {SystemError} */
  send(bytes: Uint8Array, descriptors: readonly number[], deadline: number): void
}

/** Sends rows of connections. */
export class RowSender {
  readonly #channel: Sink
  readonly #deadline: number
  readonly #format: number
  readonly #now = monotonic()
  readonly #writer = new RowWriter(MOST_BYTES)
  readonly #large: Row[] = []
  #descriptors: number[] = []
  /** Number of rows so far. */
  count = 0

  /**
   * @param deadline of `performance.now()`
   * @param format of attachments that the other process can read
   */
  constructor(channel: Sink, deadline: number, format: number) {
    this.#channel = channel
    this.#deadline = deadline
    this.#format = format
  }

  /**
   * Sends a connection, sooner or later.
   *
   * @param server index of its server in the other process
   * @throws {EbbError} `ERR_EBB_HANDOVER` if the other process cannot read its attachment
   * @throws {SystemError} of {@link Sink.send}
   */
  add(server: number, connection: MovedConnection): void {
    const { attachment } = connection
    if (attachment !== undefined && formatOf(attachment) > this.#format) {
      throw new EbbError(
        'ERR_EBB_HANDOVER',
        `the other process reads attachments of V8's format ${this.#format} and older, but one has format ${formatOf(attachment)}: hand over to a Node of at least this version`
      )
    }
    this.addRow(toRow(server, connection, this.#now), connection.fd)
  }

  /** Sends a row and its descriptor, sooner or later. @throws {SystemError} of {@link Sink.send} */
  addRow(row: Row, fd: number): void {
    const isLarge = row.size > INLINE
    if (isLarge) this.#large.push(row)
    const sent = isLarge ? { ...row, body: undefined } : row
    if (sizeOfRow(sent) > this.#writer.room || this.#descriptors.length === MOST_DESCRIPTORS) this.#flush()
    this.#writer.add(sent)
    this.#descriptors.push(fd)
    this.count++
  }

  /** Sends all that is left. */
  finish(): void {
    this.#flush()
    for (const { server, id, body = '' } of this.#large) {
      for (const chunk of chunksOf(server, id, body, MOST_BYTES)) this.#channel.send(chunk, [], this.#deadline)
    }
  }

  #flush(): void {
    if (this.#descriptors.length === 0) return
    this.#channel.send(this.#writer.take(), this.#descriptors, this.#deadline)
    this.#descriptors = []
    step('old:rows')
  }
}

/** A connection that has been received. */
interface Received {
  server: number
  moved: MovedConnection
}

/** A connection whose body has not arrived completely. */
interface Incomplete {
  row: Row
  moved: MovedConnection
  parts: string[]
  received: number
}

/**
 * Collects rows and chunks until they are complete. It owns the descriptors until {@link take}; the reactor may watch
 * them by then.
 */
export class RowReceiver {
  readonly #servers: readonly Movable[]
  /** Flags that connections of any of the servers may have. */
  readonly #flags: number
  #rows: Received[] = []
  /** Ids by server, and cookies, so that nothing comes twice. */
  readonly #seen: readonly Set<number>[]
  readonly #cookies = new Set<number>()
  /** By server and id. */
  readonly #incomplete = new Map<string, Incomplete>()

  constructor(servers: readonly Movable[]) {
    this.#servers = servers
    this.#flags = servers.reduce((flags, server) => flags | server.flags, 0)
    this.#seen = servers.map(() => new Set())
  }

  get count(): number {
    return this.#rows.length
  }

  /**
   * Takes ROWS with its descriptors, or CHUNK.
   *
   * @returns false for any other message
   * @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid, or does not fit what came before it
   */
  receive({ kind, payload }: Message, descriptors: number[]): boolean {
    if (kind === ROWS) this.#add(decodeRows(payload, this.#servers.length, this.#flags), descriptors.splice(0))
    else if (kind === CHUNK) {
      const { server, id, bytes } = decodeAddressed(payload, this.#servers.length)
      this.#addChunk(server, id, bytes)
    } else return false
    return true
  }

  /** If the rows do not fit to the descriptors, the descriptors are closed with the others. */
  #add(rows: readonly Row[], descriptors: readonly number[]): void {
    const now = monotonic()
    // First of all, so that each descriptor has an owner.
    const received = rows.slice(0, descriptors.length).map((row, at) => toReceived(row, descriptors[at] as number, now))
    this.#rows.push(...received)
    if (descriptors.length > rows.length) {
      this.#rows.push(...descriptors.slice(rows.length).map((fd) => ({ server: 0, moved: stray(fd) })))
    }
    if (descriptors.length !== rows.length)
      throw refused(`${rows.length} connections with ${descriptors.length} sockets`)
    for (const [at, row] of rows.entries()) this.#check(row, (received[at] as Received).moved)
  }

  #check(row: Row, moved: MovedConnection): void {
    const seen = this.#seen[row.server] as Set<number>
    if (seen.has(row.id) || this.#cookies.has(row.cookie)) throw refused('a connection came twice')
    seen.add(row.id)
    this.#cookies.add(row.cookie)
    if (cookieOf(moved.fd) !== row.cookie || !isStreamSocket(moved.fd)) {
      throw refused('a descriptor is not the socket that its row tells')
    }
    const server = this.#servers[row.server] as Movable
    if ((row.flags & ~server.flags) !== 0) throw refused('a connection of another kind')
    if (row.body !== undefined) this.#setBody(row, moved, row.body)
    else if (row.size > 0) this.#incomplete.set(keyOf(row.server, row.id), { row, moved, parts: [], received: 0 })
    else if (row.size === 0) throw refused('an attachment is empty')
    else this.#setBody(row, moved, '')
    server.expect?.(moved.fd)
  }

  /** @param body what the protocol of the connection needs, and its attachment */
  #setBody({ server, flags, stateSize }: Row, moved: MovedConnection, body: string): void {
    if (stateSize > 0) moved.state = body.slice(0, stateSize)
    ;(this.#servers[server] as Movable).check(flags, moved.state)
    if (body.length === stateSize) return
    moved.attachment = body.slice(stateSize)
    checkAttachment(moved.attachment)
  }

  /** Takes a part of an attachment. */
  #addChunk(server: number, id: number, bytes: Buffer): void {
    const key = keyOf(server, id)
    const incomplete = this.#incomplete.get(key)
    if (incomplete === undefined || bytes.length === 0) throw refused('a part of an attachment that nobody waits for')
    incomplete.received += bytes.length
    if (incomplete.received > incomplete.row.size) throw refused('an attachment is longer than its row tells')
    incomplete.parts.push(bytes.toString('latin1'))
    if (incomplete.received < incomplete.row.size) return
    this.#incomplete.delete(key)
    this.#setBody(incomplete.row, incomplete.moved, incomplete.parts.join(''))
  }

  /** Returns the connections by server, and forgets them: the caller owns the descriptors. */
  take(): MovedConnection[][] {
    const byServer: MovedConnection[][] = this.#servers.map(() => [])
    for (const { server, moved } of this.#rows) (byServer[server] as MovedConnection[]).push(moved)
    this.#clear()
    return byServer
  }

  /** Whether all attachments are complete. */
  get isComplete(): boolean {
    return this.#incomplete.size === 0
  }

  /** Closes the connections whose attachment is not complete, because the other process died in the middle of it. */
  dropIncomplete(): void {
    const incomplete = new Set(Array.from(this.#incomplete.values(), ({ moved }) => moved))
    for (const { fd } of incomplete) retire(fd)
    this.#rows = this.#rows.filter(({ moved }) => !incomplete.has(moved))
    this.#incomplete.clear()
  }

  /** Closes all that was received. */
  drop(): void {
    for (const { moved } of this.#rows) retire(moved.fd)
    this.#clear()
  }

  #clear(): void {
    this.#rows = []
    for (const ids of this.#seen) ids.clear()
    this.#cookies.clear()
    this.#incomplete.clear()
  }
}

/** Returns the row of a connection. @param now {@link monotonic} */
export function toRow(server: number, moved: MovedConnection, now: number): Row {
  // Field by field, which is four times as fast as a spread.
  const { fd, id, flags, wakes, requests, left, duration, attachment, state, proxied } = moved
  const deadline = left === 0 ? 0 : now + left
  const body = state === undefined ? attachment : state + (attachment ?? '')
  const [size, stateSize] = [body?.length ?? -1, state?.length ?? 0]
  const cookie = cookieOf(fd)
  return { server, id, flags, wakes, requests, deadline, duration, cookie, size, stateSize, body, proxied }
}

/** Its state and its attachment are missing. */
function toReceived(row: Row, fd: number, now: number): Received {
  const { server, id, flags, wakes, requests, deadline, duration, proxied } = row
  const left = deadline === 0 ? 0 : Math.max(1, deadline - now)
  return {
    server,
    moved: { fd, id, flags, wakes, requests, left, duration, attachment: undefined, state: undefined, proxied }
  }
}

const keyOf = (server: number, id: number): string => `${server} ${id}`

/** Closes a descriptor whose connection the other process has. */
function retire(fd: number): void {
  reactor().retire(fd)
}

/** A descriptor without a row, which is only kept to be closed. */
function stray(fd: number): MovedConnection {
  const nothing = { flags: 0, wakes: 0, requests: 0, left: 0, duration: 0, proxied: undefined }
  return { fd, id: 0, ...nothing, attachment: undefined, state: undefined }
}

function checkAttachment(attachment: string): void {
  const format = formatOf(attachment)
  if (format === 0) throw refused('an attachment is not serialised')
  if (format > FORMAT) {
    throw refused(`an attachment has V8's format ${format}, and this Node reads ${FORMAT} and older`)
  }
}

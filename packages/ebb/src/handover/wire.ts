/** Connections as rows of messages: written by the process that has them, and checked by the one that gets them. */
import { FORMAT, formatOf } from '../socket/attachments.js'
import type { MovedConnection } from '../socket/moved.js'
import { MOST_BYTES, MOST_DESCRIPTORS } from '../sys/channel.js'
import { EbbError } from '../sys/errors.js'
import { reactor } from '../sys/reactor.js'
import { closeDescriptor, cookieOf, isStreamSocket } from '../sys/socket.js'
import type { Movable } from './movable.js'
import { CHUNK, chunksOf, DROP, decodeAddressed, decodeNumbers, type Message, ROWS, refused } from './protocol.js'
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
  readonly #format: number
  #deadline = 0
  #now = 0
  readonly #writer = new RowWriter(MOST_BYTES)
  readonly #large: Row[] = []
  #descriptors: number[] = []
  /** Number of rows since {@link begin}. */
  count = 0

  /** @param format of attachments that the other process can read */
  constructor(channel: Sink, format: number) {
    this.#channel = channel
    this.#format = format
  }

  /** Begins anew. @param deadline of `performance.now()` */
  begin(deadline: number): void {
    this.#deadline = deadline
    this.#now = monotonic()
    this.count = 0
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
    for (const { server, id, body = '' } of this.#large.splice(0)) {
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
  moved: MovedConnection
  cookie: number
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
  /** By server and id. */
  readonly #rows: readonly Map<number, Received>[]
  /** Cookies of all of them, so that nothing comes twice. */
  readonly #cookies = new Set<number>()
  /** By server and id. */
  readonly #incomplete = new Map<string, Incomplete>()

  constructor(servers: readonly Movable[]) {
    this.#servers = servers
    this.#flags = servers.reduce((flags, server) => flags | server.flags, 0)
    this.#rows = servers.map(() => new Map())
  }

  get count(): number {
    return this.#rows.reduce((sum, { size }) => sum + size, 0)
  }

  /**
   * Takes ROWS with its descriptors, CHUNK or DROP.
   *
   * @returns false for any other message
   * @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid, or does not fit what came before it
   */
  receive({ kind, payload }: Message, descriptors: number[]): boolean {
    if (kind === ROWS) this.#add(decodeRows(payload, this.#servers.length, this.#flags), descriptors.splice(0))
    else if (kind === CHUNK) {
      const { server, id, bytes } = decodeAddressed(payload, this.#servers.length)
      this.#addChunk(server, id, bytes)
    } else if (kind === DROP) {
      const [server = -1, id = -1] = decodeNumbers(payload, 2)
      this.#drop(server, id)
    } else return false
    return true
  }

  /** @throws {EbbError} after closing the descriptors of the rows from the first one on that is not valid */
  #add(rows: readonly Row[], descriptors: readonly number[]): void {
    const now = monotonic()
    let taken = 0
    try {
      if (descriptors.length !== rows.length) {
        throw refused(`${rows.length} connections with ${descriptors.length} sockets`)
      }
      for (const row of rows) {
        this.#addRow(row, descriptors[taken] as number, now)
        taken++
      }
    } finally {
      for (const fd of descriptors.slice(taken)) closeDescriptor(fd)
    }
  }

  #addRow(row: Row, fd: number, now: number): void {
    const rows = this.#rows[row.server] as Map<number, Received>
    const server = this.#servers[row.server] as Movable
    if (rows.has(row.id) || this.#cookies.has(row.cookie)) throw refused('a connection came twice')
    if (cookieOf(fd) !== row.cookie || !isStreamSocket(fd)) {
      throw refused('a descriptor is not the socket that its row tells')
    }
    if ((row.flags & ~server.flags) !== 0) throw refused('a connection of another kind')
    const moved = toMoved(row, fd, now)
    if (row.body !== undefined) this.#setBody(row, moved, row.body)
    else if (row.size > 0) this.#incomplete.set(keyOf(row.server, row.id), { row, moved, parts: [], received: 0 })
    else if (row.size === 0) throw refused('an attachment is empty')
    else this.#setBody(row, moved, '')
    rows.set(row.id, { moved, cookie: row.cookie })
    this.#cookies.add(row.cookie)
    server.expect?.(fd)
  }

  /** Forgets a connection, which the other process keeps for now. */
  #drop(server: number, id: number): void {
    const received = this.#rows[server]?.get(id)
    if (received === undefined) throw refused('a connection is dropped that has not come')
    this.#rows[server]?.delete(id)
    this.#cookies.delete(received.cookie)
    this.#incomplete.delete(keyOf(server, id))
    retire(received.moved.fd)
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
    const byServer = this.#rows.map((rows) => Array.from(rows.values(), ({ moved }) => moved))
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
    for (const [server, rows] of this.#rows.entries()) {
      for (const { moved } of [...rows.values()]) if (incomplete.has(moved)) this.#drop(server, moved.id)
    }
  }

  /** Closes all that was received. */
  drop(): void {
    for (const rows of this.#rows) for (const { moved } of rows.values()) retire(moved.fd)
    this.#clear()
  }

  #clear(): void {
    for (const rows of this.#rows) rows.clear()
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
function toMoved(row: Row, fd: number, now: number): MovedConnection {
  const { id, flags, wakes, requests, deadline, duration, proxied } = row
  const left = deadline === 0 ? 0 : Math.max(1, deadline - now)
  return { fd, id, flags, wakes, requests, left, duration, attachment: undefined, state: undefined, proxied }
}

const keyOf = (server: number, id: number): string => `${server} ${id}`

/** Closes a descriptor whose connection the other process has. */
function retire(fd: number): void {
  reactor().retire(fd)
}

function checkAttachment(attachment: string): void {
  const format = formatOf(attachment)
  if (format === 0) throw refused('an attachment is not serialised')
  if (format > FORMAT) {
    throw refused(`an attachment has V8's format ${format}, and this Node reads ${FORMAT} and older`)
  }
}

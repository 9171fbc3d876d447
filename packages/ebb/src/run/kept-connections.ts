/** Connections that a keeper holds for one server, without an object for each. */
import { SERIAL_KIND } from '../handover/protocol.js'
import type { Row } from '../handover/rows.js'
import { ROWS } from '../park/state/table.js'
import { grown, resized } from '../sys/arrays.js'
import { closeDescriptor } from '../sys/socket.js'
import { ownerOf } from '../websocket/moved-state.js'

/** Uses of a row, added to the highest that is known: connections that were never kept have had ids, too. */
const UNKNOWN_USES = 1024
/** As {@link UNKNOWN_USES}, for ids that are serial numbers. */
const UNKNOWN_SERIALS = 2 ** 20

/** What few connections have. */
interface Extras {
  size: number
  stateSize: number
  body: string | undefined
  proxied: Uint8Array | undefined
  /** Parts of a body that is not complete. */
  parts: string[] | undefined
}

/** A connection that is kept. */
export interface Kept {
  fd: number
  row: Row
}

/**
 * The kept connections of one server.
 *
 * Where ids belong to rows of a table, the row that is part of an id, `id % ROWS`, is the place in the arrays. Ids that
 * are serial numbers get the next place that is free.
 */
export class KeptConnections {
  /** By place: id; 0 for a free place. */
  #id = new Float64Array(0)
  #fd = new Int32Array(0)
  #deadline = new Float64Array(0)
  #duration = new Float64Array(0)
  #cookie = new Float64Array(0)
  #wakes = new Uint32Array(0)
  #requests = new Uint32Array(0)
  #flags = new Uint16Array(0)
  readonly #extras = new Map<number, Extras>()
  #size = 0
  #mostUses = 0
  /** Places by id, if ids are serial numbers. */
  readonly #places: Map<number, number> | undefined
  readonly #freePlaces: number[] = []
  #end = 0

  /** @param kind of the server */
  constructor(kind: string) {
    this.#places = kind === SERIAL_KIND ? new Map() : undefined
  }

  /** Number of connections. */
  get size(): number {
    return this.#size
  }

  /** No connection, kept or not, had an id with more uses of its row, or a higher id if ids are serial numbers. */
  get mostUses(): number {
    return this.#mostUses
  }

  /** Whether no connection was ever kept. */
  get isUnused(): boolean {
    return this.#mostUses === 0
  }

  /** Whether all attachments are complete. */
  get isWhole(): boolean {
    return Array.from(this.#extras.values()).every(({ parts }) => parts === undefined)
  }

  /** Whether a connection is kept. */
  has(id: number): boolean {
    return this.#id[this.#placeOf(id)] === id
  }

  /** Keeps a connection, in place of one with the same row. Owns the descriptor from now on. */
  set(row: Row, fd: number): void {
    const at = this.#takePlace(row.id)
    if (at >= this.#id.length) this.#grow(at + 1)
    this.#id[at] = row.id
    this.#fd[at] = fd
    this.#deadline[at] = row.deadline
    this.#duration[at] = row.duration
    this.#cookie[at] = row.cookie
    this.#wakes[at] = row.wakes
    this.#requests[at] = row.requests
    this.#flags[at] = row.flags
    this.#size++
    const uses = this.#places === undefined ? Math.floor(row.id / ROWS) + UNKNOWN_USES : row.id + UNKNOWN_SERIALS
    this.#mostUses = Math.max(this.#mostUses, uses)
    const { size, stateSize, body, proxied } = row
    if (size === -1 && proxied === undefined) return
    this.#extras.set(at, { size, stateSize, body, proxied, parts: size > 0 && body === undefined ? [] : undefined })
  }

  /** Adds a part of a body that did not fit into the message with its row. */
  addChunk(id: number, bytes: Buffer): void {
    const extras = this.has(id) ? this.#extras.get(this.#placeOf(id)) : undefined
    if (extras?.parts === undefined) return
    extras.parts.push(bytes.toString('latin1'))
    if (extras.parts.reduce((sum, part) => sum + part.length, 0) < extras.size) return
    extras.body = extras.parts.join('')
    extras.parts = undefined
  }

  /** Closes a connection's descriptor, and forgets the connection. */
  delete(id: number): void {
    if (this.has(id)) this.#free(this.#placeOf(id))
  }

  /** The connections that are whole. @param server index of their server in the rows */
  all(server: number): Kept[] {
    const all: Kept[] = []
    this.each(server, (row, fd) => void all.push({ fd, row }))
    return all
  }

  /**
   * Calls `take` with each connection that is whole. It holds none of them beside the others.
   *
   * @param server index of their server in the rows
   */
  each(server: number, take: (row: Row, fd: number) => void): void {
    for (let at = 0; at < this.#id.length; at++) {
      const id = this.#id[at] as number
      if (id === 0) continue
      const extras = this.#extras.get(at)
      if (extras?.parts !== undefined) continue
      const row: Row = {
        server,
        id,
        flags: this.#flags[at] as number,
        wakes: this.#wakes[at] as number,
        requests: this.#requests[at] as number,
        deadline: this.#deadline[at] as number,
        duration: this.#duration[at] as number,
        cookie: this.#cookie[at] as number,
        size: extras?.size ?? -1,
        stateSize: extras?.stateSize ?? 0,
        body: extras?.body,
        proxied: extras?.proxied
      }
      take(row, this.#fd[at] as number)
    }
  }

  /** Closes the upgraded connections of other owners than these. */
  retainUpgraded(owners: ReadonlySet<string>): void {
    for (const [at, { stateSize, body }] of this.#extras) {
      if (stateSize > 0 && body !== undefined && !owners.has(ownerOf(body))) this.#free(at)
    }
  }

  /** Takes the connections of another list, except for those whose row is in use here. The other list is then empty. */
  inherit(other: KeptConnections): void {
    for (const { fd, row } of other.all(0)) {
      if ((this.#id[this.#placeOf(row.id)] ?? 0) !== 0) continue
      this.set(row, fd)
      other.#forget(other.#placeOf(row.id))
    }
    this.#mostUses = Math.max(this.#mostUses, other.#mostUses)
    other.clear()
  }

  /** Closes all descriptors. */
  clear(): void {
    for (const [at, id] of this.#id.entries()) if (id !== 0) this.#free(at)
  }

  /** Returns the place of an id; -1 if a serial number has none. */
  #placeOf(id: number): number {
    return this.#places === undefined ? id % ROWS : (this.#places.get(id) ?? -1)
  }

  /** Returns a free place for an id. What is kept there, or has this id, is closed. */
  #takePlace(id: number): number {
    const before = this.#placeOf(id)
    if (before !== -1) this.#free(before)
    if (this.#places === undefined) return before
    const at = this.#freePlaces.pop() ?? this.#end++
    this.#places.set(id, at)
    return at
  }

  #free(at: number): void {
    if ((this.#id[at] ?? 0) === 0) return
    closeDescriptor(this.#fd[at] as number)
    this.#forget(at)
  }

  #forget(at: number): void {
    if (this.#places?.delete(this.#id[at] as number)) this.#freePlaces.push(at)
    this.#id[at] = 0
    this.#size--
    this.#extras.delete(at)
  }

  #grow(least: number): void {
    const length = grown(this.#id.length, least)
    this.#id = resized(this.#id, new Float64Array(length))
    this.#fd = resized(this.#fd, new Int32Array(length))
    this.#deadline = resized(this.#deadline, new Float64Array(length))
    this.#duration = resized(this.#duration, new Float64Array(length))
    this.#cookie = resized(this.#cookie, new Float64Array(length))
    this.#wakes = resized(this.#wakes, new Uint32Array(length))
    this.#requests = resized(this.#requests, new Uint32Array(length))
    this.#flags = resized(this.#flags, new Uint16Array(length))
  }
}

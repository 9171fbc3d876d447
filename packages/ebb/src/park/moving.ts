/**
 * Connections of a parked server that move to another process, or come from one: see `handover/`.
 *
 * All of it happens between two turns of the event loop of either process. So a connection needs no state for being
 * under way: it is this process's, until {@link Moving.surrender}.
 */
import type { Socket } from 'node:net'
import type { Elsewhere, MovedConnection, Order } from '../socket/moved.js'
import { systemError } from '../sys/errors.js'
import type { ConnectionHandle } from './connection.js'
import type { Registration } from './registration.js'
import type { Connections } from './state/connections.js'
import { FRESH, MOST_USES, MOVABLE, STREAM, TIMEOUT, UPGRADED } from './state/table.js'
import type { Timers } from './timers.js'

/** The server whose connections move. */
export interface MovingHost {
  readonly access: {
    elsewhere: Elsewhere | undefined
    send(id: number, bytes: Uint8Array): boolean
    end(id: number): void
    closeConnection(id: number): boolean
  }
  /**
   * Parks an awake connection, unless something is in progress on it.
   *
   * @param leaving whether it may be parked although the kernel holds bytes that nobody has read
   * @returns whether it is parked
   */
  park(row: number, connection: ConnectionHandle, leaving: boolean): boolean
  /** Milliseconds without a byte that count as rest; 0 where the protocol tells. */
  readonly restingSilence: number
  /** Called after a batch of {@link park} calls. */
  endBatch(): void
  /** Whether a part of a header of the PROXY protocol has been read from a parked connection. */
  isInHeader(fd: number): boolean
  /** Whether new connections may begin with such a header. */
  readonly readsHeaders: boolean
  /** Whether a connection speaks another protocol than the server. */
  isUpgraded(row: number): boolean
  /**
   * Watches the descriptor of a connection that may come, without an effect until {@link restore}, which then takes
   * less time. If it cannot be watched, {@link restore} tells.
   */
  watchEarly(fd: number): void
  /** Watches the descriptor of a connection in a row that is in use. @returns 0, or an errno; `fd` stays open */
  restore(row: number, fd: number, left: number): number
  /** Forgets a parked connection, and closes its descriptor without a FIN. */
  forget(row: number): void
}

/** Moves the connections of one server. */
export class Moving {
  readonly #connections: Connections
  readonly #registration: Registration
  readonly #timers: Timers
  readonly #host: MovingHost

  constructor(connections: Connections, registration: Registration, timers: Timers, host: MovingHost) {
    this.#connections = connections
    this.#registration = registration
    this.#timers = timers
    this.#host = host
  }

  /** Number of open connections, parked and awake. */
  get size(): number {
    return this.#connections.table.size
  }

  /** Highest number of uses of a row: new ids of the other process continue from it. */
  get mostUses(): number {
    return this.#connections.table.mostUses
  }

  // The process that has the connections.

  /**
   * Parks the awake connections that are at rest.
   *
   * @param part of the silence that counts as rest, from 1 to 0
   */
  parkResting(part: number): void {
    const silence = part * this.#host.restingSilence
    const now = performance.now()
    for (const [row, connection] of [...this.#connections.awake]) {
      const { socket } = connection
      if (socket === undefined || this.#silentFor(connection, socket, now) < silence) continue
      this.#host.park(row, connection, true)
    }
    this.#host.endBatch()
  }

  /** Returns for how long, in ms, a connection has been awake without a byte. */
  #silentFor(connection: ConnectionHandle, socket: Socket, now: number): number {
    const bytes = socket.bytesRead + socket.bytesWritten
    if (bytes !== connection.bytesSeen) {
      connection.bytesSeen = bytes
      connection.quietSince = now
    }
    return now - connection.quietSince
  }

  /** The rows of the connections that can move now. */
  *rows(): Generator<number> {
    const { table } = this.#connections
    for (let row = 0; row < table.end; row++) if (this.#canMove(row)) yield row
  }

  #canMove(row: number): boolean {
    const { table } = this.#connections
    if (table.id(row) === 0) return false
    const fd = table.fd(row)
    return fd !== -1 && (table.flags(row) & ~MOVABLE) === 0 && !this.#host.isInHeader(fd)
  }

  /**
   * Whether a connection can be kept: it can move, and this process reads nothing from it before it says that it is
   * leaving.
   */
  canKeep(row: number): boolean {
    if (!this.#canMove(row) || this.#host.isUpgraded(row)) return false
    return !this.#host.readsHeaders || (this.#connections.table.flags(row) & FRESH) === 0
  }

  /** The ids of the connections that cannot move now. @param broadcasts those that broadcasts go to, or the others */
  *stayingIds(broadcasts: boolean): Generator<number> {
    const { table } = this.#connections
    for (let row = 0; row < table.end; row++) {
      if (table.id(row) === 0 || this.#canMove(row)) continue
      if (this.#getsBroadcasts(row) === broadcasts) yield table.id(row)
    }
  }

  #getsBroadcasts(row: number): boolean {
    const flags = this.#connections.table.flags(row)
    return (flags & UPGRADED) === 0 && (!this.onlyStreams || (flags & STREAM) !== 0)
  }

  /** Describes a connection that can move. */
  describe(row: number): MovedConnection {
    const { table, requests, attachments, proxied } = this.#connections
    const flags = table.flags(row)
    return {
      fd: table.fd(row),
      id: table.id(row),
      flags,
      wakes: table.wakes(row),
      requests: requests.get(row) ?? 0,
      left: this.#timers.left(row),
      duration: (flags & TIMEOUT) === 0 ? 0 : this.#timers.duration(row),
      attachment: attachments.get(row),
      proxied: proxied.record(row)
    }
  }

  /** Gives up a connection that another process has by now. */
  surrender(row: number): void {
    this.#host.forget(row)
  }

  // The process that gets them.

  /**
   * Keeps the rows of connections that come now or later. New connections do not get their ids.
   *
   * @returns false if an id is not valid, or in use, or if new ids would not be
   */
  reserve(ids: Iterable<number>, leastUses: number): boolean {
    const { table } = this.#connections
    if (leastUses > MOST_USES) return false
    for (const id of ids) if (!table.reserve(id)) return false
    table.relink(leastUses)
    return true
  }

  /** Returns the id of the connection in a row. */
  idOf(row: number): number {
    return this.#connections.table.id(row)
  }

  /** Returns the row of a connection; -1 if it is closed. */
  rowOf(id: number): number {
    return this.#connections.table.find(id)
  }

  /** Whether a connection with this id may come. */
  isReserved(id: number): boolean {
    return this.#connections.table.isReserved(id)
  }

  /** Frees the row of a connection that will not come. */
  release(id: number): void {
    this.#connections.table.release(id)
  }

  /** Prepares for a connection that may come with this descriptor, so that {@link adopt} takes less time. */
  expect(fd: number): void {
    this.#host.watchEarly(fd)
  }

  /**
   * Takes connections, whose ids are reserved, and their descriptors. They are parked. If it throws, it has taken none,
   * and has closed the descriptors.
   *
   * @throws {SystemError} of `epoll_ctl`
   */
  adopt(moved: readonly MovedConnection[]): void {
    this.#registration.join()
    const { table, requests, attachments, proxied } = this.#connections
    const taken: number[] = []
    for (const [at, { fd, id, flags, wakes, left, duration, ...rest }] of moved.entries()) {
      const row = table.occupy(id, wakes, flags)
      const errno = this.#host.restore(row, fd, left)
      if (errno !== 0) {
        table.drop(row)
        for (const other of taken) this.#host.forget(other)
        for (const other of moved.slice(at)) this.#registration.reactor.retire(other.fd)
        for (const { id: other } of moved) table.reserve(other)
        table.relink(0)
        throw systemError('epoll_ctl', errno)
      }
      taken.push(row)
      if (rest.attachment !== undefined) attachments.restore(row, rest.attachment)
      if (rest.requests > 0) requests.set(row, rest.requests)
      if (rest.proxied !== undefined) proxied.set(row, rest.proxied)
      if (duration > 0) this.#timers.setDuration(row, duration)
    }
  }

  // Connections that the other process has.

  /** Sets who passes on what is meant for connections that the other process has; undefined: there are none. */
  set elsewhere(elsewhere: Elsewhere | undefined) {
    this.#host.access.elsewhere = elsewhere
  }

  /** Carries out an order of the other process. An order for a connection that is closed by now does nothing. */
  carryOut(id: number, order: Order, bytes: Uint8Array): void {
    const { access } = this.#host
    if (order === 'end') access.end(id)
    else if (order === 'close') access.closeConnection(id)
    else access.send(id, bytes)
  }

  /** Whether broadcasts go to streams only. */
  onlyStreams = false
}

/**
 * Connections of a parked server that move to another process, or come from one: see `handover/`.
 *
 * All of it happens between two turns of the event loop of either process. So a connection needs no state for being
 * under way: it is this process's, until {@link Moving.surrender}.
 */
import type { Socket } from 'node:net'
import type { Elsewhere, MovedConnection, Order } from '../socket/moved.js'
import { EbbError, systemError } from '../sys/errors.js'
import type { ConnectionHandle } from './connection.js'
import type { Registration } from './registration.js'
import type { Connections } from './state/connections.js'
import { FRESH, MOST_USES, MOVABLE, STREAM, TIMEOUT, UPGRADED } from './state/table.js'
import type { Timers } from './timers.js'
import type { UpgradedMoving } from './upgrades.js'

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
  /** The upgraded connections. */
  readonly upgrades: {
    protocol: { readonly moving: UpgradedMoving } | undefined
    isHeld(row: number): boolean
    restore(row: number, state: string): void
    onTaken(row: number): void
  }
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

  /** Size of all attachments, in bytes. */
  get attachmentBytes(): number {
    return this.#connections.attachments.bytes
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

  /**
   * Returns the rows of the connections that can move now, in ascending order.
   *
   * @param owners of upgraded connections, by their names, that the other process has; undefined: all
   * @param most size, in bytes, of what upgraded connections need. Others are left for the next time
   */
  rows(owners: ReadonlySet<string> | undefined, most: number): number[] {
    const { table } = this.#connections
    const rows: number[] = []
    let size = 0
    for (let row = 0; row < table.end; row++) {
      const needed = this.#movableSize(row, owners)
      if (needed === -1 || (size > 0 && size + needed > most)) continue
      size += needed
      rows.push(row)
    }
    return rows
  }

  /** Returns the size of what the protocol of a connection needs to move; -1 if the connection cannot move now. */
  #movableSize(row: number, owners: ReadonlySet<string> | undefined): number {
    if (!this.#canMove(row)) return -1
    return this.#host.isUpgraded(row) ? (this.#host.upgrades.protocol?.moving.movableSize(row, owners) ?? -1) : 0
  }

  /** Whether a connection can move now, as far as its protocol does not matter. */
  #canMove(row: number): boolean {
    const { table } = this.#connections
    if (table.id(row) === 0) return false
    const fd = table.fd(row)
    if (fd === -1 || (table.flags(row) & ~MOVABLE) !== 0) return false
    return !this.#host.isInHeader(fd) && !this.#host.upgrades.isHeld(row)
  }

  /**
   * Whether a connection can be kept: it can move, and this process reads nothing from it before it says that it is
   * leaving.
   */
  canKeep(row: number): boolean {
    if (!this.#canMove(row)) return false
    if (this.#host.isUpgraded(row)) return this.#host.upgrades.protocol?.moving.canKeep(row) === true
    return !this.#host.readsHeaders || (this.#connections.table.flags(row) & FRESH) === 0
  }

  /**
   * The ids of the connections that do not move now.
   *
   * @param broadcasts those that broadcasts go to, or the others
   * @param leaving the rows of the others, in ascending order
   */
  *stayingIds(broadcasts: boolean, leaving: readonly number[]): Generator<number> {
    const { table } = this.#connections
    let at = 0
    for (let row = 0; row < table.end; row++) {
      if (leaving[at] === row) at++
      else if (table.id(row) !== 0 && this.#getsBroadcasts(row) === broadcasts) yield table.id(row)
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
      state: (flags & UPGRADED) === 0 ? undefined : this.#host.upgrades.protocol?.moving.describe(row),
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
   * Checks a connection that has come.
   *
   * @param state what its protocol needs
   * @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid
   */
  check(flags: number, state: string | undefined): void {
    if (((flags & UPGRADED) !== 0) !== (state !== undefined)) {
      throw new EbbError('ERR_EBB_HANDOVER', 'the other process sent an upgraded connection that is not complete')
    }
    if (state !== undefined) this.#host.upgrades.protocol?.moving.check(state)
  }

  /**
   * Takes connections, whose ids are reserved, and their descriptors. They are parked. Those that nobody here can go on
   * with are closed. If it throws, it has taken none, and has closed the descriptors.
   *
   * @throws {SystemError} of `epoll_ctl`
   */
  adopt(moved: readonly MovedConnection[]): void {
    this.#registration.join()
    const { table, requests, attachments, proxied } = this.#connections
    const taken: number[] = []
    for (const [at, { fd, id, flags, wakes, left, duration, state, ...rest }] of moved.entries()) {
      if (state !== undefined && this.#host.upgrades.protocol?.moving.hasOwner(state) !== true) {
        this.#registration.reactor.retire(fd)
        this.release(id)
        continue
      }
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
      if (state !== undefined) this.#host.upgrades.restore(row, state)
    }
  }

  /** Called when connections that were adopted are this process's for good. */
  onTaken(ids: readonly number[]): void {
    const { upgrades } = this.#host
    if (upgrades.protocol === undefined) return
    for (const id of ids) {
      const row = this.rowOf(id)
      if (row !== -1 && this.#host.isUpgraded(row)) upgrades.onTaken(row)
    }
  }

  // Connections that the other process has.

  /** Sets who passes on what is meant for connections that the other process has; undefined: there are none. */
  set elsewhere(elsewhere: Elsewhere | undefined) {
    this.#host.access.elsewhere = elsewhere
  }

  /**
   * Carries out an order of the other process. An order for a connection that is closed by now does nothing.
   *
   * @param id 0: the order is for all upgraded connections
   * @throws {EbbError} `ERR_EBB_HANDOVER` if the order is not valid
   */
  carryOut(id: number, order: Order, bytes: Buffer): void {
    const { access } = this.#host
    if (order === 'end') access.end(id)
    else if (order === 'close') access.closeConnection(id)
    else if (order === 'send') access.send(id, bytes)
    else if (order === 'upgraded') this.#carryOutUpgraded(id, bytes)
  }

  #carryOutUpgraded(id: number, bytes: Buffer): void {
    const { access, upgrades } = this.#host
    const row = id === 0 ? -1 : this.rowOf(id)
    if (id !== 0 && row === -1) access.elsewhere?.pass(id, 'upgraded', bytes)
    else if (id === 0 || this.#host.isUpgraded(row)) upgrades.protocol?.moving.carryOut(row, bytes)
  }

  /** Whether broadcasts go to streams only. */
  onlyStreams = false
}

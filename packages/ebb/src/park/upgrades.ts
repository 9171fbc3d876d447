/**
 * Connections that speak another protocol than their server: those of an HTTP server after an upgrade.
 *
 * They live in the same table as the other connections of the server, with the flag {@link UPGRADED}. `Parking` treats
 * them like the others, but asks their {@link UpgradedProtocol} what to do. They are never announced as `connection`.
 */
import type { Socket } from 'node:net'
import type { Burst } from '../govern/burst.js'
import { BroadcastQueue } from '../socket/broadcast-queue.js'
import { EPOLLIN, EPOLLRDHUP } from '../sys/constants.js'
import type { Reactor } from '../sys/reactor.js'
import type { ConnectionHandle } from './connection.js'
import { descriptorOf } from './node/socket.js'
import type { Registration } from './registration.js'
import type { Connections } from './state/connections.js'
import { FRESH, UPGRADED } from './state/table.js'
import type { Cause } from './stats.js'
import type { Timers } from './timers.js'

/** What a protocol does with its connections. Each connection is given by its row in the table. */
export interface UpgradedProtocol {
  /** Memory for all connections, in bytes. */
  readonly bytes: number
  /** Handles events of a parked connection. It reads from `fd`, but does not close it. */
  ready(row: number, fd: number, events: number): void
  /** Called when the timer of a parked connection is due: see {@link Upgrades.setTimer}. */
  onTimer(row: number): void
  /** Returns the time without a byte, in ms, after which an awake connection is parked. */
  idleTime(row: number): number
  /** Whether an awake connection may be parked now. */
  mayPark(row: number, socket: Socket): boolean
  /** Whether a connection may be parked although the kernel holds bytes that its socket has not read. */
  takesUnread(row: number): boolean
  /** Called when a connection is parked, before its socket is destroyed: removes the protocol's listeners from it. */
  onParked(row: number, socket: Socket): void
  /**
   * Called when a connection is closed, parked or awake. Its row is still in the table, but nothing can be done with
   * the connection. Must not call the application before this returns: see `process.nextTick()`.
   */
  onClosed(row: number, cause: Cause): void
  /** Tells the peer of an open connection, parked or awake, that the server is being shut down. */
  goAway(row: number): void
  /** Sends bytes to a parked connection as they are. @returns false if the connection is broken */
  write(row: number, bytes: Uint8Array): boolean
  /** Sends a FIN to a parked connection, after all that was sent. */
  end(row: number): void
  /** How connections move to another process, and come from one. */
  readonly moving: UpgradedMoving
  /** Frees memory. @param end no row from here on is in use */
  trim(end: number): void
}

/** How upgraded connections move to another process, and come from one. */
export interface UpgradedMoving {
  /**
   * Returns the size of what another process needs to go on with a parked connection, in bytes.
   *
   * @param owners that take connections in the other process: see `upgrade-owners.ts`; undefined: all
   * @returns -1 if the connection has to stay
   */
  movableSize(row: number, owners?: ReadonlySet<string>): number
  /**
   * Whether a parked connection can be kept: it is at rest, {@link describe} tells all that is known of it, and nothing
   * of it is read or written before `Connections.onLeaving` is called.
   */
  canKeep(row: number): boolean
  /** Returns what another process needs to go on with a parked connection, as bytes of Latin-1. */
  describe(row: number): string
  /** Checks what {@link describe} has returned in another process. @throws {EbbError} `ERR_EBB_HANDOVER` */
  check(state: string): void
  /** Whether the owner of a connection of another process is here, so that it can go on. */
  hasOwner(state: string): boolean
  /** Goes on with a connection of another process, which is parked. */
  restore(row: number, state: string): void
  /** Called when a connection of another process is this process's for good. It may call the program. */
  onTaken(row: number): void
  /** Called when another process has a connection, before its row is free. It is not closed. */
  onMoved(row: number): void
  /**
   * Carries out what another process has passed on with {@link Upgrades.pass}.
   *
   * @param row -1: for all connections that it is meant for
   * @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid
   */
  carryOut(row: number, order: Buffer): void
}

/** The server whose connections are upgraded. */
export interface UpgradeHost {
  readonly access: {
    /** Returns the connection behind a socket; undefined for a socket of another server. */
    connection(socket: Socket): ConnectionHandle | undefined
    /** Who has connections of another process, during a handover. */
    readonly elsewhere: Elsewhere | undefined
  }
  /** Adds the awake connection of a socket that Node accepted. @returns its row */
  addSocket(socket: Socket): number
  /** Adds a parked connection. @returns its row; a negative errno after closing `fd` */
  addParked(fd: number): number
  /** Parks an awake connection, unless something is in progress on it. @returns whether it is parked */
  park(row: number, connection: ConnectionHandle): boolean
  /** Wakes a parked connection. @returns undefined if the connection is broken; then it is closed */
  wake(row: number, announced: boolean): ConnectionHandle | undefined
  /** Closes a parked connection. */
  close(row: number, cause: Cause): void
}

/** Who has connections of another process: see `moving.ts`. */
interface Elsewhere {
  has(id: number): boolean
  pass(id: number, order: 'upgraded' | 'close', bytes?: Uint8Array): boolean
  passToAll(order: Uint8Array): void
}

/** The upgraded connections of one server. Its methods take rows of connections that are upgraded and open. */
export class Upgrades {
  /** The protocol of the upgraded connections. */
  protocol: UpgradedProtocol | undefined
  /**
   * Called when a parked connection that speaks the server's protocol has sent bytes, before it is woken. Returns true
   * if it has dealt with them, for example with {@link adoptParked}; false wakes the connection. It looks at the bytes
   * with `peek()`.
   */
  handshake: ((row: number, fd: number) => boolean) | undefined

  readonly connections: Connections
  /** What {@link goAway} says, in slices. */
  readonly #goodbyes = new BroadcastQueue()
  readonly #registration: Registration
  readonly #timers: Timers
  readonly #host: UpgradeHost
  readonly #burst: Burst
  /** Rows of parked connections whose handshake goes on. */
  readonly #held = new Set<number>()

  /** @param burst told of handshakes whose connections stay parked, or are parked at once: they leave garbage */
  constructor(connections: Connections, registration: Registration, timers: Timers, burst: Burst, host: UpgradeHost) {
    this.#burst = burst
    this.connections = connections
    this.#registration = registration
    this.#timers = timers
    this.#host = host
  }

  /** The reactor. Must be used only while there are upgraded connections. */
  get reactor(): Reactor {
    return this.#registration.reactor
  }

  /**
   * Takes a connection after its upgrade. It stays awake until {@link park} is called. The caller also calls
   * {@link scheduleIdleCheck}, as soon as its protocol knows the row.
   *
   * @returns its row; -1 if its socket has no descriptor of its own (TLS), or is destroyed
   */
  adoptSocket(socket: Socket): number {
    if (descriptorOf(socket) < 0) return -1
    const known = this.#host.access.connection(socket)
    const row = known === undefined ? this.#host.addSocket(socket) : this.connections.table.find(known.id)
    if (row === -1) return -1
    this.#setUpgraded(row)
    return row
  }

  /** Takes a bare descriptor and parks its connection. @returns its row; a negative errno after closing `fd` */
  adoptDescriptor(fd: number): number {
    this.#registration.join()
    const row = this.#host.addParked(fd)
    if (row < 0) this.#registration.leaveIfEmpty()
    else this.#setUpgraded(row)
    return row
  }

  /**
   * Leaves the bytes of a parked connection in the kernel while its handshake goes on. Until {@link resume} is called,
   * nothing but a lost connection is reported, and the connection does not time out.
   */
  hold(row: number): void {
    this.#held.add(row)
    this.#timers.remove(row)
    this.reactor.modify(this.connections.table.fd(row), 0)
  }

  /** Undoes {@link hold}. */
  resume(row: number): void {
    this.#held.delete(row)
    this.reactor.modify(this.connections.table.fd(row), EPOLLIN | EPOLLRDHUP)
  }

  /** Whether {@link hold} was called for a connection, and {@link resume} was not. */
  isHeld(row: number): boolean {
    return this.#held.has(row)
  }

  /** Called when a connection that is not upgraded is closed. */
  forget(row: number): void {
    if (this.#held.size > 0) this.#held.delete(row)
  }

  /** Takes a parked connection of the server, whose handshake is done. It stays parked. */
  adoptParked(row: number): void {
    this.#timers.remove(row)
    this.#setUpgraded(row)
    this.#burst.add()
  }

  #setUpgraded(row: number): void {
    this.#registration.join()
    this.#registration.countUpgraded(1)
    this.connections.table.setFlags(row, UPGRADED, FRESH)
    this.connections.onChange?.(row)
  }

  /** Schedules the next idle check of an awake connection. */
  scheduleIdleCheck(row: number): void {
    this.#timers.scheduleIdleCheck(row)
  }

  /** Parks an awake connection now, unless its protocol refuses. @returns whether it is parked */
  park(row: number): boolean {
    const connection = this.connections.awake.get(row)
    return connection === undefined || this.#host.park(row, connection)
  }

  /** As {@link park}, for a connection whose socket was needed for its handshake only. */
  parkNew(row: number): boolean {
    this.#burst.add()
    return this.park(row)
  }

  /** Wakes a parked connection. @returns undefined if the connection is broken; then it is closed */
  wake(row: number): Socket | undefined {
    return this.#host.wake(row, false)?.socket
  }

  /** Closes a connection, parked or awake. */
  close(row: number, cause: Cause): void {
    const socket = this.connections.socket(row)
    if (socket === undefined) this.#host.close(row, cause)
    else this.connections.callBack(row, socket.destroy, socket)
  }

  /** Tells the peers of all connections that the server is being shut down, in slices of a few ms. */
  goAway(): void {
    if (this.protocol === undefined) return
    const { table } = this.connections
    void this.#goodbyes.add(table.ids(), (id) => this.goAwayFrom(table.find(id)))
  }

  /** Tells one peer. @param row of any connection; -1 for one that is closed. @returns whether there is one to tell */
  goAwayFrom(row: number): boolean {
    const { protocol } = this
    if (protocol === undefined || row === -1 || !this.connections.isUpgraded(row)) return false
    this.connections.callBack(row, protocol.goAway, protocol, row)
    return true
  }

  /** Sets the timer of a parked connection. It is forgotten when the connection wakes. @param ms 0: no timer */
  setTimer(row: number, ms: number): void {
    this.#timers.set(row, ms)
  }

  /** Returns the time, in ms, until the timer of a parked connection is due; 0 if it has none. */
  timeLeft(row: number): number {
    return this.#timers.left(row)
  }

  /** Called when a connection is closed, before its row is free. */
  onClosed(row: number, cause: Cause): void {
    this.#registration.countUpgraded(-1)
    this.protocol?.onClosed(row, cause)
  }

  // Connections of another process.

  /** Whether another process may get connections of this server, at any time. */
  mayMove = false

  /** Goes on with a connection of another process. @param state what its protocol has described */
  restore(row: number, state: string): void {
    this.#registration.countUpgraded(1)
    this.protocol?.moving.restore(row, state)
  }

  /** Called when a connection of another process is this process's for good. */
  onTaken(row: number): void {
    const moving = this.protocol?.moving
    if (moving !== undefined) this.connections.callBack(row, moving.onTaken, moving, row)
  }

  /** Called when another process has a connection, before its row is free. */
  onMoved(row: number): void {
    this.#registration.countUpgraded(-1)
    this.protocol?.moving.onMoved(row)
  }

  /** Whether another process has the connection with this id. */
  isElsewhere(id: number): boolean {
    return this.#host.access.elsewhere?.has(id) === true
  }

  /** Passes on what is meant for a connection that another process has. @returns whether it was passed on */
  pass(id: number, order: Uint8Array): boolean {
    return this.isElsewhere(id) && this.#host.access.elsewhere?.pass(id, 'upgraded', order) === true
  }

  /** Closes a connection that another process has. */
  closeElsewhere(id: number): void {
    if (this.isElsewhere(id)) this.#host.access.elsewhere?.pass(id, 'close')
  }

  /** Passes on what is meant for all upgraded connections that other processes have. */
  passToAll(order: Uint8Array): void {
    this.#host.access.elsewhere?.passToAll(order)
  }
}

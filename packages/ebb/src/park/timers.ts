/** Timers of connections: awake connections are checked for idleness, parked connections time out. */
import type { Socket } from 'node:net'
import { Wheel } from '../socket/timer-wheel.js'
import { lengthened, shortened } from '../sys/arrays.js'
import { shortest } from '../sys/duration.js'
import { batchAfter } from '../sys/node/callback-scope.js'
import { sendBytes } from '../sys/transfer.js'
import type { ConnectionHandle } from './connection.js'
import { timeOut } from './node/socket.js'
import type { Protocol, TimeoutAction } from './protocol/protocol.js'
import type { Registration } from './registration.js'
import type { Connections } from './state/connections.js'
import { FRESH, TIMEOUT } from './state/table.js'
import type { Cause } from './stats.js'

/** Idle time (ms) after which a stream with a slow reader is parked again, if the server has no `idle`. */
const STREAM_IDLE = 1000

/**
 * If no client has spoken within this time (ms) after the first one has connected, the listeners of `connection` are
 * called for a silent one: only they know its timeout.
 */
const LEARN_AFTER = 1000

/** Times of a server, in ms. */
export interface TimerOptions {
  /** Time without a byte after which an awake connection is parked again; undefined: never. */
  idle: number | undefined
  /**
   * Time after which a connection that has not sent a byte is closed; 0: never; undefined: after the timeout that
   * listeners of `connection` set.
   */
  firstByteTimeout: number | undefined
}

/** The server whose connections have timers. */
export interface TimerHost {
  /** Parks an awake connection, unless something is in progress on it. @returns whether it is parked */
  park(row: number, connection: ConnectionHandle): boolean
  /** Parks an awake connection that has received nothing since its wake, without asking its protocol. */
  parkUntouched(row: number, connection: ConnectionHandle): void
  /**
   * Handles what the kernel has received for a parked connection that is about to time out. After a delay of the event
   * loop, bytes that came in time may wait there. Closing the connection would answer them with a RST.
   *
   * @returns whether there was nothing, so that the connection is still parked
   */
  stillIdle(row: number): boolean
  /** Wakes a parked connection. @returns undefined if the connection is broken */
  wake(row: number, announced: boolean): ConnectionHandle | undefined
  /** Whether a parked connection has yet to send a header of the PROXY protocol, which the application never sees. */
  waitsForHeader(row: number): boolean
  /** Closes a parked connection. */
  close(row: number, cause: Cause): void
  /** Returns the protocol of an upgraded connection; undefined for other connections. */
  upgradedProtocol(row: number): UpgradedProtocol | undefined
  /** Number of listeners of `connection`. */
  readonly listeners: number
  /** Whether somebody else has taken over the connection of an awake socket. */
  isTaken(socket: Socket): boolean
}

/** What timers ask the protocol of upgraded connections. */
interface UpgradedProtocol {
  /** Returns the time without a byte, in ms, after which an awake connection is parked. */
  idleTime(row: number): number
  /** Handles the timer of a parked connection. */
  onTimer(row: number): void
}

/**
 * One timer for each connection, by row: the next idle check of an awake connection, or the timeout of a parked one.
 */
export class Timers {
  readonly #connections: Connections
  readonly #protocol: Protocol
  readonly #registration: Registration
  readonly #idle: number
  readonly #firstByteTimeout: number
  /**
   * The timeout, in ms, that the application's listeners of `connection` set on the last new socket; 0: none;
   * undefined: they were never called. They are not called for a connection that sends nothing, but its timeout is
   * likely to be the same.
   */
  #learned: number | undefined
  /** Whether the listeners are called for one silent client: see {@link LEARN_AFTER}. */
  #asksListeners: boolean
  #asking: NodeJS.Timeout | undefined
  /** By row: the timeout that the application has set on a connection with the flag {@link TIMEOUT}, in ms. */
  #durations = new Float64Array(0)
  readonly #host: TimerHost
  readonly #wheel: Wheel

  constructor(
    connections: Connections,
    protocol: Protocol,
    registration: Registration,
    options: TimerOptions,
    host: TimerHost
  ) {
    this.#connections = connections
    this.#protocol = protocol
    this.#registration = registration
    this.#idle = options.idle ?? STREAM_IDLE
    this.#firstByteTimeout = options.firstByteTimeout ?? 0
    this.#asksListeners = options.firstByteTimeout === undefined
    this.#host = host
    this.#wheel = new Wheel(
      (row) => this.#onTimer(row),
      () => this.#protocol.endBatch()
    )
  }

  /** Number of timers. */
  get size(): number {
    return this.#wheel.size
  }

  /** Whether a connection has a timer. */
  has(row: number): boolean {
    return this.#wheel.has(row)
  }

  /** Returns the time, in ms, until the timer of a connection is due; 0 if it has none. */
  left(row: number): number {
    return this.#wheel.left(row)
  }

  /** Returns what {@link setDuration} was told of a connection with the flag {@link TIMEOUT}. */
  duration(row: number): number {
    return this.#durations[row] ?? 0
  }

  /** Memory of the timers, in bytes. */
  get bytes(): number {
    return this.#wheel.bytes + this.#durations.byteLength
  }

  /** Schedules the next idle check of an awake connection, unless the server is closed. */
  scheduleIdleCheck(row: number): void {
    const upgraded = this.#host.upgradedProtocol(row)
    if (upgraded !== undefined) this.#wheel.add(row, upgraded.idleTime(row) / 2)
    else if (this.#registration.open) this.#wheel.add(row, this.#idle / 2)
  }

  /** Sets the timeout of a parked connection. @param timeout ms; 0: never */
  set(row: number, timeout: number): void {
    if (timeout > 0) this.#wheel.add(row, timeout)
    else this.#wheel.remove(row)
  }

  /** Removes the timer of a connection. */
  remove(row: number): void {
    this.#wheel.remove(row)
  }

  /** Returns how long a new connection may stay parked before its first byte, in ms; 0: for ever. */
  firstByteTimeout(): number {
    return shortest(this.#firstByteTimeout, this.#protocol.firstByteTimeout(), this.#learned ?? 0)
  }

  /** Returns the timeout of a connection that was woken before its first byte, and is parked again; 0: none. */
  freshTimeout(connection: ConnectionHandle): number {
    return connection.timedOutAt === -1 ? this.firstByteTimeout() : 0
  }

  /** Called when a new connection was parked. */
  onFresh(): void {
    if (this.#asksListeners) this.#asking ??= batchAfter(LEARN_AFTER, () => this.#askListeners())
  }

  /** Wakes one of the connections that have not sent a byte, so that {@link learn} is called. */
  #askListeners(): void {
    this.#asking = undefined
    if (this.#host.listeners <= this.#protocol.connectionListeners) return
    for (let row = 0; this.#asksListeners && row < this.#connections.table.end; row++) {
      if (!this.#isFresh(row) || this.#host.waitsForHeader(row) || !this.#host.stillIdle(row)) continue
      const connection = this.#host.wake(row, true)
      if (connection !== undefined && this.#protocol.parksSilent) this.#parkSilent(row, connection)
      this.#asksListeners = false
    }
  }

  /** Called when a socket was announced: see {@link Timers.#learned}. */
  learn(socket: Socket, connection: ConnectionHandle): void {
    const listeners = socket.listenerCount('timeout')
    connection.timeoutListeners = listeners
    const before = this.#learned ?? 0
    this.#learned = listeners > this.#protocol.timeoutListeners ? (socket.timeout ?? 0) : 0
    this.#asksListeners = false
    if (before === 0 && this.#learned > 0) this.#setFresh(this.#learned)
  }

  /** Sets the timeout of the connections that have not sent a byte, unless another one comes before it. */
  #setFresh(timeout: number): void {
    if (this.firstByteTimeout() !== timeout) return
    for (let row = 0; row < this.#connections.table.end; row++) if (this.#isFresh(row)) this.#wheel.add(row, timeout)
  }

  /** Whether a row has a parked connection that has not sent a byte. */
  #isFresh(row: number): boolean {
    return this.#connections.isParked(row) && (this.#connections.table.flags(row) & FRESH) !== 0
  }

  /** Tells how long the timeout of a parked connection is, for {@link restart}. */
  setDuration(row: number, ms: number): void {
    if (row >= this.#durations.length) this.#durations = lengthened(this.#durations, row)
    this.#durations[row] = ms
  }

  /** Starts the timeout of a parked connection again, unless it is over. */
  restart(row: number): void {
    if (this.#wheel.has(row)) this.#wheel.add(row, this.#durations[row] as number)
  }

  /** Frees memory. @param end no row from here on is in use */
  trim(end: number): void {
    this.#wheel.trim(end)
    this.#durations = shortened(this.#durations, end)
  }

  #onTimer(row: number): void {
    const connection = this.#connections.awake.get(row)
    if (connection !== undefined) {
      this.#connections.callBack(row, this.#checkIdle, this, row, connection)
      return
    }
    const upgraded = this.#host.upgradedProtocol(row)
    if (upgraded === undefined) this.#onTimeout(row)
    else this.#connections.callBack(row, upgraded.onTimer, upgraded, row)
  }

  /** Parks an awake connection after `idle` without a byte. Until then, checks it again every `idle / 2`. */
  #checkIdle(row: number, connection: ConnectionHandle): void {
    const socket = connection.socket as Socket
    const bytes = socket.bytesRead + socket.bytesWritten
    const now = performance.now()
    const silent = now - connection.quietSince
    const upgraded = this.#host.upgradedProtocol(row)
    if (bytes !== connection.bytesSeen) {
      connection.bytesSeen = bytes
      connection.quietSince = now
    } else if (silent >= (upgraded?.idleTime(row) ?? this.#idle) && this.#host.park(row, connection)) return
    else if (upgraded === undefined && connection.wakes > 1 && this.#protocol.isHeadOverdue(socket, silent))
      timeOut(socket)
    if (upgraded !== undefined || this.#connections.isStream(row) || !this.#isGone(socket)) this.scheduleIdleCheck(row)
  }

  /** Whether the connection belongs to the application or to somebody else, so that it is never parked again. */
  #isGone(socket: Socket): boolean {
    return this.#protocol.isUpgraded(socket) || this.#host.isTaken(socket)
  }

  /** Returns what to do with a connection that has sent nothing for `timeout` ms. */
  #onFirstByteTimeout(row: number, timeout: number): TimeoutAction {
    if (timeout === this.#firstByteTimeout || this.#host.waitsForHeader(row)) return {}
    if (timeout !== this.#learned) return this.#protocol.onTimeout(true, false)
    return {
      wake: {
        announced: true,
        onTimeout(socket) {
          // The application may set another timeout on each socket.
          if (socket.timeout !== undefined && socket.timeout > 0 && socket.timeout <= timeout) socket.emit('timeout')
        }
      }
    }
  }

  /** Handles the timeout of a parked connection. */
  #onTimeout(row: number): void {
    if (!this.#host.stillIdle(row)) return
    const { table, listening } = this.#connections
    const heard = listening.get(row)
    if (heard !== undefined) {
      // As in Node, the event comes once, and the connection stays as it is.
      listening.delete(row)
      this.#connections.callBack(row, () => heard.emit('timeout'), undefined)
      return
    }
    const flags = table.flags(row)
    const { finalResponse, wake } =
      (flags & FRESH) === 0
        ? this.#protocol.onTimeout(false, (flags & TIMEOUT) !== 0)
        : this.#onFirstByteTimeout(row, this.firstByteTimeout())
    if (wake !== undefined) {
      this.#connections.callBack(row, this.#wakeAtTimeout, this, row, wake)
      return
    }
    // The send buffer of an idle connection is empty, so the kernel takes all of it.
    if (finalResponse !== undefined) sendBytes(table.fd(row), finalResponse)
    this.#host.close(row, 'timeout')
  }

  #wakeAtTimeout(row: number, { announced, around, onTimeout }: NonNullable<TimeoutAction['wake']>): void {
    const { table, awake } = this.#connections
    const id = table.id(row)
    const wake = (): void => void this.#host.wake(row, announced)
    if (around === undefined) wake()
    else around(wake)
    const connection = table.id(row) === id ? awake.get(row) : undefined
    if (connection?.socket === undefined) return
    const { socket } = connection
    onTimeout(socket)
    connection.timedOutAt = socket.bytesRead + socket.bytesWritten
    this.#parkSilent(row, connection)
  }

  /** Parks a connection that was woken before its first byte, if the listeners left it alone. */
  #parkSilent(row: number, connection: ConnectionHandle): void {
    if (connection.socket?.bytesRead === 0) this.#host.parkUntouched(row, connection)
  }
}

/** Timers of connections: awake connections are checked for idleness, parked connections time out. */
import type { Socket } from 'node:net'
import { sendBytes } from '../sys/transfer.js'
import type { ConnectionHandle } from './connection.js'
import { timeOut } from './node/socket.js'
import type { Protocol, TimeoutAction } from './protocol/protocol.js'
import type { Registration } from './registration.js'
import type { Connections } from './state/connections.js'
import { FRESH } from './state/table.js'
import { Wheel } from '../socket/timer-wheel.js'
import type { Cause } from './stats.js'

/** Idle time (ms) after which a stream with a slow reader is parked again, if the server has no `idle`. */
const STREAM_IDLE = 1000

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
  /** Closes a parked connection. */
  close(row: number, cause: Cause): void
  /** Returns the protocol of an upgraded connection; undefined for other connections. */
  upgradedProtocol(row: number): UpgradedProtocol | undefined
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
  readonly #host: TimerHost
  readonly #wheel: Wheel

  /** @param idle ms without a byte after which an awake connection is parked again */
  constructor(
    connections: Connections,
    protocol: Protocol,
    registration: Registration,
    idle: number | undefined,
    host: TimerHost
  ) {
    this.#connections = connections
    this.#protocol = protocol
    this.#registration = registration
    this.#idle = idle ?? STREAM_IDLE
    this.#host = host
    this.#wheel = new Wheel(
      (row) => this.#onTimer(row),
      () => this.#protocol.endBatch()
    )
  }

  /** Memory of the timers, in bytes. */
  get bytes(): number {
    return this.#wheel.bytes
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

  /** Frees memory. @param end no row from here on is in use */
  trim(end: number): void {
    this.#wheel.trim(end)
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

  /** Handles the timeout of a parked connection. */
  #onTimeout(row: number): void {
    if (!this.#host.stillIdle(row)) return
    const { table } = this.#connections
    const { finalResponse, wake } = this.#protocol.onTimeout((table.flags(row) & FRESH) !== 0)
    if (wake !== undefined) {
      this.#connections.callBack(row, this.#wakeAtTimeout, this, row, wake)
      return
    }
    // The send buffer of an idle connection is empty, so the kernel takes all of it.
    if (finalResponse !== undefined) sendBytes(table.fd(row), finalResponse)
    this.#host.close(row, 'timeout')
  }

  #wakeAtTimeout(row: number, { announced, onTimeout }: NonNullable<TimeoutAction['wake']>): void {
    const connection = this.#host.wake(row, announced)
    if (connection?.socket === undefined) return
    onTimeout(connection.socket)
    // If the listeners left the connection alone, park it again: while it is awake, `http` believes that it is in the
    // middle of a request.
    if (connection.socket?.bytesRead === 0) this.#host.parkUntouched(row, connection)
  }
}

/**
 * What the application has set on the socket of a connection, over the sleep of the connection: `setTimeout()`,
 * `unref()`, `setNoDelay()` and `setKeepAlive()`. The kernel keeps the options of the connection, and flags of its row
 * keep the rest.
 */
import type { Socket } from 'node:net'
import { IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPIDLE, TCP_NODELAY } from '../sys/constants.js'
import { setOption } from '../sys/socket.js'
import type { ConnectionHandle } from './connection.js'
import type { ServerInternals } from './node/server.js'
import { hasReference, optionsOf, remainingTimeout, rememberOptions } from './node/socket.js'
import type { Protocol } from './protocol/protocol.js'
import type { Registration } from './registration.js'
import type { Connections } from './state/connections.js'
import { KEEP_ALIVE, NO_DELAY, STREAM, TIMEOUT, UNREFERENCED, UPGRADED } from './state/table.js'
import type { Timers } from './timers.js'

/** Flags that follow from the socket. */
const OF_SOCKET = UNREFERENCED | NO_DELAY | KEEP_ALIVE | TIMEOUT

/** The settings of the connections of one server. */
export class Settings {
  readonly #connections: Connections
  readonly #protocol: Protocol
  readonly #registration: Registration
  readonly #timers: Timers
  readonly #server: ServerInternals

  constructor(
    server: ServerInternals,
    connections: Connections,
    protocol: Protocol,
    registration: Registration,
    timers: Timers
  ) {
    this.#server = server
    this.#connections = connections
    this.#protocol = protocol
    this.#registration = registration
    this.#timers = timers
  }

  /** Sets what a new connection inherits from the listening socket. */
  inherit(row: number): void {
    const { noDelay, keepAlive } = this.#server
    const flags = (noDelay ? NO_DELAY : 0) | (keepAlive ? KEEP_ALIVE : 0)
    this.#connections.table.setFlags(row, flags)
  }

  /**
   * Keeps the settings of a socket whose connection is about to be parked.
   *
   * @returns ms until the connection times out; 0: never
   */
  keep(row: number, socket: Socket, connection: ConnectionHandle, silent: number): number {
    const { table } = this.#connections
    const { noDelay, keepAlive } = optionsOf(socket)
    const flags = (hasReference(socket) ? 0 : UNREFERENCED) | (noDelay ? NO_DELAY : 0) | (keepAlive ? KEEP_ALIVE : 0)
    table.setFlags(row, flags, OF_SOCKET)
    if ((table.flags(row) & (UPGRADED | STREAM)) !== 0) return 0
    const timeout = this.#protocol.idleTimeout(socket)
    if (timeout === 0 || connection.timedOutAt === socket.bytesRead + socket.bytesWritten) return 0
    const remaining = remainingTimeout(socket) ?? timeout - silent
    if (remaining === 0) return 0
    const listeners = socket.listenerCount('timeout')
    if (listeners > this.#protocol.timeoutListeners) {
      table.setFlags(row, TIMEOUT)
      this.#timers.setDuration(row, timeout)
      // The listeners that the next socket will not have.
      if (listeners > connection.timeoutListeners) this.#connections.listening.set(row, socket)
    }
    return Math.max(1, remaining)
  }

  /** Applies the settings to the new socket of a connection that was woken. */
  apply(row: number, socket: Socket): void {
    const flags = this.#connections.table.flags(row)
    if ((flags & (NO_DELAY | KEEP_ALIVE)) !== 0) {
      rememberOptions(socket, {
        noDelay: (flags & NO_DELAY) !== 0,
        keepAlive: (flags & KEEP_ALIVE) !== 0,
        // That of the listening socket, unless an earlier socket has set another one.
        keepAliveDelay: this.#connections.table.wakes(row) === 1 ? this.#server.keepAliveInitialDelay : undefined
      })
    }
    if ((flags & UNREFERENCED) !== 0) socket.unref()
    if (this.#connections.listening.size > 0) this.#connections.listening.delete(row)
  }

  /** Whether a parked connection keeps the process running. */
  keepsRunning(row: number): boolean {
    return (this.#connections.table.flags(row) & UNREFERENCED) === 0
  }

  // What the application sets on the socket of a connection that is parked by now.

  /** `ref()` and `unref()` of a parked connection. */
  setReference(row: number, on: boolean): void {
    if (this.keepsRunning(row) === on) return
    this.#setFlag(row, UNREFERENCED, !on)
    this.#registration.countReferenced(on ? 1 : -1)
  }

  /** `setNoDelay()` of a parked connection. */
  setNoDelay(row: number, on: boolean): void {
    this.#setFlag(row, NO_DELAY, on)
    setOption(this.#connections.table.fd(row), IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0)
  }

  /** `setKeepAlive()` of a parked connection. @param seconds time before the first probe; 0: as before */
  setKeepAlive(row: number, on: boolean, seconds: number): void {
    this.#setFlag(row, KEEP_ALIVE, on)
    const fd = this.#connections.table.fd(row)
    setOption(fd, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0)
    if (on && seconds > 0) setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds)
  }

  /** `setTimeout()` of a parked connection. @param socket emits `timeout` */
  setTimeout(row: number, socket: Socket, ms: number): void {
    this.#setFlag(row, TIMEOUT, ms > 0)
    this.#connections.listening.delete(row)
    this.#timers.set(row, ms)
    if (ms === 0) return
    this.#timers.setDuration(row, ms)
    this.#connections.listening.set(row, socket)
  }

  #setFlag(row: number, flag: number, on: boolean): void {
    this.#connections.table.setFlags(row, on ? flag : 0, flag)
    this.#connections.onChange?.(row)
  }
}

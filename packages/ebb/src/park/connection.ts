/** The handle of a connection of a parked server. */
import type { Socket } from 'node:net'
import { endBeforeClose } from '../sys/socket.js'
import type { HandleObserver } from './node/socket.js'

/**
 * A connection of a parked server. Each wake makes a new object, and two objects of the same connection have the same
 * {@link id} and are interchangeable, except that `wakes` and `keepAwake` belong to one wake.
 */
export interface Connection {
  /** Number of this connection: the same while it is open, parked or awake, and never reused in this thread. */
  readonly id: number
  /** How often the connection was woken, including this wake: 1 at first. */
  readonly wakes: number
  /**
   * Whether the connection must stay awake, for example because a response is being computed that has not been written
   * yet. Default: false.
   */
  keepAwake: boolean

  /**
   * Data of the application, also kept while the connection is parked. Any value that `structuredClone` takes.
   * It is stored serialised, so each read returns a new copy: to change it, set it again. `undefined` removes it.
   *
   * If setting throws, the previous value stays.
   *
   * @throws {RangeError} `ERR_EBB_ATTACHMENT_TOO_LARGE` above the server's `attachmentLimit`
   * @throws `DataCloneError` for a value that cannot be cloned, such as a function or a socket
   * @throws {EbbError} `ERR_EBB_CONNECTION_CLOSED` once the connection is closed
   */
  attachment: unknown

  /** Whether the connection is parked. Then the socket that came with this object is destroyed. */
  readonly parked: boolean
  /** Whether the connection is closed. */
  readonly closed: boolean
  /** Bytes that wait for a peer that reads slowly; 0 for a parked or closed connection. */
  readonly queued: number

  /**
   * Sends bytes, parked or awake: see {@link Parked.send}.
   *
   * @returns false when the connection is closed or broken, and for a server of TLS
   */
  send(bytes: string | Uint8Array): boolean

  /**
   * Parks the connection now.
   *
   * @returns whether the connection is parked. It stays awake while bytes are buffered, a message is incomplete,
   *   `keepAwake` is set, or no descriptor is available. False also when it is closed.
   */
  park(): boolean

  /** Sends a FIN after all that was sent. The connection closes when the peer sends its own FIN. */
  end(): void

  /** Closes the connection, parked or awake. Bytes that are still buffered are lost. */
  close(): void
}

/** The server behind a handle. */
export interface ConnectionHost {
  has(id: number): boolean
  isParked(id: number): boolean
  queued(id: number): number
  send(id: number, bytes: string | Uint8Array): boolean
  parkNow(connection: ConnectionHandle): boolean
  end(id: number): void
  closeConnection(id: number, reset?: boolean): boolean
  attachment(connection: ConnectionHandle): unknown
  attach(connection: ConnectionHandle, value: unknown): void
  /** Called when the socket of an awake connection has closed, and its descriptor with it. */
  socketClosed(connection: ConnectionHandle): void
  /** Returns the open socket of a connection, which is woken for it if it is parked; undefined if it is closed. */
  presentSocket(id: number): Socket | undefined
  setReference(id: number, on: boolean): void
  setNoDelay(id: number, on: boolean): void
  setKeepAlive(id: number, on: boolean, delay: number): void
  setTimeout(id: number, socket: Socket, ms: number): void
}

/** The implementation of {@link Connection}, with the state that the server keeps for an awake connection. */
export class ConnectionHandle implements Connection, HandleObserver {
  readonly id: number
  readonly wakes: number
  keepAwake = false

  /** Its socket; undefined once the connection is parked or closed. */
  socket: Socket | undefined
  /** Bytes received and sent by the socket up to the last idle check; -1 before the first check. */
  bytesSeen = -1
  /** Time when `bytesSeen` last changed, by `performance.now()` (ms). */
  quietSince = 0
  /** Number of listeners of `timeout` that its socket had when it was announced. */
  timeoutListeners = 0
  /** Bytes received and sent by the socket when `timeout` was emitted for it; -1: it was not. */
  timedOutAt = -1
  /** False from `stream()` until its response is finished. */
  responseEnded = true
  /** Whether the connection is being closed because its peer reads too slowly. */
  isSlow = false
  /** Requests so far, if the server limits them. */
  requests = 0
  /** Serialised attachment of a connection that is closed. */
  lastAttachment: string | undefined

  readonly #host: ConnectionHost

  constructor(host: ConnectionHost, id: number, wakes: number) {
    this.#host = host
    this.id = id
    this.wakes = wakes
  }

  get attachment(): unknown {
    return this.#host.attachment(this)
  }

  set attachment(value: unknown) {
    this.#host.attach(this, value)
  }

  get parked(): boolean {
    return this.#host.isParked(this.id)
  }

  get closed(): boolean {
    return !this.#host.has(this.id)
  }

  get queued(): number {
    return this.#host.queued(this.id)
  }

  /** Whether this is a connection of `host`. */
  belongsTo(host: ConnectionHost): boolean {
    return this.#host === host
  }

  send(bytes: string | Uint8Array): boolean {
    return this.#host.send(this.id, bytes)
  }

  park(): boolean {
    return this.#host.parkNow(this)
  }

  end(): void {
    this.#host.end(this.id)
  }

  /** Closes the connection; if it is parked, with a RST. */
  reset(): void {
    this.#host.closeConnection(this.id, true)
  }

  close(): void {
    this.#host.closeConnection(this.id)
  }

  /** Returns its open socket, also if the connection was parked; undefined if the connection is closed. */
  presentSocket(): Socket | undefined {
    return this.#host.presentSocket(this.id)
  }

  // What the application sets on a socket that was destroyed when the connection was parked.

  setReference(on: boolean): void {
    this.#host.setReference(this.id, on)
  }

  setNoDelay(on: boolean): void {
    this.#host.setNoDelay(this.id, on)
  }

  /** @param delay ms before the first probe */
  setKeepAlive(on: boolean, delay: number): void {
    this.#host.setKeepAlive(this.id, on, delay)
  }

  /** Sets the timeout of the connection. @param socket emits `timeout` */
  setTimeout(socket: Socket, ms: number): void {
    this.#host.setTimeout(this.id, socket, ms)
  }

  onHandleClosing(fd: number, reset: boolean): void {
    if (fd >= 0) endBeforeClose(fd, reset)
  }

  onHandleClose(): void {
    this.#host.socketClosed(this)
  }
}

const kConnection = Symbol('ebb.connection')
type ConnectedSocket = Socket & { [kConnection]?: ConnectionHandle }

/** Returns the connection behind a socket, of any parked server. */
export function connectionOf(socket: Socket): ConnectionHandle | undefined {
  // `response.socket` is null once the response is finished.
  return (socket as ConnectedSocket | null | undefined)?.[kConnection]
}

/** Ties a connection to its socket, for {@link connectionOf}. */
export function setConnection(socket: Socket, connection: ConnectionHandle): void {
  ;(socket as ConnectedSocket)[kConnection] = connection
}

/** Where servers of TCP, HTTP and TLS differ: what a parked connection waits for, and for how long. */
import type { Socket } from 'node:net'

/** What happens to a parked connection at its timeout. The connection is closed, unless `wake` is set. */
export interface TimeoutAction {
  /** Bytes to send before the connection is closed. */
  finalResponse?: Buffer
  /** Wakes the connection and calls `onTimeout` with its socket. */
  wake?: {
    /** Whether the server emits `connection` with the socket first. */
    announced: boolean
    /** Calls `wake`, which makes the socket. */
    around?(wake: () => void): void
    onTimeout(socket: Socket): void
  }
}

/** What a protocol uses of an awake connection. */
export interface AwakeConnection {
  readonly wakes: number
  /** Requests so far, if the server limits them. */
  requests: number
}

/** The behaviour of one server's connections. Times are in ms. */
export interface Protocol {
  /** Whether an awake connection is parked again when it is idle. */
  readonly parksAgain: boolean
  /** Whether bytes can be sent to a connection without encoding. */
  readonly isPlain: boolean
  /** Whether a FIN wakes a connection, so that the application sees it. */
  readonly seesFin: boolean
  /** Number of listeners of `timeout` that Node itself adds to each socket. */
  readonly timeoutListeners: number
  /** Whether {@link isIgnorable} may be true. */
  readonly hasIgnorableBytes: boolean
  /** Called when the server has got the socket of a woken connection. */
  onWake(socket: Socket, connection: AwakeConnection): void
  /** Returns how long a new connection may stay parked before its first byte; 0: for ever. */
  firstByteTimeout(): number
  /**
   * Number of listeners of `connection` that Node itself adds to the server; Infinity if no connection may be woken
   * before its first byte.
   */
  readonly connectionListeners: number
  /** Whether a connection that was woken before its first byte is parked at once. */
  readonly parksSilent: boolean
  /** Whether connections that have not sent a byte count as idle when idle connections are closed. */
  closesFreshAsIdle(): boolean
  /**
   * Returns how long a connection that is about to be parked again may be idle; 0: for ever.
   *
   * @param socket the connection's socket, which has not been destroyed yet
   */
  idleTimeout(socket: Socket): number
  /** Whether an awake connection has taken too long for a request's head. @param silent time without a byte */
  isHeadOverdue(socket: Socket, silent: number): boolean
  /** Whether bytes of a parked connection mean nothing, so that they are dropped and the connection stays parked. */
  isIgnorable(bytes: Buffer): boolean
  /**
   * Returns what to do at the timeout of a parked connection.
   *
   * @param fresh whether it has not sent a byte yet
   * @param heard whether its last socket had a listener of the application
   */
  onTimeout(fresh: boolean, heard: boolean): TimeoutAction
  /** Whether an awake connection may be parked now. */
  mayPark(socket: Socket): boolean
  /** Whether the application has taken over the connection (an upgrade), so that it is never parked again. */
  isUpgraded(socket: Socket): boolean
  /** Called after each batch of {@link mayPark} calls. */
  endBatch(): void
  /** Frees memory that is kept for reuse. */
  trim(): void
  /** Returns objects like those that each wake makes besides the socket, for their hidden classes. */
  examples(): unknown[]
}

/** A protocol without timeouts and without messages. */
export abstract class BaseProtocol implements Protocol {
  abstract readonly parksAgain: boolean
  abstract readonly isPlain: boolean
  abstract readonly seesFin: boolean
  readonly hasIgnorableBytes: boolean = false
  readonly timeoutListeners: number = 0
  readonly connectionListeners: number = Number.POSITIVE_INFINITY
  readonly parksSilent: boolean = false

  abstract mayPark(socket: Socket): boolean

  onWake(_socket: Socket, _connection: AwakeConnection): void {}

  firstByteTimeout(): number {
    return 0
  }

  closesFreshAsIdle(): boolean {
    return false
  }

  idleTimeout(_socket: Socket): number {
    return 0
  }

  isHeadOverdue(_socket: Socket, _silent: number): boolean {
    return false
  }

  isIgnorable(_bytes: Buffer): boolean {
    return false
  }

  onTimeout(_fresh: boolean, _heard: boolean): TimeoutAction {
    return {}
  }

  isUpgraded(_socket: Socket): boolean {
    return false
  }

  endBatch(): void {}

  trim(): void {}

  examples(): unknown[] {
    return []
  }
}

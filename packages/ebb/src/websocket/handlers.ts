/** What the owner of WebSocket connections does with them: the interface between the core and what is built on it. */
import type { Socket } from 'node:net'
import type { Cause } from '../park/stats.js'
import { reportLater } from '../sys/node/callback-scope.js'
import type { Fault, FrameRules } from './frames.js'
import type { WebSocketOrder } from './orders.js'

/** Why a parked connection is woken. */
export type WakeReason =
  /** A frame is incomplete. */
  | 'partial'
  /** A message has several frames. */
  | 'fragment'
  /** A frame is not valid, or its payload is not. */
  | 'invalid'
  /** A message is compressed, and {@link WebSocketHandlers.onCompressed} did not take it. */
  | 'compressed'

/**
 * The handlers of some connections: those of one `WebSocketServer`, or of one `hibernate()`.
 *
 * A connection is given by its row in the table of `Parking`. The row stays the same until {@link onClosed} returns,
 * and may belong to another connection after that. A payload is the bytes from `start` to `end`, already unmasked. It
 * is valid only during the call, and a handler that keeps it makes a copy.
 *
 * A handler may do anything with any connection: send, close, wake. What a handler throws becomes an
 * `uncaughtException`; the connection goes on with its next frame.
 */
export interface WebSocketHandlers {
  /** What is expected of frames. `masked` is true. */
  readonly rules: FrameRules
  /** Whether text need not be valid UTF-8. */
  readonly anyText: boolean
  /** Whether pings are answered. */
  readonly answersPings: boolean
  /** Milliseconds that the closing handshake may take. */
  readonly closeTimeout: number
  /** Milliseconds without a byte after which an awake connection is parked. */
  readonly idle: number
  /**
   * Whether a connection is woken for what it cannot do while it is parked (see {@link WakeReason}). If false, it is
   * never woken: the core puts messages together and answers faults itself.
   */
  readonly wakes: boolean

  /** A message arrived. Text is valid UTF-8, unless {@link anyText} is set. */
  onMessage(row: number, bytes: Buffer, start: number, end: number, binary: boolean): void
  /**
   * A compressed message of one frame arrived.
   *
   * @returns false to wake the connection, which then reads the frame again
   */
  onCompressed?(row: number, bytes: Buffer, start: number, end: number, binary: boolean): boolean
  /** A ping arrived, and was answered if {@link answersPings} is set. */
  onPing(row: number, bytes: Buffer, start: number, end: number): void
  /** A pong arrived. */
  onPong(row: number, bytes: Buffer, start: number, end: number): void
  /** All bytes that waited for a slow reader are sent. */
  onDrain(row: number): void
  /** A part of a message arrived, or the peer's kernel took a part of what waits. The handler must not do anything. */
  onProgress?(row: number): void
  /** The peer has sent its FIN. Bytes that wait for it are still sent, and then the connection is closed. */
  onPeerEnd?(row: number): void
  /** The server is being shut down. By default, the closing handshake begins with code 1001. */
  onShutdown?(row: number): void
  /** The timer that was set with `WebSockets.setTimer()` is due. */
  onTimer(row: number): void

  /**
   * The closing handshake has begun: the peer's close frame arrived. The core answers it after this returns.
   *
   * @param reason a copy
   */
  onClosing(row: number, code: number, reason: Buffer): void
  /** The peer broke the protocol. The core sends a close frame after this returns. Only if {@link wakes} is false. */
  onFault(row: number, fault: Fault): void
  /**
   * The connection is closed, and its row is about to be free. Must not call the application before it returns, but
   * with `process.nextTick()`.
   *
   * @param code of the peer's close frame; 1005 if that had no code; 1006 without a close frame
   * @param cause `'socket'` if the connection was awake, so that its socket emits `close` as well
   */
  onClosed(row: number, code: number, reason: Buffer, cause: Cause): void

  /**
   * The connection has to be woken: calls `WebSockets.wake()`, and gives the socket and the unread bytes to whoever
   * reads them. Only if {@link wakes} is set.
   */
  onWake(row: number, reason: WakeReason): void
  /** Whether an awake connection may be parked. Nothing is buffered in its socket. Only if {@link wakes} is set. */
  mayPark(row: number, socket: Socket): boolean
  /**
   * The connection is parked, and its socket is about to be destroyed. Removes the owner's listeners from the socket.
   * Listeners of `close` that remain are kept until the connection wakes, or called when it is closed. Not called for a
   * connection that comes parked.
   */
  onParked(row: number, socket: Socket): void
  /** Frees memory. @param end no row from here on is in use */
  trim?(end: number): void
  /** How parked connections move to another process; undefined: they stay. */
  readonly moving?: MovingHandlers | undefined
}

/** How the parked connections of one owner move to another process, and come from one. */
export interface MovingHandlers {
  /** Name of the owner: the same in both processes. */
  readonly name: string
  /**
   * Whether a keeper may have connections that are at rest: {@link describe} needs no {@link prepare}, and changes of
   * what it returns are told with `WebSockets.onChange()`. Default: false.
   */
  readonly canKeep?: boolean
  /** Prepares {@link describe}. @returns false if the connection has to stay. Default: none has to */
  prepare?(row: number): boolean
  /** Returns what the owner knows of a connection, as bytes of Latin-1. */
  describe(row: number): string
  /** Checks what {@link describe} has returned in another process. @throws {EbbError} `ERR_EBB_HANDOVER` */
  check(own: string): void
  /** Goes on with a connection that is here by now. Must not call the application before it returns. */
  restore(row: number, own: string): void
  /** Tells the application of a connection that is this process's for good. */
  onTaken(row: number): void
  /** Forgets a connection that another process has by now. It is not closed. */
  onMoved(row: number): void
  /** Carries out what another process has passed on. @param row -1: for all connections that it is meant for */
  carryOut(row: number, order: WebSocketOrder): void
}

/** Called when bytes were given to the kernel, or with an error if they never will be. */
export type SendCallback = (error?: Error | null) => void

/** What {@link WebSockets.wake} returns. */
export interface Woken {
  /** The new socket. Bytes that waited for a slow reader are in its buffer. */
  socket: Socket
  /** Bytes that were received and not read: they come before those of the socket. */
  head: Buffer
  /** Whether a close frame was sent. */
  closeSent: boolean
  /** Whether the peer's close frame arrived. */
  closeReceived: boolean
}

/** Calls a handler. What it throws must reach neither this connection nor another one. */
export function callHandler(handler: () => void): void {
  try {
    handler()
  } catch (error) {
    reportLater(error)
  }
}

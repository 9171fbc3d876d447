/** The connections of one `WebSocketServer` on one HTTP server, all with compression or all without. */
import { Socket } from 'node:net'
import { isUint8Array } from 'node:util/types'
import type { Cause } from '../../park/stats.js'
import { E } from '../../sys/constants.js'
import { systemError } from '../../sys/errors.js'
import { BINARY, type FrameRules, GOING_AWAY, isCloseCode, MAX_CONTROL, NO_CODE, PING, PONG, TEXT } from '../frames.js'
import type { MovingHandlers, SendCallback, WebSocketHandlers } from '../handlers.js'
import type { WebSockets } from '../web-sockets.js'
import { callbackOf, isSet, payloadOf } from './arguments.js'
import { deflate, inflate, isStateless, MAX_SYNC } from './deflate.js'
import {
  type BaseWebSocket,
  CLOSED,
  CLOSING,
  compactListeners,
  DEFLATE,
  hasOtherReaders,
  isBetweenMessages,
  type Listener,
  marksOf,
  OPEN,
  type Sender,
  type ServerOptions,
  type SocketMarks,
  type SocketOptions,
  unmark
} from './internals.js'
import { type GroupHost, GroupMoving, type KeptRequest, type Moving, type MovingServer } from './moving.js'
import { kGroup, kReceiver, kRow, kSender, kSetSocket, kSocket, type ParkedWebSocket } from './parked-class.js'
import { ParkedSender } from './parked-sender.js'

/** Default of `closeTimeout` of `ws`, in ms. */
const CLOSE_TIMEOUT = 30_000
const EMPTY = Buffer.alloc(0)
/** Shared by all WebSockets without extensions. */
const NO_EXTENSIONS = Object.freeze({})

export class ConnectionGroup implements GroupHost, WebSocketHandlers {
  readonly rules: FrameRules
  readonly anyText: boolean
  readonly answersPings: boolean
  readonly closeTimeout: number
  readonly idle: number
  readonly wakes = true

  readonly core: WebSockets
  /** How its connections move; undefined: they stay. */
  readonly #moves: GroupMoving | undefined
  /** Number of this group in the core; -1 while it has no connections. */
  #owner = -1
  /** By row. */
  #webSockets: (ParkedWebSocket | undefined)[] = []
  /** By row: listeners of `error` that others have put on a socket which is gone. */
  readonly #errorListeners = new Map<number, Listener[]>()
  /** What the `WebSocketServer` gives to `setSocket()`. */
  #options: SocketOptions
  #marks: SocketMarks | undefined
  /** The empty buffer of `ws`, which it passes on for an empty message. */
  #empty: Buffer = EMPTY

  /** @param moves the server, and what its option `moving` says; undefined: the connections stay */
  constructor(
    core: WebSockets,
    options: ServerOptions,
    idle: number,
    compressed: boolean,
    moves?: { server: MovingServer; moving: Moving }
  ) {
    this.core = core
    this.#moves = moves && new GroupMoving(moves.server, moves.moving, this)
    const { allowSynchronousEvents, maxBufferedChunks, maxFragments, maxPayload, skipUTF8Validation } = options
    this.#options = { allowSynchronousEvents, maxBufferedChunks, maxFragments, maxPayload, skipUTF8Validation }
    this.rules = { masked: true, allowRsv1: compressed, maxPayload: (options.maxPayload ?? 0) | 0 }
    this.anyText = options.skipUTF8Validation === true
    this.answersPings = options.autoPong !== false
    this.closeTimeout = options.closeTimeout ?? CLOSE_TIMEOUT
    this.idle = idle
  }

  get moving(): MovingHandlers | undefined {
    return this.#moves
  }

  /** Registers the group in the core, unless it is. */
  join(): void {
    if (this.#owner === -1) this.#owner = this.core.register(this)
  }

  /**
   * Takes a connection whose WebSocket reads from `socket`.
   *
   * @param request what is kept of its request, if it is to move
   */
  adopt(webSocket: ParkedWebSocket, socket: Socket, head: Buffer, options: SocketOptions, request?: KeptRequest): void {
    this.join()
    const row = this.core.adopt(socket, head, this.#owner)
    if (row === -1) {
      this.#leaveIfEmpty()
      return
    }
    this.#marks ??= marksOf(socket, webSocket)
    this.#options = options
    this.#empty = webSocket._closeMessage
    this.#webSockets[row] = webSocket
    webSocket[kGroup] = this
    webSocket[kRow] = row
    this.#moves?.keep(row, request)
  }

  // Connections that move to another process, and come from one.

  webSocket(row: number): ParkedWebSocket {
    return this.#of(row)
  }

  hasListeners(row: number): boolean {
    return this.#errorListeners.has(row) || this.core.hasCloseListeners(row)
  }

  take(row: number, webSocket: ParkedWebSocket): void {
    this.#empty = webSocket._closeMessage
    webSocket._extensions = NO_EXTENSIONS
    this.#webSockets[row] = webSocket
  }

  forget(row: number): void {
    this.#webSockets[row] = undefined
  }

  #of(row: number): ParkedWebSocket {
    return this.#webSockets[row] as ParkedWebSocket
  }

  #leaveIfEmpty(): void {
    if (this.core.count(this.#owner) > 0) return
    this.#webSockets = []
    // The connections of another process come to an owner that is registered.
    if (this.#moves !== undefined) return
    this.core.unregister(this.#owner)
    this.#owner = -1
  }

  // Parking and waking.

  mayPark(row: number, socket: Socket): boolean {
    const webSocket = this.#of(row)
    const { [kReceiver]: receiver, [kSender]: sender, _extensions: extensions } = webSocket
    const compression = extensions[DEFLATE]
    return (
      webSocket._readyState === OPEN &&
      !webSocket._paused &&
      webSocket[kSocket] === socket &&
      receiver !== null &&
      sender !== null &&
      isBetweenMessages(receiver, sender) &&
      (compression === undefined || isStateless(compression)) &&
      this.#options.allowSynchronousEvents !== false &&
      !hasOtherReaders(socket)
    )
  }

  onParked(row: number, socket: Socket): void {
    const webSocket = this.#of(row)
    unmark(socket, this.#marks as SocketMarks)
    const others = socket.rawListeners('error') as Listener[]
    if (others.length > 0) this.#errorListeners.set(row, others)
    // Programs ask for it when the connection has closed.
    void socket.remoteAddress
    const compression = webSocket._extensions[DEFLATE]
    if (compression === undefined) webSocket._extensions = NO_EXTENSIONS
    else compression.cleanup()
    compactListeners(webSocket)
    webSocket[kSocket] = webSocket[kReceiver] = webSocket[kSender] = null
  }

  park(webSocket: ParkedWebSocket): boolean {
    return webSocket[kRow] >= 0 && this.core.park(webSocket[kRow])
  }

  onWake(row: number): void {
    this.#wake(this.#of(row), row)
  }

  #wake(webSocket: ParkedWebSocket, row: number): void {
    const woken = this.core.wake(row)
    if (woken === undefined) return
    const { socket, head, closeSent, closeReceived } = woken
    webSocket[kSetSocket](socket, head, this.#options)
    this.#marks ??= marksOf(socket, webSocket)
    for (const listener of this.#errorListeners.get(row) ?? []) socket.on('error', listener)
    this.#errorListeners.delete(row)
    if (closeSent && webSocket._closeTimer === null) {
      webSocket._closeTimer = setTimeout(() => socket.destroy(), this.closeTimeout)
    }
    if (closeReceived) {
      // As `ws` does after a close frame: what follows is dropped.
      socket.removeListener('data', (this.#marks as SocketMarks).listeners.data)
      socket.resume()
    }
  }

  reach(webSocket: ParkedWebSocket): void {
    const row = webSocket[kRow]
    if (row >= 0) this.#wake(webSocket, row)
    if (webSocket[kSocket] !== null) return
    // The connection is closed. With `ws`, its socket would still be there, and be destroyed.
    const socket = new Socket().destroy()
    webSocket[kSetSocket](socket, EMPTY, this.#options)
    this.#marks ??= marksOf(socket, webSocket)
    unmark(socket, this.#marks)
    socket.on('error', () => {})
  }

  senderOf(webSocket: ParkedWebSocket): Sender | null {
    if (webSocket[kRow] === -1) this.reach(webSocket)
    return webSocket[kSender] ?? new ParkedSender(webSocket)
  }

  // Receiving.

  onMessage(row: number, bytes: Buffer, start: number, end: number, binary: boolean): void {
    const webSocket = this.#of(row)
    const message = start === end ? this.#empty : copyOf(bytes, start, end)
    this.#emitMessage(webSocket, message, binary)
  }

  onCompressed(row: number, bytes: Buffer, start: number, end: number, binary: boolean): boolean {
    const webSocket = this.#of(row)
    const compression = webSocket._extensions[DEFLATE]
    if (compression === undefined) return false
    const isText = !binary && !this.anyText
    const message = inflate(compression, bytes.subarray(start, end), this.rules.maxPayload, isText)
    if (message === undefined) return false
    this.#emitMessage(webSocket, message.length === 0 ? this.#empty : message, binary)
    return true
  }

  #emitMessage(webSocket: ParkedWebSocket, message: Buffer, binary: boolean): void {
    const type = webSocket._binaryType
    webSocket.emit('message', binary && type !== 'nodebuffer' ? asType(type, message) : message, binary)
  }

  onPing(row: number, bytes: Buffer, start: number, end: number): void {
    this.#of(row).emit('ping', copyOf(bytes, start, end))
  }

  onPong(row: number, bytes: Buffer, start: number, end: number): void {
    this.#of(row).emit('pong', copyOf(bytes, start, end))
  }

  onPeerEnd(row: number): void {
    this.#of(row)._readyState = CLOSING
  }

  onShutdown(row: number): void {
    const webSocket = this.#of(row)
    if (webSocket._readyState === OPEN) webSocket.close(GOING_AWAY)
  }

  onDrain(): void {}
  onTimer(): void {}
  onFault(): void {}

  onClosing(row: number, code: number, reason: Buffer): void {
    const webSocket = this.#of(row)
    webSocket._readyState = CLOSING
    webSocket._closeFrameReceived = webSocket._closeFrameSent = true
    webSocket._closeCode = code
    if (reason.length > 0) webSocket._closeMessage = reason
  }

  onClosed(row: number, _code: number, _reason: Buffer, cause: Cause): void {
    const webSocket = this.#of(row)
    this.#webSockets[row] = undefined
    this.#moves?.delete(row)
    webSocket[kRow] = -1
    const errorListeners = this.#errorListeners.get(row)
    this.#errorListeners.delete(row)
    if (this.#owner !== -1) this.#leaveIfEmpty()
    if (cause === 'socket') return
    webSocket._readyState = CLOSING
    if (cause === 'reset' && errorListeners !== undefined) process.nextTick(callErrorListeners, errorListeners)
    process.nextTick(emitClose, webSocket)
  }

  // Sending.

  queued(webSocket: ParkedWebSocket): number {
    return this.core.queued(webSocket[kRow])
  }

  send(webSocket: ParkedWebSocket, data: unknown, options: unknown, callback: unknown): boolean {
    if (typeof options === 'function') return this.send(webSocket, data, undefined, options)
    if (webSocket._readyState !== OPEN || !isSet(options, 'fin', true) || isSet(options, 'mask', false)) return false
    const payload = payloadOf(data)
    if (payload === undefined) return false
    const opcode = isSet(options, 'binary', typeof payload !== 'string') ? BINARY : TEXT
    const done = callbackOf(callback)
    const compression = webSocket._extensions[DEFLATE]
    if (compression !== undefined && isSet(options, 'compress', true)) {
      const length = Buffer.byteLength(payload)
      if (length > MAX_SYNC) return false
      if (compression.params.server_no_context_takeover !== true || length >= compression._threshold) {
        const deflated = deflate(compression, payload)
        if (deflated === undefined) return false
        this.core.send(webSocket[kRow], opcode, deflated, done, true)
        return true
      }
    }
    this.core.send(webSocket[kRow], opcode, payload, done)
    return true
  }

  write(webSocket: ParkedWebSocket, bytes: Uint8Array, callback: SendCallback | undefined): void {
    this.core.write(webSocket[kRow], bytes, callback)
  }

  control(webSocket: ParkedWebSocket, isPing: boolean, data: unknown, mask: unknown, callback: unknown): boolean {
    if (typeof data === 'function') return this.control(webSocket, isPing, undefined, undefined, data)
    if (typeof mask === 'function') return this.control(webSocket, isPing, data, undefined, mask)
    const payload = payloadOf(data)
    if (webSocket._readyState !== OPEN || mask || payload === undefined) return false
    if (payload.length > MAX_CONTROL || Buffer.byteLength(payload) > MAX_CONTROL) return false
    this.core.send(webSocket[kRow], isPing ? PING : PONG, payload, callbackOf(callback))
    return true
  }

  close(webSocket: ParkedWebSocket, code: unknown, reason: unknown): boolean {
    // The handshake has begun, and the core ends it.
    if (webSocket._readyState !== OPEN) return true
    if (code !== undefined && (typeof code !== 'number' || !isCloseCode(code))) return false
    const bytes = code === undefined || reason === undefined ? EMPTY : reason
    if (typeof bytes !== 'string' && !isUint8Array(bytes)) return false
    if (Buffer.byteLength(bytes) > MAX_CONTROL - 2) return false
    webSocket._readyState = CLOSING
    webSocket._closeFrameSent = true
    this.core.close(webSocket[kRow], code ?? NO_CODE, typeof bytes === 'string' ? Buffer.from(bytes) : bytes)
    return true
  }

  terminate(webSocket: ParkedWebSocket): boolean {
    // With `ws`, a connection still emits what it has received.
    if (this.core.hasUnread(webSocket[kRow])) return false
    webSocket._readyState = CLOSING
    this.core.terminate(webSocket[kRow])
    return true
  }
}

/** Calls listeners that others had put on a socket, after the peer's RST. */
function callErrorListeners(listeners: Listener[]): void {
  const socket = new Socket().destroy()
  const error = systemError('read', E.ECONNRESET)
  for (const listener of listeners) process.nextTick(() => listener.call(socket, error))
}

function emitClose(webSocket: BaseWebSocket): void {
  webSocket._readyState = CLOSED
  webSocket.emit('close', webSocket._closeCode, webSocket._closeMessage)
}

function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start)
  bytes.copy(copy, 0, start, end)
  return copy
}

/** Returns a binary message in the type of `binaryType`. */
function asType(type: string, message: Buffer): unknown {
  if (type === 'fragments') return message.length === 0 ? [] : [message]
  if (type === 'blob') return new Blob([message])
  return message.buffer.slice(message.byteOffset, message.byteOffset + message.length)
}

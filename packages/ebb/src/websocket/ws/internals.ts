/**
 * The internals of the package `ws` that ebb uses. `ws` does not document these properties. Versions from 8.8 on have
 * them, and those that came later are optional here.
 */
import type { EventEmitter } from 'node:events'
import type { Server, Socket } from 'node:net'
import { listenerCompactor } from '../../sys/node/listeners.js'

/** Values of `readyState`. */
export const OPEN = 1
export const CLOSING = 2
export const CLOSED = 3

/** Extension of compressed messages, in `WebSocket._extensions`. */
export const DEFLATE = 'permessage-deflate'

/** A listener of an event. */
export type Listener = (...args: unknown[]) => void

/** What a `WebSocketServer` gives to `setSocket()`. */
export interface SocketOptions {
  allowSynchronousEvents?: boolean | undefined
  maxBufferedChunks?: number | undefined
  maxFragments?: number | undefined
  maxPayload?: number | undefined
  skipUTF8Validation?: boolean | undefined
}

/** Reads frames from a socket. */
export interface Receiver extends EventEmitter {
  /** 0: between two frames. */
  _state: number
  _bufferedBytes: number
  /** Opcode of a message that has arrived in part; 0: none. */
  _fragmented: number
  _fragments: unknown[]
  _loop: boolean
  _errored?: boolean
  readonly writableLength: number
  readonly writableNeedDrain: boolean
}

/** Writes frames to a socket. */
export interface Sender {
  _bufferedBytes: number
  _queue: unknown[]
  /** Whether the next frame starts a message. */
  _firstFragment: boolean
  /** 0: nothing is being compressed. */
  _state?: number
  /** The same before 8.18. */
  _deflating?: boolean
  close(...args: unknown[]): void
  ping(...args: unknown[]): void
  pong(...args: unknown[]): void
  send(...args: unknown[]): void
  sendFrame(list: (Uint8Array | string)[], callback?: (error?: Error | null) => void): void
}

/** Compression of one connection. */
export interface PerMessageDeflate {
  readonly params: {
    readonly client_no_context_takeover?: boolean
    readonly server_no_context_takeover?: boolean
    readonly server_max_window_bits?: number
  }
  readonly _options: { readonly zlibDeflateOptions?: object; readonly zlibInflateOptions?: object }
  /** Messages below this many bytes are not compressed. */
  readonly _threshold: number
  /** The inflater, once the peer has sent a compressed message. */
  readonly _inflate: object | null
  /** Frees the memory of zlib. */
  cleanup(): void
}

/** A `WebSocket` without the properties that {@link parkedClass} replaces. */
export interface BaseWebSocket extends EventEmitter {
  _binaryType: string
  _closeCode: number
  _closeFrameReceived: boolean
  _closeFrameSent: boolean
  _closeMessage: Buffer
  _closeTimer: NodeJS.Timeout | null
  _extensions: { [DEFLATE]?: PerMessageDeflate }
  _isServer: boolean
  _paused: boolean
  /** Whether pings are answered. Since 8.18. */
  _autoPong?: boolean
  /** Milliseconds that the closing handshake may take. Since 8.19. */
  _closeTimeout?: number
  /** Pongs that are not sent yet. Since 8.21. */
  _pendingAutoPongs: number
  _readyState: number
  /** Subprotocol; empty if there is none. */
  _protocol: string
  setSocket(socket: Socket, head: Buffer, options: SocketOptions): void
  send(data: unknown, options?: unknown, callback?: unknown): void
  ping(data?: unknown, mask?: unknown, callback?: unknown): void
  pong(data?: unknown, mask?: unknown, callback?: unknown): void
  close(code?: unknown, reason?: unknown): void
  terminate(): void
  resume(): void
}

/** The class of a server's `WebSocket` objects. */
export type WebSocketClass = new (address: unknown, protocols?: unknown, options?: unknown) => BaseWebSocket

/** Options of a `WebSocketServer`. */
export interface ServerOptions extends SocketOptions {
  WebSocket?: unknown
  autoPong?: boolean | undefined
  closeTimeout?: number | undefined
  perMessageDeflate?: object | boolean
}

/** Returns the HTTP server of a socket; undefined for a socket of TLS, and of no server. */
export function plainServerOf(socket: Socket): Server | undefined {
  const { server, encrypted } = socket as Socket & { server?: Server | null; encrypted?: boolean }
  return encrypted === true ? undefined : (server ?? undefined)
}

/** Returns the HTTP server that a `WebSocketServer` was given, or has made; undefined with `noServer`. */
export function httpServerOf(server: object): Server | undefined {
  return (server as { _server?: Server | null })._server ?? undefined
}

/** A WebSocket that has just got its socket. */
export interface OpeningWebSocket extends BaseWebSocket {
  _socket: Socket | null
  _receiver: ReceiverSettings
  _sender: Sender
}

interface ReceiverSettings extends Receiver {
  _allowSynchronousEvents?: boolean
  _maxBufferedChunks?: number
  _maxFragments?: number
  _maxPayload?: number
  _skipUTF8Validation?: boolean
}

/**
 * Returns the WebSocket of `ws` 8.8 or newer that `setSocket()` has just given `socket` to; undefined if there is none.
 * The socket keeps it under a symbol. Its class is known by its properties, because a bundle has no name for it.
 */
export function openingWebSocket(socket: Socket): OpeningWebSocket | undefined {
  const properties = socket as unknown as Record<symbol, unknown>
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    const value = properties[symbol]
    if (typeof value === 'object' && value !== null && isOpening(value, socket)) return value
  }
  return undefined
}

function isOpening(value: object, socket: Socket): value is OpeningWebSocket {
  const { _socket, _isServer, _paused, _extensions, _receiver, _sender, setSocket } = value as Partial<OpeningWebSocket>
  return (
    typeof setSocket === 'function' &&
    _socket === socket &&
    _isServer === true &&
    typeof _paused === 'boolean' &&
    typeof _extensions === 'object' &&
    _receiver?._state === 0 &&
    Array.isArray(_receiver._fragments) &&
    Array.isArray(_sender?._queue) &&
    _sender._firstFragment
  )
}

/** Returns what a `WebSocketServer` has given to `setSocket()` beside the socket. */
export function socketOptionsOf({ _receiver: receiver }: OpeningWebSocket): SocketOptions {
  return {
    allowSynchronousEvents: receiver._allowSynchronousEvents,
    maxBufferedChunks: receiver._maxBufferedChunks,
    maxFragments: receiver._maxFragments,
    maxPayload: receiver._maxPayload,
    skipUTF8Validation: receiver._skipUTF8Validation
  }
}

/** Returns the prototype of `ws` that a WebSocket inherits from. The program may have derived classes from it. */
export function prototypeOf(webSocket: BaseWebSocket): BaseWebSocket {
  let found = webSocket
  for (let at: object = webSocket; at !== null; at = Object.getPrototypeOf(at) as object) {
    if (Object.hasOwn(at, 'setSocket')) found = at as BaseWebSocket
  }
  return found
}

/** The listeners of `ws` on a socket, and the symbol under which the socket keeps its WebSocket. */
export interface SocketMarks {
  listeners: Record<(typeof EVENTS)[number], Listener>
  symbol: symbol | undefined
}

const EVENTS = ['close', 'data', 'end', 'error'] as const

/** Learns what `ws` has just put on `socket` in `setSocket()`. It is the same for all sockets. */
export function marksOf(socket: Socket, webSocket: object): SocketMarks {
  const last = (event: string): Listener => socket.listeners(event).at(-1) as Listener
  const properties = socket as unknown as Record<symbol, unknown>
  return {
    listeners: { close: last('close'), data: last('data'), end: last('end'), error: last('error') },
    symbol: Object.getOwnPropertySymbols(socket).find((symbol) => properties[symbol] === webSocket)
  }
}

/** Removes from `socket` what `ws` has put on it. */
export function unmark(socket: Socket, { listeners, symbol }: SocketMarks): void {
  for (const event of EVENTS) socket.removeListener(event, listeners[event])
  if (symbol !== undefined) (socket as unknown as Record<symbol, unknown>)[symbol] = undefined
}

/** Whether anybody but Node and `ws` reads from `socket`, or waits for something that a parked connection lacks. */
export function hasOtherReaders(socket: Socket): boolean {
  return (
    socket.listenerCount('readable') > 0 ||
    socket.listenerCount('data') > 1 ||
    // Node has a listener of its own.
    socket.listenerCount('end') > 2 ||
    socket.listenerCount('drain') > 0 ||
    (socket.timeout ?? 0) > 0
  )
}

/** Whether the receiver and the sender have nothing in progress. */
export function isBetweenMessages(receiver: Receiver, sender: Sender): boolean {
  return (
    receiver._state === 0 &&
    receiver._bufferedBytes === 0 &&
    receiver._fragmented === 0 &&
    receiver._fragments.length === 0 &&
    !receiver._loop &&
    receiver._errored !== true &&
    receiver.writableLength === 0 &&
    !receiver.writableNeedDrain &&
    (sender._state ?? 0) === 0 &&
    sender._deflating !== true &&
    sender._queue.length === 0 &&
    sender._bufferedBytes === 0 &&
    sender._firstFragment
  )
}

/** Makes the listeners of a WebSocket smaller. */
export const compactListeners = listenerCompactor()

const NO_EVENTS = Object.freeze(Object.create(null)) as object

/** Calls `setSocket()` of a WebSocket that was open before, without its event `open`. */
export function setSocketAgain(
  webSocket: BaseWebSocket,
  setSocket: BaseWebSocket['setSocket'],
  socket: Socket,
  head: Buffer,
  options: SocketOptions
): void {
  const emitter = webSocket as unknown as { _events: object }
  const { _events: events } = emitter
  const { _readyState: state } = webSocket
  emitter._events = NO_EVENTS
  try {
    setSocket.call(webSocket, socket, head, options)
  } finally {
    emitter._events = events
    webSocket._readyState = state
  }
}

/** Node's undocumented insides that show which handles a process has, and what Node makes sockets from. */
import { EventEmitter } from 'node:events'
import type { Socket, SocketConstructorOpts } from 'node:net'
import { types } from 'node:util'

/** A handle that the event loop waits for. Most are `net.Socket`s; only the fields used here are listed. */
export interface ActiveHandle {
  destroyed?: boolean
  /** The server that accepted this socket. */
  server?: object | null
  /** Bytes that are waiting to be sent. */
  writableLength?: number
  /** The response of an HTTP server that is under way on this socket. */
  _httpMessage?: unknown
  /** The libuv handle of this socket; null once the socket is destroyed. */
  _handle?: object | null
}

/**
 * Returns the handles that the event loop waits for, oldest first; undefined where there is no such list. Every version
 * of Node has it, no other runtime does. Copies all of them, which takes 2 ms for 14,000: call it rarely.
 */
export function activeHandles(): (ActiveHandle | null)[] | undefined {
  const { _getActiveHandles } = process as { _getActiveHandles?: () => (ActiveHandle | null)[] }
  return _getActiveHandles?.call(process)
}

/** Returns whether data is under way on a handle: bytes that wait to be sent, or a response of an HTTP server. */
export function isBusy({ writableLength = 0, _httpMessage }: ActiveHandle): boolean {
  return writableLength > 0 || Boolean(_httpMessage)
}

/**
 * Returns the libuv handle of a TCP or Unix socket; null once the socket is destroyed, and undefined for what is none.
 * `_handle` of a UDP socket prints a deprecation warning when it is read.
 */
export function nativeHandle(handle: ActiveHandle): object | null | undefined {
  const isSocket: boolean = handle instanceof process.getBuiltinModule('node:net').Socket
  return isSocket ? handle._handle : undefined
}

/** Returns the objects that make up an open socket: the socket, its libuv handle, and its HTTP parser if it has one. */
export function socketParts(socket: Socket): unknown[] {
  const { _handle, parser } = socket as Socket & { _handle?: unknown; parser?: unknown }
  return [socket, _handle, parser]
}

/** Every constructor of a stream passes its options to this function in the end. A program may replace it. */
const emitter = EventEmitter as typeof EventEmitter & { init?: (this: EventEmitter, options?: object) => void }

/** Runs `make` and returns the options of the last emitter it constructed; undefined where Node does not show them. */
export function captureEmitterOptions(make: () => void): object | undefined {
  const { init } = emitter
  if (init === undefined) return undefined
  let captured: object | undefined
  emitter.init = function (options) {
    captured = options
    init.call(this, options)
  }
  try {
    make()
  } finally {
    emitter.init = init
  }
  return captured
}

/**
 * Returns an object like the options that Node makes for each socket that a server accepts, and drops once the socket
 * is made: the same properties in the same order, so V8 gives it the same hidden class. To get one, makes a socket
 * without a handle, which nobody sees.
 *
 * @param socket that a server accepted
 * @returns undefined for a socket of another class, such as a TLS socket, and where Node does not show the options
 */
export function socketOptions(socket: object): object | undefined {
  const net = process.getBuiltinModule('node:net')
  if (socket.constructor !== net.Socket) return undefined
  return captureEmitterOptions(() => {
    // As in `onconnection()` of Node's lib/net.js. The values do not matter.
    new net.Socket({
      handle: undefined,
      allowHalfOpen: false,
      pauseOnCreate: false,
      readable: true,
      writable: true,
      readableHighWaterMark: 65_536,
      writableHighWaterMark: 65_536
    } as SocketConstructorOpts)
  })
}

/**
 * Returns an iterator like the one over unhandled rejections that Node makes after each round of ticks: of a `SafeMap`,
 * which only Node's own objects have.
 *
 * @returns undefined where an `EventTarget` has no such map
 */
export function rejectionsIterator(): object | undefined {
  const target = new EventTarget() as unknown as Record<symbol, unknown>
  const values = Object.getOwnPropertySymbols(target).map((key) => target[key])
  // It does not inherit from `Map`, so that a program which changes that class does not change Node.
  return values.find((value): value is Map<unknown, unknown> => types.isMap(value))?.entries()
}

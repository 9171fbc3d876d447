/** A detached socket: its connection was parked, but the application still holds the socket. */
import { Socket } from 'node:net'
import { EbbError } from '../sys/errors.js'
import { connectionOf } from './connection.js'
import { compactDestroyed, ownStatesPrototype } from './node/destroyed-socket.js'

/** What a connection of a detached socket is. */
export type DetachedKind =
  /** TCP: `destroy()` because of the `close` event does not close the connection. */
  | 'tcp'
  /** A request and its response may be under way: `destroy()` always closes the connection. */
  | 'http'
  /** An upgraded connection: as `http`. The application often keeps the socket as long as the connection. */
  | 'upgraded'

/**
 * Has a detached socket pass on what the application does with it.
 *
 * Node drops what is written to a destroyed socket, so a response that is written after its connection was parked would
 * be lost without an error. Instead, the bytes, the end and the destruction go to the connection.
 *
 * `destroy()` closes the connection, but not when it is called because of the `close` event that the parking causes: a
 * `pipeline()`, `pump()`, or a `catch` destroys the socket that it lost, and the call is not meant for the connection.
 * So `destroy()` does nothing from that event on until all ticks and promises after it have run.
 *
 * The methods are those of another prototype, because properties of its own would make each socket larger.
 *
 * @param keepsClass whether the methods become properties of the socket itself: another prototype means another hidden
 *   class, which does not keep the one that sockets of open connections have
 */
export function forwardDetached(socket: Socket, kind: DetachedKind, keepsClass = false): void {
  const base = Object.getPrototypeOf(socket) as Socket
  let prototype = prototypes[kind].get(base)
  if (prototype === undefined) {
    prototype = detachedPrototype(base, kind)
    prototypes[kind].set(base, prototype)
  }
  if (keepsClass) addMethods(socket, prototype)
  else Object.setPrototypeOf(socket, prototype)
  // Those that the application has put on the socket itself.
  for (const name of FORWARDED) if (Object.hasOwn(socket, name)) Object.assign(socket, { [name]: METHODS[name] })
}

/** Gives a socket the methods of a prototype, except those that it has itself: the application's `emit()` stays. */
function addMethods(socket: Socket, prototype: Socket): void {
  for (const [name, method] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (!Object.hasOwn(socket, name)) Object.defineProperty(socket, name, method)
  }
}

/** The prototypes of detached sockets, by the prototype that a socket had before. */
const prototypes: Record<DetachedKind, WeakMap<Socket, Socket>> = {
  tcp: new WeakMap(),
  http: new WeakMap(),
  upgraded: new WeakMap()
}

function detachedPrototype(base: Socket, kind: DetachedKind): Socket {
  const prototype = Object.create(kind === 'upgraded' ? ownStatesPrototype(base) : base) as Socket
  const methods: object[] = [METHODS]
  if (kind === 'tcp') methods.push({ emit: guardingEmit(base) })
  else if (kind === 'upgraded') methods.push({ emit: compactingEmit(base) })
  for (const [name, value] of methods.flatMap((part) => Object.entries(part))) {
    Object.defineProperty(prototype, name, { value, writable: true, configurable: true })
  }
  return prototype
}

function detachedSetTimeout(this: Socket, ms: number, callback?: () => void): Socket {
  // Throws the errors of Node for wrong arguments.
  new Socket().setTimeout(ms, callback).destroy()
  Object.assign(this, { timeout: ms })
  if (callback !== undefined) {
    if (ms === 0) this.removeListener('timeout', callback)
    else this.once('timeout', callback)
  }
  connectionOf(this)?.setTimeout(this, ms)
  return this
}

function detachedRef(this: Socket): Socket {
  connectionOf(this)?.setReference(true)
  return this
}

function detachedUnref(this: Socket): Socket {
  connectionOf(this)?.setReference(false)
  return this
}

function detachedSetNoDelay(this: Socket, on?: boolean): Socket {
  connectionOf(this)?.setNoDelay(on === undefined || Boolean(on))
  return this
}

function detachedSetKeepAlive(this: Socket, on?: boolean, delay?: number): Socket {
  connectionOf(this)?.setKeepAlive(Boolean(on), Number(delay) || 0)
  return this
}

/** Detached sockets that are emitting `close`, or whose ticks and promises after it still run. */
const closing = new Set<Socket>()

/** Detached sockets that have emitted `close`. */
const closed = new WeakSet<Socket>()

/** How many times ticks and promises may take turns after `close` before {@link closing} ends. */
const TURNS = 16

/** Makes `emit()` for sockets of TCP. A listener of `close` would be seen, and would be called after others. */
function guardingEmit({ emit }: Socket) {
  return function (this: Socket, ...args: [event: string, ...unknown[]]): boolean {
    if (args[0] === 'close' && !closed.has(this)) {
      closed.add(this)
      if (this.listenerCount('close') > 0) {
        closing.add(this)
        process.nextTick(endClosing, this, TURNS)
      }
    }
    return Reflect.apply(emit, this, args)
  }
}

/** Makes `emit()` for sockets of upgraded connections, which makes a socket smaller after its last event. */
function compactingEmit({ emit }: Socket) {
  return function (this: Socket, ...args: [event: string, ...unknown[]]): boolean {
    const result = Reflect.apply(emit, this, args)
    if (args[0] === 'close') compactDestroyed(this)
    return result
  }
}

/**
 * Ends {@link closing} before the event loop calls anybody else, a timer for example. A tick that a promise makes runs
 * after all promises.
 */
function endClosing(socket: Socket, turns: number): void {
  if (turns > 0) queueMicrotask(() => process.nextTick(endClosing, socket, turns - 1))
  else closing.delete(socket)
}

/** Whether {@link withoutForwarding} runs. */
let paused = false

/**
 * Calls `act`, during which `destroy()` of a detached socket does nothing. `http` knows a detached socket until it has
 * emitted `close`, and would close its connection as an idle one.
 */
export function withoutForwarding(act: () => void): void {
  paused = true
  try {
    act()
  } finally {
    paused = false
  }
}

function detachedDestroy(this: Socket): Socket {
  if (!paused && !closing.has(this)) connectionOf(this)?.close()
  return this
}

function detachedDestroySoon(this: Socket): void {
  if (closing.has(this)) return
  const connection = connectionOf(this)
  // Bytes wait for a slow reader, which gets them before the FIN. close() would drop them.
  if (connection !== undefined && connection.queued > 0) connection.end()
  else connection?.close()
}

function detachedReset(this: Socket): Socket {
  if (!closing.has(this)) connectionOf(this)?.reset()
  return this
}

type Done = (error?: Error | null) => void

/** Detached sockets whose `end()` was called; those that have emitted `finish` map to true. */
const ended = new WeakMap<Socket, boolean>()

function detachedWrite(
  this: Socket,
  chunk: string | Uint8Array,
  encoding?: BufferEncoding | Done | null,
  done?: Done
): boolean {
  const failure = send(this, chunk, encoding)
  const callback = typeof encoding === 'function' ? encoding : done
  if (typeof callback === 'function') process.nextTick(callback, failure)
  return failure === null
}

/** Sends `chunk` to the connection. @returns the error for the callback of `write()`; null if the bytes are sent */
function send(socket: Socket, chunk: string | Uint8Array, encoding: unknown): Error | null {
  if (ended.has(socket)) return new EbbError('ERR_STREAM_WRITE_AFTER_END', 'write() was called after end()')
  const name = typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8'
  const bytes = typeof chunk === 'string' ? Buffer.from(chunk, name) : chunk
  return connectionOf(socket)?.send(bytes) ? null : closedError()
}

function closedError(): Error {
  return new EbbError('ERR_STREAM_DESTROYED', 'the connection is closed')
}

/** As `Writable.end()`: calls the callback once, and then emits `finish`. */
function detachedEnd(this: Socket, ...args: unknown[]): Socket {
  const done = args.find((argument) => typeof argument === 'function') as Done | undefined
  const failure = end(this, args[0], args[1])
  if (done !== undefined) process.nextTick(done, failure)
  if (failure === null && !ended.has(this)) {
    ended.set(this, false)
    // After the callbacks of further calls of end() in this tick.
    process.nextTick(process.nextTick, emitFinish, this)
  }
  return this
}

/** Sends `chunk`, if it is one, and a FIN. @returns the error for the callback of `end()`; null if they are sent */
function end(socket: Socket, chunk: unknown, encoding: unknown): Error | null {
  const connection = connectionOf(socket)
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) {
    const failure = send(socket, chunk, encoding)
    if (failure !== null) return failure
  } else if (ended.get(socket) === true) {
    return new EbbError('ERR_STREAM_ALREADY_FINISHED', 'end() was called after the socket had finished')
  } else if (connection?.closed !== false) return closedError()
  connection?.end()
  return null
}

function emitFinish(socket: Socket): void {
  ended.set(socket, true)
  socket.emit('finish')
}

/** What a detached socket has in place of the methods of `net.Socket`. */
const METHODS = {
  write: detachedWrite,
  end: detachedEnd,
  destroySoon: detachedDestroySoon,
  destroy: detachedDestroy,
  resetAndDestroy: detachedReset,
  setTimeout: detachedSetTimeout,
  ref: detachedRef,
  unref: detachedUnref,
  setNoDelay: detachedSetNoDelay,
  setKeepAlive: detachedSetKeepAlive
}
const FORWARDED = Object.keys(METHODS) as (keyof typeof METHODS)[]

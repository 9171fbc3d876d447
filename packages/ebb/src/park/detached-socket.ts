/** A detached socket: its connection was parked, but the application still holds the socket. */
import type { Socket } from 'node:net'
import { EbbError } from '../sys/errors.js'
import { connectionOf } from './connection.js'

/**
 * Has a detached socket pass on what the application does with it.
 *
 * Node drops what is written to a destroyed socket, so a response that is written after its connection was parked would
 * be lost without an error. Instead, the bytes, the end and the destruction go to the connection.
 *
 * @param atOnce whether `destroy()` closes the connection from now on. True for HTTP. The socket of another server
 *   emits `close` when its connection is parked, and code that handles `close` often destroys the socket that it lost:
 *   a `pipeline()`, `pump()`, a `catch`. These calls are not meant for the connection. So `destroy()` does nothing
 *   until all that runs because of `close` has run, promises included.
 */
export function forwardDetached(socket: Socket, atOnce: boolean): void {
  socket.write = detachedWrite
  socket.end = detachedEnd
  if (atOnce) {
    forwardDestroy(socket)
    return
  }
  if (newer.length + older.length === 0) setImmediate(onTurn)
  newer.push(socket)
}

/** Sockets detached since the last call of {@link onTurn}. */
let newer: Socket[] = []
/** Sockets detached before that. */
let older: Socket[] = []

/**
 * Called once per turn of the event loop while there are sockets whose `destroy()` is not forwarded yet. Node emits
 * `close` at the end of a turn: of the next one if the connection was parked at the end of a turn. So the second call
 * after the parking is the first one that is certain to come after `close`.
 */
function onTurn(): void {
  for (const socket of older) forwardDestroy(socket)
  older = newer
  newer = []
  if (older.length > 0) setImmediate(onTurn)
}

function forwardDestroy(socket: Socket): void {
  socket.destroySoon = detachedDestroySoon
  socket.destroy = detachedDestroy
  socket.resetAndDestroy = detachedReset
}

function detachedDestroy(this: Socket): Socket {
  connectionOf(this)?.close()
  return this
}

function detachedDestroySoon(this: Socket): void {
  const connection = connectionOf(this)
  // Bytes wait for a slow reader, which gets them before the FIN. close() would drop them.
  if (connection !== undefined && connection.queued > 0) connection.end()
  else connection?.close()
}

function detachedReset(this: Socket): Socket {
  connectionOf(this)?.reset()
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
  return connectionOf(socket)?.send(bytes) ? null : closed()
}

function closed(): Error {
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
  } else if (connection?.closed !== false) return closed()
  connection?.end()
  return null
}

function emitFinish(socket: Socket): void {
  ended.set(socket, true)
  socket.emit('finish')
}

/** A detached socket: its connection was parked, but the application still holds the socket. */
import type { Socket } from 'node:net'
import { EbbError } from '../sys/errors.js'
import { connectionOf } from './connection.js'

/**
 * Has a detached socket pass on what the application does with it.
 *
 * Node drops what is written to a destroyed socket, so a response that is written after its connection was parked would
 * be lost without an error. Instead, the bytes and the end go to the connection.
 *
 * @param destroys whether `destroy()` closes the connection. True for HTTP. Elsewhere, a `pipeline()` destroys the
 *   socket that it has lost, which is not meant for the connection.
 */
export function forwardDetached(socket: Socket, destroys: boolean): void {
  socket.write = detachedWrite
  socket.end = detachedEnd
  if (!destroys) return
  socket.destroySoon = detachedDestroy
  socket.destroy = detachedDestroy
  socket.resetAndDestroy = detachedReset
}

function detachedDestroy(this: Socket): Socket {
  connectionOf(this)?.close()
  return this
}

function detachedReset(this: Socket): Socket {
  connectionOf(this)?.reset()
  return this
}

type Done = (error?: Error | null) => void

function detachedWrite(
  this: Socket,
  chunk: string | Uint8Array,
  encoding?: BufferEncoding | Done,
  done?: Done
): boolean {
  const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8') : chunk
  const sent = connectionOf(this)?.send(bytes) ?? false
  const callback = typeof encoding === 'function' ? encoding : done
  if (callback !== undefined) {
    process.nextTick(callback, sent ? null : new EbbError('ERR_STREAM_DESTROYED', 'the connection is closed'))
  }
  return true
}

function detachedEnd(this: Socket, ...args: unknown[]): Socket {
  const [chunk, encoding] = args
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) this.write(chunk, encoding as BufferEncoding)
  const done = args.find((argument) => typeof argument === 'function') as Done | undefined
  if (done !== undefined) process.nextTick(done)
  connectionOf(this)?.end()
  return this
}

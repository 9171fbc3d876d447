/** A socket whose connection has been parked, and an application that still holds it. */
import type { Socket } from 'node:net'
import { connectionOf } from './connection.js'

/**
 * An answer that comes late, after its connection was parked, would be lost without a word: Node drops what is written to a
 * destroyed socket. It goes to the connection instead. So does the end, of HTTP; elsewhere, a `pipeline()` destroys the socket that it
 * has lost, which is not meant for the connection.
 */
export function forwardLate(socket: Socket, ends: boolean): void {
  socket.write = lateWrite
  socket.end = lateEnd
  if (!ends) return
  socket.destroySoon = lateDestroy
  socket.destroy = lateDestroy
  socket.resetAndDestroy = lateReset
}

function lateDestroy(this: Socket): Socket {
  connectionOf(this)?.close()
  return this
}

function lateReset(this: Socket): Socket {
  connectionOf(this)?.reset()
  return this
}

type Done = (error?: Error | null) => void

function lateWrite(this: Socket, chunk: string | Uint8Array, encoding?: BufferEncoding | Done, done?: Done): boolean {
  const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8') : chunk
  const sent = connectionOf(this)?.send(bytes) ?? false
  const callback = typeof encoding === 'function' ? encoding : done
  if (callback !== undefined) {
    const error = sent ? null : Object.assign(new Error('the connection is closed'), { code: 'ERR_STREAM_DESTROYED' })
    process.nextTick(callback, error)
  }
  return true
}

function lateEnd(this: Socket, ...args: unknown[]): Socket {
  const [chunk, encoding] = args
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) this.write(chunk, encoding as BufferEncoding)
  const done = args.find((argument) => typeof argument === 'function') as Done | undefined
  if (done !== undefined) process.nextTick(done)
  connectionOf(this)?.end()
  return this
}

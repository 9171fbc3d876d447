/** Bytes that the kernel has not taken yet, because the peer reads slowly. */
import { AsyncResource } from 'node:async_hooks'
import { sendBytes } from '../sys/transfer.js'
import type { SendCallback } from './handlers.js'

/** Bytes that wait, and what is called when they are sent. */
export interface Entry {
  bytes: Uint8Array
  callback: SendCallback | undefined
}

/** Entries below this size, in bytes, are put together: an entry has an overhead of about 150 bytes. */
const SMALL = 512
/** Size of the buffers of small entries. */
const CHUNK = 8192

/** The bytes of one connection, in order. */
export class SendQueue {
  #entries: Entry[] = []
  /** Index of the first entry that is not sent. */
  #first = 0
  #bytes = 0
  /** Buffer of the last entry, to whose end small ones are appended; undefined if it has no such buffer. */
  #chunk: Buffer | undefined
  /** End of what {@link #chunk} holds. */
  #end = 0
  /**
   * The latest pong, sent after everything else. A peer that sends pings and reads nothing cannot make the queue grow,
   * because only the latest ping needs an answer (RFC 6455, section 5.5.3).
   */
  pong: Uint8Array | undefined

  /** Number of bytes that wait, without the pong. */
  get bytes(): number {
    return this.#bytes
  }

  /** @param bytes must not change any more. @param callback called in the asynchronous context of this call */
  push(bytes: Uint8Array, callback: SendCallback | undefined): void {
    if (callback === undefined && bytes.length < SMALL) {
      this.#pushSmall(bytes)
      return
    }
    this.#chunk = undefined
    this.#entries.push({ bytes, callback: callback && AsyncResource.bind(callback) })
    this.#bytes += bytes.length
  }

  /** Copies bytes to the end of the last entry, if it has room. */
  #pushSmall(bytes: Uint8Array): void {
    const { length } = bytes
    this.#bytes += length
    let chunk = this.#chunk
    const last = this.#entries.at(-1)
    if (chunk === undefined || last === undefined || this.#end + length > chunk.length) {
      // The first chunk is small: most connections wait for little.
      const size = chunk === undefined ? 2 * length : Math.min(CHUNK, 2 * chunk.length)
      chunk = Buffer.allocUnsafeSlow(Math.max(64, size, length))
      this.#chunk = chunk
      this.#end = 0
      chunk.set(bytes)
      this.#entries.push({ bytes: chunk.subarray(0, length), callback: undefined })
    } else {
      chunk.set(bytes, this.#end)
      last.bytes = chunk.subarray(last.bytes.byteOffset, this.#end + length)
    }
    this.#end += length
  }

  /** Sends to the kernel. @returns 0 if all is sent, 1 if the kernel is full again, a negative errno */
  flush(fd: number): number {
    for (;;) {
      const entry = this.#entries[this.#first]
      if (entry === undefined) break
      const sent = sendBytes(fd, entry.bytes)
      if (sent < 0) return sent
      this.#bytes -= sent
      if (sent < entry.bytes.length) {
        entry.bytes = entry.bytes.subarray(sent)
        this.#compact()
        return 1
      }
      this.#first++
      if (entry.callback !== undefined) process.nextTick(entry.callback, null)
    }
    this.#entries = []
    this.#first = 0
    this.#chunk = undefined
    if (this.pong === undefined) return 0
    this.pushPong()
    return this.flush(fd)
  }

  /** Gives the pong its place in the order, before what is pushed from now on. */
  pushPong(): void {
    const { pong } = this
    this.pong = undefined
    if (pong !== undefined) this.push(pong, undefined)
  }

  /** Returns what {@link take} would, without the pong, as one piece. */
  copy(): Buffer {
    return Buffer.concat(this.#entries.slice(this.#first).map(({ bytes }) => bytes))
  }

  /** Takes all entries out of the queue, for a socket that sends the rest. */
  take(): Entry[] {
    this.pushPong()
    const entries = this.#entries.slice(this.#first)
    this.#entries = []
    this.#chunk = undefined
    this.#bytes = 0
    return entries
  }

  /** Drops sent entries from the array when they are more than half of it. */
  #compact(): void {
    if (this.#first * 2 <= this.#entries.length) return
    this.#entries = this.#entries.slice(this.#first)
    this.#first = 0
  }
}

/** Bytes that the kernel has not taken yet, because the peer reads slowly. */
import { AsyncResource } from 'node:async_hooks'
import { sendBytes } from '../sys/transfer.js'
import type { SendCallback } from './handlers.js'

/** Bytes that wait, and what is called when they are sent. */
export interface Entry {
  bytes: Uint8Array
  callback: SendCallback | undefined
}

/** The bytes of one connection, in order. */
export class SendQueue {
  #entries: Entry[] = []
  /** Index of the first entry that is not sent. */
  #first = 0
  #bytes = 0
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
    this.#entries.push({ bytes, callback: callback && AsyncResource.bind(callback) })
    this.#bytes += bytes.length
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

  /** Takes all entries out of the queue, for a socket that sends the rest. */
  take(): Entry[] {
    this.pushPong()
    const entries = this.#entries.slice(this.#first)
    this.#entries = []
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

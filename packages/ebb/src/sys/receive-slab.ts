/** Memory that received bytes go to. */
import { addressOf } from './libc.js'
import { receiveAt } from './transfer.js'

/** Size of a slab, in bytes. */
const SLAB = 65_536
/** With less room than this (bytes) at its end, a slab is replaced. */
const SLAB_REST = 4096

/**
 * Receives into a large buffer and hands out slices of it, so that a handler may keep what it got. A full buffer is
 * replaced, and garbage collected with its last slice.
 */
export class ReceiveSlab {
  #slab: Buffer | undefined
  #address = 0
  #used = 0

  /** Receives once. {@link take} then returns the bytes. @returns as `receiveAt()` */
  receive(fd: number): number {
    if (this.#slab === undefined || SLAB - this.#used < SLAB_REST) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB)
      this.#address = addressOf(this.#slab)
      this.#used = 0
    }
    return receiveAt(fd, this.#address + this.#used, SLAB - this.#used)
  }

  /** Returns the `length` bytes that were received last. */
  take(length: number): Buffer {
    const from = this.#used
    this.#used += length
    return (this.#slab as Buffer).subarray(from, from + length)
  }

  /** Returns the address of `bytes` if they are a part of the current slab, else 0. */
  addressOf(bytes: Uint8Array): number {
    return bytes.buffer === this.#slab?.buffer ? this.#address + bytes.byteOffset : 0
  }
}

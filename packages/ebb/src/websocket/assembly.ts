/** Messages that have not arrived completely. */

/** Smallest buffer, in bytes. */
const LEAST = 64
const EMPTY = Buffer.alloc(0)

/** Bytes that are appended to. */
class Bytes {
  buffer = EMPTY
  length = 0

  /**
   * Appends a part of `source`.
   *
   * @param expected length that is announced in the end, to avoid a buffer that is larger; 0: unknown
   */
  append(source: Buffer, start: number, end: number, expected = 0): void {
    const length = this.length + end - start
    if (length > this.buffer.length) {
      const twice = Math.max(LEAST, 2 * this.buffer.length)
      const capacity = Math.max(length, expected > length ? Math.min(expected, twice) : twice)
      const grown = Buffer.allocUnsafeSlow(capacity)
      this.buffer.copy(grown, 0, 0, this.length)
      this.buffer = grown
    }
    source.copy(this.buffer, this.length, start, end)
    this.length = length
  }

  /** What was appended: a part of the buffer. */
  get bytes(): Buffer {
    return this.buffer.subarray(0, this.length)
  }

  /** Forgets all bytes. */
  clear(): void {
    this.buffer = EMPTY
    this.length = 0
  }
}

/**
 * What one connection has received of a message, and of a frame. Its buffers grow with what has arrived, never with
 * what a header announces, and a message of many small fragments takes no more memory than one of few.
 */
export class Assembly {
  /** Opcode of the incomplete message; 0 if only a frame is incomplete. */
  opcode = 0
  /** Payload of the incomplete message. */
  message = new Bytes()
  /** The incomplete frame, as received. */
  rest = new Bytes()
}

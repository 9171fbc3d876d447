import fs from 'node:fs'
import { RefusedError } from '../sys/errors.js'

/**
 * A file of `/proc`, opened once and read again and again: the kernel writes it anew for each read at position 0. A
 * read needs no new descriptor, so it works in a process that has run out of them, and makes no strings.
 *
 * A file below `/proc/PID` belongs to the process for which it was opened. After that process has ended, a read fails
 * with `ESRCH`, even if another process has the same pid by then.
 */
export class ProcFile {
  readonly path: string
  /** Contents at the last {@link read}: its first `length` bytes. The next read overwrites them. */
  buffer: Buffer
  /** Number of bytes that the last {@link read} has read. */
  length = 0
  #fd: number | null

  /**
   * Opens the file. Throws the errors of `open(2)`.
   *
   * @param size expected number of bytes; the buffer grows if the file is larger
   */
  constructor(path: string, size = 4096) {
    this.path = path
    this.#fd = fs.openSync(path, 'r')
    this.buffer = Buffer.alloc(size)
  }

  /** Reads the whole file as it is now. Throws the errors of `read(2)`, and `EBADF` after {@link close}. */
  read(): void {
    if (this.#fd === null) {
      throw new RefusedError('EBADF', 'read', `${this.path} is closed: open it again to read it`)
    }
    this.length = fs.readSync(this.#fd, this.buffer, 0, this.buffer.length, 0)
    while (this.length === this.buffer.length) {
      this.buffer = Buffer.alloc(this.buffer.length * 2)
      this.length = fs.readSync(this.#fd, this.buffer, 0, this.buffer.length, 0)
    }
  }

  /**
   * Returns the unsigned decimal number that follows `key`, after blanks or tabs; -1 if there is no such key or no
   * number follows it. Searches from offset `from` to offset `to`.
   */
  figure(key: Buffer, from = 0, to = this.length): number {
    const at = this.find(key, from, to)
    return at === -1 ? -1 : this.decimal(at + key.length)
  }

  /** Returns the offset of `key` between the offsets `from` and `to`, or -1. */
  find(key: Buffer, from = 0, to = this.length): number {
    const at = this.buffer.indexOf(key, from)
    return at === -1 || at + key.length > to ? -1 : at
  }

  /** Returns the unsigned decimal number at offset `at`, after blanks or tabs; -1 if there is none. */
  decimal(at: number): number {
    const { buffer, length } = this
    let i = at
    while (i < length && (buffer[i] === 0x20 || buffer[i] === 0x09)) i++
    let value = -1
    for (; i < length; i++) {
      const digit = (buffer[i] as number) - 0x30
      if (digit < 0 || digit > 9) break
      value = (value === -1 ? 0 : value * 10) + digit
    }
    return value
  }

  /** Closes the descriptor. Closing twice is allowed. */
  close(): void {
    if (this.#fd === null) return
    const fd = this.#fd
    this.#fd = null
    fs.closeSync(fd)
  }
}

import fs from 'node:fs'

/**
 * A file of `/proc` that is opened once and read again and again: the kernel writes it anew for every read at position
 * 0. A read needs no new descriptor, so it works in a process that has run out of them, and makes no strings.
 *
 * A file below `/proc/PID` belongs to the process it was opened for, not to the number: when that process is gone, a
 * read fails with `ESRCH`, whoever has the number by then.
 */
export class ProcFile {
  readonly path: string
  /** What the last {@link read} brought: the first `length` bytes. Overwritten by the next read. */
  buffer: Buffer
  length = 0
  #fd: number | null

  /** Throws what `open(2)` throws. `size`: bytes expected; the buffer grows when a file turns out to be larger. */
  constructor(path: string, size = 4096) {
    this.path = path
    this.#fd = fs.openSync(path, 'r')
    this.buffer = Buffer.alloc(size)
  }

  /** Reads the whole file as it is now. Throws what `read(2)` throws, and `EBADF` after {@link close}. */
  read(): void {
    if (this.#fd === null) {
      throw Object.assign(new Error(`${this.path} is closed: open it again to read it`), {
        code: 'EBADF',
        syscall: 'read'
      })
    }
    this.length = fs.readSync(this.#fd, this.buffer, 0, this.buffer.length, 0)
    while (this.length === this.buffer.length) {
      this.buffer = Buffer.alloc(this.buffer.length * 2)
      this.length = fs.readSync(this.#fd, this.buffer, 0, this.buffer.length, 0)
    }
  }

  /**
   * The unsigned decimal that follows `key`, with blanks or tabs between. -1 where the key is not there or no digit
   * follows. The search starts at byte `from` and ends before byte `to`.
   */
  figure(key: Buffer, from = 0, to = this.length): number {
    const at = this.find(key, from, to)
    return at === -1 ? -1 : this.decimal(at + key.length)
  }

  /** Where `key` stands between the bytes `from` and `to`, or -1. */
  find(key: Buffer, from = 0, to = this.length): number {
    const at = this.buffer.indexOf(key, from)
    return at === -1 || at + key.length > to ? -1 : at
  }

  /** The unsigned decimal at byte `at`, after blanks or tabs; -1 where there is none. */
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

  /** Gives the descriptor back. Closing twice is allowed. */
  close(): void {
    if (this.#fd === null) return
    const fd = this.#fd
    this.#fd = null
    fs.closeSync(fd)
  }
}

/** Looks into the memory of another process: which pages are resident, and what they contain. */
import fs from 'node:fs'
import { pageSize } from 'ebb/memory'

/** Bytes of an entry of `/proc/PID/pagemap`. */
const ENTRY = 8
/** Bits of the last byte of an entry: the page is resident. */
const PRESENT = 0x80
/** Entries that are read at once: a MB of entries tells of 512 MB of memory. */
const MOST_ENTRIES = 131_072

/**
 * The pages of a process, through `/proc/PID/pagemap` and `/proc/PID/mem`. Reading changes nothing in the process: only
 * pages that are resident are read, so none is made resident by it.
 */
export class Pages {
  readonly size = pageSize()
  readonly #pagemap: number
  readonly #memory: number

  private constructor(pagemap: number, memory: number) {
    this.#pagemap = pagemap
    this.#memory = memory
  }

  /** Opens the pages; undefined if this user may not look into the process. Takes two descriptors. */
  static open(pid: number): Pages | undefined {
    const opened: number[] = []
    try {
      for (const name of ['pagemap', 'mem']) opened.push(fs.openSync(`/proc/${pid}/${name}`, 'r'))
      const [pagemap, memory] = opened as [number, number]
      return new Pages(pagemap, memory)
    } catch {
      for (const fd of opened) fs.closeSync(fd)
      return undefined
    }
  }

  /** Returns one byte for each page from `start` to `end`: 1 if it is resident. Null if it cannot be read. */
  resident(start: number, end: number): Uint8Array | null {
    const count = Math.ceil((end - start) / this.size)
    const flags = new Uint8Array(count)
    const buffer = Buffer.alloc(Math.min(count, MOST_ENTRIES) * ENTRY)
    for (let done = 0; done < count; ) {
      const length = Math.min(buffer.length, (count - done) * ENTRY)
      const got = this.#read(this.#pagemap, buffer, length, (start / this.size + done) * ENTRY)
      if (got < ENTRY) return null
      const entries = Math.floor(got / ENTRY)
      for (let i = 0; i < entries; i++) {
        flags[done + i] = ((buffer[i * ENTRY + ENTRY - 1] as number) & PRESENT) === 0 ? 0 : 1
      }
      done += entries
    }
    return flags
  }

  /** Returns the bytes of resident pages from `start` to `end`; null if it cannot be read. */
  residentBytes(start: number, end: number): number | null {
    const flags = this.resident(start, end)
    if (flags === null) return null
    let count = 0
    for (const flag of flags) count += flag
    return count * this.size
  }

  /** Reads memory at an address into `buffer`. Returns the number of bytes; 0 if it cannot be read. */
  read(buffer: Buffer, address: number): number {
    return this.#read(this.#memory, buffer, buffer.length, address)
  }

  /** Closes the descriptors. */
  close(): void {
    fs.closeSync(this.#pagemap)
    fs.closeSync(this.#memory)
  }

  #read(fd: number, buffer: Buffer, length: number, position: number): number {
    try {
      return fs.readSync(fd, buffer, 0, length, position)
    } catch {
      // The mapping or the process is gone.
      return 0
    }
  }
}

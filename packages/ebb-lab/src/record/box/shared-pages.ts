/** Divides file pages among the processes that map them. Reads `/proc/PID/maps` and `pagemap`, see proc(5). */
import fs from 'node:fs'
import { endianness } from 'node:os'
import { pageSize } from 'ebb/memory'
import { codeOf } from '../../units/errors.js'

/** Bytes of a page's entry in `pagemap`. */
const ENTRY = 8
/** Bits of an entry's highest byte: the page is present (63), and is a file page or shared (61). */
const HELD = 0x80 | 0x20
const HIGHEST = endianness() === 'LE' ? ENTRY - 1 : 0
/** Entries that are read at once. */
const CHUNK = 8192
/** Bytes of files mapped by one process. A process that maps more, such as a database, is not walked page by page. */
const MOST_MAPPED = 4e9

/**
 * Computes the share of each of several processes in the files that they map: programs, libraries, shared memory. This
 * is like PSS, but counts these processes only. PSS divides a page by all processes that map it, which includes the
 * laboratory itself and everything else on the machine.
 *
 * The kernel walks every page of the mappings, which takes about 1 ms for a Node process. Call {@link measure} rarely.
 */
export class SharedPages {
  readonly #page = pageSize()
  readonly #chunk = Buffer.allocUnsafeSlow(CHUNK * ENTRY)

  /** Returns bytes by pid. They are null if the process has ended, belongs to another user, or maps too much. */
  measure(pids: readonly number[]): Map<number, number | null> {
    const files = new Map<string, FilePages>()
    const held = pids.map((pid, i) => ({ pid, pages: this.#hold(this.#pagesOf(pid), i + 1, files) }))
    // Every process is a holder before the first share is computed.
    return new Map(held.map(({ pid, pages }) => [pid, pages === null ? null : this.#share(pages)]))
  }

  /**
   * Makes a process a holder of its pages. Returns them, each once.
   *
   * @param holder the number of the process, from 1 on
   */
  #hold(mapped: Map<string, number[]> | null, holder: number, files: Map<string, FilePages>): HeldPages[] | null {
    if (mapped === null) return null
    return [...mapped].map(([name, numbers]) => {
      const file = files.get(name) ?? new FilePages()
      files.set(name, file)
      return { file, numbers: numbers.filter((page) => file.hold(page, holder)) }
    })
  }

  #share(pages: readonly HeldPages[]): number {
    let sum = 0
    for (const { file, numbers } of pages) for (const page of numbers) sum += 1 / file.holders(page)
    return Math.round(sum * this.#page)
  }

  /**
   * Returns, by file (device and inode), the numbers of the pages that the process maps and that are in memory. A page
   * that is mapped twice is there twice.
   */
  #pagesOf(pid: number): Map<string, number[]> | null {
    let pagemap: number | undefined
    try {
      const maps = fs.readFileSync(`/proc/${pid}/maps`, 'latin1')
      pagemap = fs.openSync(`/proc/${pid}/pagemap`, 'r')
      const files = new Map<string, number[]>()
      let mapped = 0
      for (const line of maps.split('\n')) {
        // 55d0c8a00000-55d0c8a21000 r--p 00001000 fe:00 1234   /usr/bin/node
        const match = /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) (\S+) (\d+)/.exec(line)
        if (match === null) continue
        const [, from = '', until = '', offset = '', device, inode] = match
        // Anonymous memory has no file.
        if (inode === '0') continue
        const start = Number.parseInt(from, 16)
        const size = Number.parseInt(until, 16) - start
        mapped += size
        if (mapped > MOST_MAPPED) return null
        const file = `${device} ${inode}`
        const pages = files.get(file) ?? []
        files.set(file, pages)
        this.#walk(pagemap, start / this.#page, size / this.#page, Number.parseInt(offset, 16) / this.#page, pages)
      }
      return files
    } catch (error) {
      if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE'].includes(codeOf(error))) return null
      throw error
    } finally {
      if (pagemap !== undefined) fs.closeSync(pagemap)
    }
  }

  #walk(pagemap: number, first: number, count: number, offset: number, pages: number[]): void {
    for (let done = 0; done < count; ) {
      const wanted = Math.min(CHUNK, count - done)
      const read = fs.readSync(pagemap, this.#chunk, 0, wanted * ENTRY, (first + done) * ENTRY)
      // The range is hidden from user space ([vsyscall]), or the process has ended.
      if (read === 0) return
      const entries = Math.floor(read / ENTRY)
      for (let i = 0; i < entries; i++) {
        if (((this.#chunk[i * ENTRY + HIGHEST] as number) & HELD) === HELD) pages.push(offset + done + i)
      }
      done += entries
    }
  }
}

/** Pages of a file that a process holds. */
interface HeldPages {
  file: FilePages
  numbers: number[]
}

/** Pages that share a {@link Chunk}. */
const CHUNK_PAGES = 1024

/** Consecutive pages of a file. */
interface Chunk {
  /** Number of processes that hold each page. */
  holders: Uint16Array
  /** The last process that was counted as a holder of each page. */
  last: Uint16Array
}

/** The holders of the pages of a file. In typed arrays: a box of ten Node processes holds 100,000 pages. */
class FilePages {
  readonly #chunks = new Map<number, Chunk>()
  /** The chunk that was used last. Pages are asked for in runs. */
  #recent: { index: number; chunk: Chunk } | undefined

  /** Adds a holder to a page. Returns false if it is one already. Holders must be added one after the other. */
  hold(page: number, holder: number): boolean {
    const { holders, last } = this.#chunkOf(page)
    const at = page % CHUNK_PAGES
    if (last[at] === holder) return false
    last[at] = holder
    holders[at] = (holders[at] as number) + 1
    return true
  }

  /** Returns the number of holders of a page. */
  holders(page: number): number {
    return this.#chunkOf(page).holders[page % CHUNK_PAGES] as number
  }

  #chunkOf(page: number): Chunk {
    const index = Math.floor(page / CHUNK_PAGES)
    if (this.#recent?.index === index) return this.#recent.chunk
    const known = this.#chunks.get(index)
    const chunk = known ?? { holders: new Uint16Array(CHUNK_PAGES), last: new Uint16Array(CHUNK_PAGES) }
    if (known === undefined) this.#chunks.set(index, chunk)
    this.#recent = { index, chunk }
    return chunk
  }
}

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
    const held = pids.map((pid) => ({ pid, files: this.#pagesOf(pid) }))
    const holders = new Map<string, Map<number, number>>()
    for (const { files } of held) {
      for (const [file, pages] of files ?? []) {
        const counts = holders.get(file) ?? new Map<number, number>()
        holders.set(file, counts)
        for (const page of pages) counts.set(page, (counts.get(page) ?? 0) + 1)
      }
    }
    return new Map(held.map(({ pid, files }) => [pid, files === null ? null : Math.round(this.#share(files, holders))]))
  }

  #share(files: Map<string, Set<number>>, holders: Map<string, Map<number, number>>): number {
    let pages = 0
    for (const [file, held] of files) {
      const counts = holders.get(file)
      for (const page of held) pages += 1 / (counts?.get(page) ?? 1)
    }
    return pages * this.#page
  }

  /** Returns, by file (device and inode), the numbers of the pages that the process maps and that are in memory. */
  #pagesOf(pid: number): Map<string, Set<number>> | null {
    let pagemap: number | undefined
    try {
      const maps = fs.readFileSync(`/proc/${pid}/maps`, 'latin1')
      pagemap = fs.openSync(`/proc/${pid}/pagemap`, 'r')
      const files = new Map<string, Set<number>>()
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
        const pages = files.get(file) ?? new Set<number>()
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

  #walk(pagemap: number, first: number, count: number, offset: number, pages: Set<number>): void {
    for (let done = 0; done < count; ) {
      const wanted = Math.min(CHUNK, count - done)
      const read = fs.readSync(pagemap, this.#chunk, 0, wanted * ENTRY, (first + done) * ENTRY)
      // The range is hidden from user space ([vsyscall]), or the process has ended.
      if (read === 0) return
      const entries = Math.floor(read / ENTRY)
      for (let i = 0; i < entries; i++) {
        if (((this.#chunk[i * ENTRY + HIGHEST] as number) & HELD) === HELD) pages.add(offset + done + i)
      }
      done += entries
    }
  }
}

/**
 * glibc's main arena, which serves the main thread: returns its free pages in short steps.
 *
 * `malloc_trim` holds the arena's lock until it has walked over all free blocks and returned their pages, 160 ms for
 * 1.7 GB. On another thread it would take as long, and the main thread would stop at its next `malloc` or `free`. So
 * this file allocates the free blocks itself, the largest first, returns their pages, and frees all blocks at the end.
 */
import * as libc from './libc.js'

/** The largest block that is asked for, bytes. Its pages go in less than 1 ms. */
const LARGEST = 2 * 1024 * 1024
/** The smallest block that has a whole page in any case, bytes. Larger than any that a thread caches for itself. */
const SMALLEST = 8176
/** The next smaller block, so that little of a free block remains. */
const NEXT = 15 / 16
const MADV_DONTNEED = 4

/** Returns the free pages of the main arena. Use it once, on the main thread. */
export class MainArenaTrim {
  readonly #page: number
  /** Blocks that have no pages any more. */
  readonly #blocks: number[] = []
  #size = LARGEST
  /** The end of the arena. */
  #end = libc.sbrk?.(0) ?? 0

  /** @param page size of a page, bytes */
  constructor(page: number) {
    this.#page = page
  }

  /** Number of blocks that have been emptied and not freed. */
  get blocks(): number {
    return this.#blocks.length
  }

  /** Empties free blocks for about `ms`, and holds them. Returns false when there is none left. */
  empty(ms: number): boolean {
    const { malloc, free, sbrk } = libc
    if (malloc === undefined || free === undefined || sbrk === undefined) return false
    const until = performance.now() + ms
    while (this.#size >= SMALLEST) {
      const block = malloc(this.#size)
      const end = sbrk(0)
      if (block === 0 || block > end || end !== this.#end) {
        // No free block was large enough, so the arena has grown, or the block is a mapping of its own.
        if (block !== 0) free(block)
        this.#end = sbrk(0)
        this.#size = Math.floor(this.#size * NEXT)
      } else {
        this.#blocks.push(block)
        this.#discard(block)
      }
      if (performance.now() >= until) return true
    }
    return false
  }

  /** Frees blocks for about `ms`. Returns false when there is none left. */
  free(ms: number): boolean {
    const until = performance.now() + ms
    for (let block = this.#blocks.pop(); block !== undefined; block = this.#blocks.pop()) {
      libc.free?.(block)
      if (performance.now() >= until) return true
    }
    return false
  }

  #discard(block: number): void {
    const start = Math.ceil(block / this.#page) * this.#page
    const stop = Math.floor((block + (libc.usableSize?.(block) ?? 0)) / this.#page) * this.#page
    if (stop > start) libc.madvise?.(start, stop - start, MADV_DONTNEED)
  }
}

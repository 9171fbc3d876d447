/**
 * Measures from outside how much memory glibc's malloc holds that the program has freed.
 *
 * glibc puts a header before each block (a chunk): its size, and in the lowest bits whether the chunk before it is in
 * use. So the chunks of a heap can be walked from its start to its end. The walk is believed only if every header is
 * plausible and the last chunk ends where the heap ends. See `malloc/malloc.c` and `malloc/arena.c` of glibc.
 */
import type { Pages } from './pages.js'

/** A heap of glibc's malloc: the main one, or one of an arena. */
export interface Heap {
  start: number
  end: number
  /** Whether it belongs to the main arena. */
  main: boolean
}

/** What glibc's heaps hold, bytes. */
export interface MallocUse {
  /** Number of heaps that were walked. */
  heaps: number
  /** Blocks in use. Includes small freed blocks that malloc caches for the next call (tcache, fast bins). */
  used: number
  /** Freed blocks, resident or not. */
  free: number
  /** Resident pages of freed blocks that `malloc_trim(0)` returns to the operating system. */
  releasable: number
  /** Resident pages at the end of arenas of threads, which `malloc_trim(0)` does not return. */
  tops: number
  /** Resident pages of heaps that could not be walked. */
  unknown: number
}

/** `HEAP_MAX_SIZE`: arenas of threads have heaps that are aligned to their largest size. */
export const HEAP_MAX = 64 * 1024 * 1024

/** Bits of a header: `PREV_INUSE`, `IS_MMAPPED` and `NON_MAIN_ARENA`. */
const PREVIOUS_IN_USE = 1
const MMAPPED = 2
const NON_MAIN = 4
const ALIGNMENT = 16
/** The smallest chunk; fenceposts at the end of a heap are only half as large. */
const SMALLEST = 32
/** `malloc_state` is 2,200 bytes and the header of a heap 32 or 48: the first chunk of a heap begins within this. */
const FARTHEST_FIRST = 2560
/** Chunks with plausible headers after which a chunk that ends beyond the heap is taken for one that has grown. */
const CONVINCING = 32
/** Bytes that are read at once. */
const WINDOW = 262_144
/** How often a heap is walked that changes meanwhile. */
const TRIES = 3
/** Chunks that are walked in all, which bounds the time to about 2 s. */
const MOST_CHUNKS = 20_000_000

/** Returns what heaps hold; undefined if not even one of them could be walked. */
export function mallocUse(pages: Pages, heaps: readonly Heap[]): MallocUse | undefined {
  const use: MallocUse = { heaps: 0, used: 0, free: 0, releasable: 0, tops: 0, unknown: 0 }
  const budget = { chunks: MOST_CHUNKS }
  for (const heap of heaps) {
    const walked = walk(pages, heap, budget)
    if (walked === undefined) {
      use.unknown += pages.residentBytes(heap.start, heap.end) ?? 0
      continue
    }
    use.heaps++
    use.used += walked.used
    use.free += walked.free
    use.releasable += walked.releasable
    use.tops += walked.tops
  }
  return use.heaps === 0 ? undefined : use
}

/**
 * Returns the size of the heap that an arena of glibc has at an address, which is a multiple of {@link HEAP_MAX}. The
 * mapping may be larger, if the heap has shrunk. Returns 0 if there is no heap, and null if it cannot be read.
 */
export function heapSize(pages: Pages, address: number): number | null {
  const header = Buffer.alloc(32)
  if (pages.read(header, address) < header.length) return null
  const [arena, previous, size, writable] = [0, 8, 16, 24].map((at) => word(header, at)) as [
    number,
    number,
    number,
    number
  ]
  // The arena itself is behind the header of its first heap.
  const isOfArena = arena % HEAP_MAX > 0 && arena % HEAP_MAX < 256 && previous % HEAP_MAX === 0
  const isSize = size % pages.size === 0 && size <= writable && writable <= HEAP_MAX
  return isOfArena && isSize ? size : 0
}

type Walked = Pick<MallocUse, 'used' | 'free' | 'releasable' | 'tops'>

function walk(pages: Pages, heap: Heap, budget: { chunks: number }): Walked | undefined {
  for (let i = 0; i < TRIES; i++) {
    const flags = pages.resident(heap.start, heap.end)
    if (flags === null) return undefined
    const reader = new Headers(pages, heap, flags)
    for (const first of firstChunks(reader, heap)) {
      const walked = walkFrom(reader, heap, first, budget)
      if (walked !== undefined) return walked
    }
  }
  return undefined
}

/** Returns where the first chunk of a heap may begin. */
function firstChunks(reader: Headers, { start, main }: Heap): number[] {
  // Without randomization the main heap begins in the middle of a page.
  const from = main ? start : start + ALIGNMENT
  const farthest = main ? reader.pageSize : FARTHEST_FIRST
  const found: number[] = []
  for (let at = from; at < start + farthest; at += ALIGNMENT) if (reader.header(at) > SMALLEST) found.push(at)
  return found
}

/** Walks the chunks; undefined if a header is not plausible. */
function walkFrom(reader: Headers, heap: Heap, first: number, budget: { chunks: number }): Walked | undefined {
  const { end, main } = heap
  const walked: Walked = { used: 0, free: 0, releasable: 0, tops: 0 }
  /** The chunk before `at`, and its bits. */
  let previous = -1
  let bits = 0
  let at = first
  for (let count = 0; ; count++) {
    const header = reader.header(at)
    if (header === -1 || budget.chunks-- <= 0) return undefined
    const place = placeOf(header, at, heap, count)
    if (place === 'wrong') return undefined
    if (previous !== -1) {
      const length = at - previous
      if ((header & PREVIOUS_IN_USE) !== 0) {
        // Freed blocks lose the bit when they are split, and the top never has it.
        if (!main && length >= SMALLEST && (bits & NON_MAIN) === 0) return undefined
        walked.used += length
      } else {
        walked.free += length
        walked.releasable += reader.residentWithin(previous, at)
      }
    }
    if (place === 'end') return walked
    previous = at
    bits = header % 8
    if (place === 'last') break
    at += header - bits
  }
  // The last chunk is the top, from which malloc takes new blocks.
  walked.free += end - previous
  if (main) walked.releasable += reader.residentWithin(previous, end)
  else walked.tops += reader.residentWithin(previous, end)
  return walked
}

/**
 * Returns where a chunk is in its heap: within it, the last one, or no chunk at all but the end of a heap that is full,
 * behind which its arena has another one. `wrong`: the header is not plausible.
 */
function placeOf(header: number, at: number, { end, main }: Heap, count: number): 'within' | 'last' | 'end' | 'wrong' {
  const size = header - (header % 8)
  if (size === 0 && at + ALIGNMENT === end && count > 0) return 'end'
  if (size < ALIGNMENT || size % ALIGNMENT !== 0) return 'wrong'
  if ((header & MMAPPED) !== 0 || (main && (header & NON_MAIN) !== 0)) return 'wrong'
  if (at + size < end) return 'within'
  // The last chunk may have grown with the heap since the mappings were read.
  return at + size === end || (at + size <= end + HEAP_MAX && count >= CONVINCING) ? 'last' : 'wrong'
}

/** Reads headers of chunks through a window of memory. Never touches pages that are not resident. */
class Headers {
  readonly pageSize: number
  readonly #pages: Pages
  readonly #heap: Heap
  readonly #resident: Uint8Array
  readonly #window = Buffer.alloc(WINDOW)
  #from = 0
  #to = 0

  constructor(pages: Pages, heap: Heap, resident: Uint8Array) {
    this.pageSize = pages.size
    this.#pages = pages
    this.#heap = heap
    this.#resident = resident
  }

  /** Returns the size and the bits of the chunk at an address; -1 if it cannot be read. */
  header(chunk: number): number {
    const at = chunk + 8
    if (at < this.#from || at + 8 > this.#to) this.#load(at)
    return at + 8 > this.#to ? -1 : word(this.#window, at - this.#from)
  }

  /** Returns the resident bytes of whole pages within a chunk, its header left out. */
  residentWithin(chunk: number, end: number): number {
    const { start } = this.#heap
    const first = Math.ceil((chunk + SMALLEST - start) / this.pageSize)
    const last = Math.floor((end - start) / this.pageSize)
    let count = 0
    for (let page = first; page < last; page++) count += this.#resident[page] as number
    return count * this.pageSize
  }

  /** Loads the resident pages from the page of `at` on, at most a window of them. */
  #load(at: number): void {
    const { start } = this.#heap
    const first = Math.floor((at - start) / this.pageSize)
    let last = first
    const most = first + WINDOW / this.pageSize
    while (last < most && this.#resident[last] === 1) last++
    this.#from = start + first * this.pageSize
    this.#to = this.#from
    if (last === first) return
    this.#to += this.#pages.read(this.#window.subarray(0, (last - first) * this.pageSize), this.#from)
  }
}

/** Returns a 64-bit number, in the byte order of the machine. Above 2^53 it is rounded. */
function word(buffer: Buffer, at: number): number {
  return LITTLE
    ? buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 0x1_0000_0000
    : buffer.readUInt32BE(at + 4) + buffer.readUInt32BE(at) * 0x1_0000_0000
}

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

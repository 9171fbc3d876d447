/** What glibc's `malloc` holds, arena by arena. */
import * as libc from './libc.js'

/** One arena of glibc: the main one, or one that a few threads share. Bytes. */
export interface Arena {
  /** Bytes that it has from the system, whether they are in physical memory or not. */
  system: number
  /** Bytes of `system` that no block uses. */
  free: number
  /** Bytes of `system` in use by blocks, headers included. */
  used: number
}

/** All of `malloc`. Bytes. */
export interface MallocState {
  /** Its arenas, the main one first. */
  arenas: Arena[]
  /** Blocks that are a mapping of their own. They go back to the system when they are freed. */
  mapped: number
  /** Bytes of the arenas in use by blocks, headers included, and {@link mapped}. */
  used: number
  /** Bytes of the arenas that no block uses. Part of them may be back at the system already. */
  free: number
  /** Part of `free` in whole pages, estimated from the sizes of the free blocks. Only whole pages can be returned. */
  freePages: number
}

let reports: ReturnType<typeof libc.mallocReports> | undefined
let isLookedUp = false

/**
 * Returns what glibc's `malloc` holds; undefined with other C libraries. Takes the lock of each arena for a moment, and
 * about 0.1 ms.
 */
export function mallocState(): MallocState | undefined {
  if (!isLookedUp) {
    isLookedUp = true
    reports = libc.mallocReports()
  }
  const text = reports?.info()
  return text === undefined ? undefined : parseMallocInfo(text, reports?.totals?.().hblkhd)
}

/**
 * Parses the XML of `malloc_info(3)`: a `heap` for each arena, and then the same elements once more for all of them.
 *
 * @param mapped bytes of blocks that are a mapping of their own; undefined: as the text tells, since glibc 2.24
 */
export function parseMallocInfo(text: string, mapped = sizeOf('total type="mmap"', text)): MallocState {
  const arenas = [...text.matchAll(/<heap nr="\d+">(.*?)<\/heap>/gs)].map(([, heap = '']) => {
    const system = sizeOf('system type="current"', heap)
    const free = Math.min(system, sizeOf('total type="fast"', heap) + sizeOf('total type="rest"', heap))
    return { system, free, used: system - free }
  })
  const sum = (of: 'used' | 'free') => arenas.reduce((total, arena) => total + arena[of], 0)
  return { arenas, mapped, used: mapped + sum('used'), free: sum('free'), freePages: freePagesOf(text) }
}

const PAGE = 4096

/** Returns how many bytes of free blocks are whole pages. A block begins anywhere within a page. */
function freePagesOf(text: string): number {
  let bytes = 0
  for (const [, heap = ''] of text.matchAll(/<heap nr="\d+">(.*?)<\/heap>/gs)) {
    // The block at the end of the arena is in the total, but not in the list.
    let end = sizeOf('total type="rest"', heap)
    for (const [line, total, count] of heap.matchAll(/<(?:size|unsorted) .*?total="(\d+)" count="(\d+)"\/>/g)) {
      const isFast = line.startsWith('<size') && Number(/to="(\d+)"/.exec(line)?.[1]) <= LARGEST_FAST
      if (!isFast) end -= Number(total)
      bytes += Math.max(0, Number(total) - Number(count) * PAGE)
    }
    bytes += Math.max(0, end - PAGE)
  }
  return bytes
}

/** Blocks of fast bins are not in the total of the rest, but in the same list. Largest of them, bytes. */
const LARGEST_FAST = 128

/** Returns the attribute `size` of the last such element; 0 if there is none. */
function sizeOf(element: string, text: string): number {
  const at = text.lastIndexOf(`<${element}`)
  return at === -1 ? 0 : Number(/size="(\d+)"/.exec(text.slice(at))?.[1] ?? 0)
}

/** Which part of the memory of glibc's arenas is in physical memory. */
import fs from 'node:fs'

/** A heap of an arena other than the main one is aligned to this size, and reserves as much. */
const HEAP = 64 * 1024 * 1024

/** A mapping with its resident bytes, from `/proc/PID/smaps`. */
interface Mapping {
  start: number
  end: number
  permissions: string
  path: string
  resident: number
}

/**
 * Returns the bytes of glibc's arenas in this process that are in physical memory. Returns undefined if they cannot be
 * read. Takes a few ms, because the kernel walks the page tables.
 */
export function residentArenaBytes(): number | undefined {
  try {
    return residentBytes(fs.readFileSync('/proc/self/smaps', 'latin1'))
  } catch {
    return undefined
  }
}

/** Does that for the text of `smaps`. */
export function residentBytes(smaps: string): number {
  let sum = 0
  const mappings = [...parse(smaps)]
  for (const [i, { start, end, permissions, path, resident }] of mappings.entries()) {
    const next = mappings[i + 1]
    // The rest of a heap is reserved without access.
    const isArena =
      start % HEAP === 0 && (end === start + HEAP || (next?.start === end && next.permissions.startsWith('---')))
    if (path === '[heap]' || (path === '' && permissions.startsWith('rw') && isArena)) sum += resident
  }
  return sum
}

function* parse(smaps: string): Generator<Mapping> {
  const lines = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)\nSize:.*(?:\n\w+:.*)*?\nRss: +(\d+) kB/gm
  for (const [, start = '', end = '', permissions = '', path = '', resident] of smaps.matchAll(lines)) {
    yield {
      start: Number.parseInt(start, 16),
      end: Number.parseInt(end, 16),
      permissions,
      path,
      resident: Number(resident) * 1024
    }
  }
}

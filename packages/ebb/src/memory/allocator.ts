/** Which allocator serves this process's `malloc`, and how to make it return its free pages. */
import { collectMimalloc, isMusl, purgeJemalloc, releaseTcmalloc, servesMalloc, trimGlibc } from '../sys/malloc.js'

/** Allocators that ebb can tell apart. */
export type AllocatorName = 'glibc' | 'jemalloc' | 'mimalloc' | 'tcmalloc' | 'musl' | 'unknown'

/** The allocator of this process. */
export interface Allocator {
  name: AllocatorName
  /**
   * Returns free pages to the system, in part on another thread if it returns a promise. Undefined for an allocator
   * that has no such call (musl, or an unknown one).
   */
  purge: (() => Promise<void> | void) | undefined
}

/** A function that only this allocator defines, and the call that returns its free pages. */
const KNOWN: readonly { name: AllocatorName; symbol: string; purge: () => Promise<void> | void }[] = [
  { name: 'jemalloc', symbol: 'mallctl', purge: purgeJemalloc },
  { name: 'mimalloc', symbol: 'mi_collect', purge: collectMimalloc },
  { name: 'tcmalloc', symbol: 'MallocExtension_ReleaseFreeMemory', purge: releaseTcmalloc },
  { name: 'glibc', symbol: 'malloc_trim', purge: trimGlibc }
]

let found: Allocator | undefined

/** Returns the allocator of this process. Looks it up at the first call. */
export function allocator(): Allocator {
  found ??= detect()
  return found
}

function detect(): Allocator {
  const known = KNOWN.find(({ symbol }) => servesMalloc(symbol))
  if (known !== undefined) return { name: known.name, purge: known.purge }
  return { name: isMusl() ? 'musl' : 'unknown', purge: undefined }
}

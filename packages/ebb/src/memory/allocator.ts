/** Which allocator serves this process's `malloc`, and how it is asked to return its free pages. */
import * as libc from '../sys/libc.js'

export type AllocatorName = 'glibc' | 'jemalloc' | 'mimalloc' | 'tcmalloc' | 'musl' | 'unknown'

export interface Allocator {
  name: AllocatorName
  /** Returns free pages to the system; undefined where there is no way to ask. */
  purge: (() => void) | undefined
}

/** Functions that return free pages, and whose they are. jemalloc's stands for all arenas: `MALLCTL_ARENAS_ALL`, 4096. */
const PURGES: { name: AllocatorName; symbol: string; purge: () => void }[] = [
  {
    name: 'jemalloc',
    symbol: 'mallctl',
    purge() {
      libc.mallctl?.('thread.tcache.flush', 0, 0, 0, 0)
      libc.mallctl?.('arena.4096.purge', 0, 0, 0, 0)
    }
  },
  { name: 'mimalloc', symbol: 'mi_collect', purge: () => libc.miCollect?.(1) },
  {
    name: 'tcmalloc',
    symbol: 'MallocExtension_ReleaseFreeMemory',
    purge: () => libc.tcmallocRelease?.()
  },
  { name: 'glibc', symbol: 'malloc_trim', purge: () => libc.mallocTrim?.(0) }
]

/** Every allocator has this one. `malloc` itself is no witness: its address can be a stub in Node's program. */
const WITNESS = 'malloc_usable_size'

let found: Allocator | undefined

/**
 * Looked up once. Told by the object that allocates, since a library that was preloaded stands in front of the C
 * library, whose own functions are still there.
 */
export function allocator(): Allocator {
  found ??= detect()
  return found
}

function detect(): Allocator {
  const serving = libc.objectOf(WITNESS)
  for (const { name, symbol, purge } of PURGES) {
    if (serving !== 0 && libc.objectOf(symbol) === serving) return { name, purge }
  }
  // musl returns large blocks at once and keeps small ones: it has no call for them.
  const musl = process.platform === 'linux' && libc.unsupported === undefined && libc.mallocTrim === undefined
  return { name: musl ? 'musl' : 'unknown', purge: undefined }
}

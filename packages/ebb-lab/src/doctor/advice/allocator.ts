/** Advice about malloc, huge pages and other memory that no runtime manages. */
import { bytesOf, countOf, isWorth, onBytes, onCount, type Rule } from './advice.js'

const MALLOPT = 'https://man7.org/linux/man-pages/man3/mallopt.3.html'
const MALLOC_TRIM = 'https://man7.org/linux/man-pages/man3/malloc_trim.3.html'
const THP = 'https://docs.kernel.org/admin-guide/mm/transhuge.html'

/** How a program of a runtime calls `malloc_trim(0)`. */
const TRIM: Partial<Record<string, string>> = {
  node: 'Start it with "node --import ebb/auto": it calls malloc_trim(0) after a spike.',
  python: 'Call ctypes.CDLL("libc.so.6").malloc_trim(0) after a spike, or preload jemalloc (LD_PRELOAD).',
  ruby: 'Preload jemalloc (LD_PRELOAD), or call malloc_trim(0) after GC.start (gem malloc_trim).'
}

const freed: Rule = (found) => {
  const { malloc, runtime, hasAuto } = found
  // With ebb/auto, a release is advised, which returns this as well.
  if (malloc === null || hasAuto || !isWorth(malloc.releasable, found)) return undefined
  return onBytes('malloc-free', 'malloc.releasable', malloc.releasable, {
    text: TRIM[runtime.name] ?? 'Call malloc_trim(0) after a spike, or preload jemalloc (LD_PRELOAD).',
    reason: 'are freed blocks that malloc keeps between blocks in use: malloc_trim(0) returns them',
    source: MALLOC_TRIM
  })
}

const tops: Rule = (found) => {
  const { malloc } = found
  if (malloc === null || !isWorth(malloc.tops, found)) return undefined
  return onBytes('malloc-tops', 'malloc.tops', malloc.tops, {
    text: 'Set MALLOC_TRIM_THRESHOLD_=131072: malloc then returns the end of an arena when it is freed.',
    reason: 'are freed blocks at the ends of arenas of threads: not even malloc_trim(0) returns them',
    source: MALLOPT
  })
}

/** Arenas up to this number are what MALLOC_ARENA_MAX would leave, too. */
const FEW_ARENAS = 2

/** Share of the arenas that must be freed memory. */
const WORTH_FREED = 0.2

const arenas: Rule = (found) => {
  const [bytes, count] = [bytesOf(found, 'arenas'), countOf(found, 'arenas')]
  if (count <= FEW_ARENAS || !isWorth(bytes, found)) return undefined
  const { malloc } = found
  // Arenas that are in use would be in use with any number of them.
  if (malloc !== null && malloc.releasable + malloc.tops < bytes * WORTH_FREED) return undefined
  return onBytes('malloc-arenas', 'parts.arenas', bytes, {
    text: `Set MALLOC_ARENA_MAX=${FEW_ARENAS}: threads then share arenas, and reuse what others have freed.`,
    reason: `are in arenas of threads (${count} heaps): each thread takes from its own, so each keeps free blocks of its spike`,
    source: MALLOPT
  })
}

const jemalloc: Rule = (found) => {
  const bytes = bytesOf(found, 'blocks', 'named')
  if (found.runtime.allocator !== 'jemalloc' || !isWorth(bytes, found)) return undefined
  return onBytes('jemalloc-decay', 'parts.blocks', bytes, {
    text: 'Set MALLOC_CONF=background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0.',
    reason:
      "are in jemalloc's mappings: it returns freed pages only after dirty_decay_ms (10 s), and when it is called",
    source: 'https://github.com/jemalloc/jemalloc/blob/dev/TUNING.md'
  })
}

const huge: Rule = (found) => {
  const { hugePages } = found
  if (hugePages === null || !isWorth(hugePages.empty, found)) return undefined
  return onBytes('huge-pages', 'hugePages.empty', hugePages.empty, {
    text:
      'Set transparent huge pages to madvise (/sys/kernel/mm/transparent_hugepage/enabled), or start the program ' +
      'with prctl(PR_SET_THP_DISABLE).',
    reason: 'of huge pages hold only zeros: the kernel gave a huge page where the program wrote less',
    source: THP
  })
}

const lazy: Rule = (found) => {
  const { lazy: bytes } = found.memory
  if (!isWorth(bytes, found)) return undefined
  return onBytes('lazy-free', 'memory.lazy', bytes, {
    text: 'Do nothing: the kernel takes it when memory is short. With GODEBUG=madvdontneed=1, Go returns it at once.',
    reason: 'are freed with MADV_FREE and count as resident until the kernel needs them',
    source: 'https://man7.org/linux/man-pages/man2/madvise.2.html'
  })
}

const stacks: Rule = (found) => {
  const bytes = bytesOf(found, 'stacks')
  if (!isWorth(bytes, found)) return undefined
  const { count } = found.threads
  const limits: Partial<Record<string, string>> = {
    node: 'Use fewer workers (or resourceLimits.stackSizeMb), and a smaller UV_THREADPOOL_SIZE.',
    java: 'Use fewer threads or virtual threads, and a smaller -Xss.'
  }
  return onBytes('stacks', 'parts.stacks', bytes, {
    text: limits[found.runtime.name] ?? 'Use fewer threads, and less memory on their stacks (ulimit -s bounds it).',
    reason: `are stacks of ${count} threads: a stack keeps every page that it has ever reached`,
    source: 'https://man7.org/linux/man-pages/man3/pthread_attr_setstacksize.3.html'
  })
}

const shared: Rule = (found) => {
  const bytes = bytesOf(found, 'shared')
  if (!isWorth(bytes, found)) return undefined
  return onBytes('shared-memory', 'parts.shared', bytes, {
    text: 'Unmap it and close its descriptor; delete files in /dev/shm, and ipcrm System V segments.',
    reason: 'are shared memory: it stays until nobody maps it and its file is deleted or closed',
    source: 'https://man7.org/linux/man-pages/man7/shm_overview.7.html'
  })
}

/** Share of the allowed mappings above which the limit is near. */
const NEAR_LIMIT = 0.8

const mappings: Rule = ({ mappings: { count, limit } }) => {
  if (limit === null || count < limit * NEAR_LIMIT) return undefined
  return onCount('mappings', 'mappings.count', count, {
    text: 'Raise vm.max_map_count (sysctl), and look for what maps so many small regions.',
    reason: `mappings of ${limit} that the kernel allows: beyond, malloc and thread creation fail with ENOMEM`,
    source: 'https://docs.kernel.org/admin-guide/sysctl/vm.html'
  })
}

export const ALLOCATOR_RULES: readonly Rule[] = [freed, tops, arenas, jemalloc, huge, lazy, stacks, shared, mappings]

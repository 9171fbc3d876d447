/** The C allocator of this process: who serves `malloc`, and the calls that make it return free pages to the system. */
import { M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD } from './constants.js'
import { warn } from './errors.js'
import * as libc from './libc.js'

/** Reason why the allocator cannot be called, such as `koffi cannot be loaded: ...`; undefined if it can. */
export const allocatorFault: string | undefined = libc.unsupported

let faultTold = false

/**
 * Emits the process warning `EBB_UNSUPPORTED` if the allocator cannot be called, once in this thread.
 *
 * @param lost what does not work, the beginning of the message
 */
export function warnOfAllocatorFault(lost: string): void {
  if (allocatorFault === undefined || faultTold) return
  faultTold = true
  warn('EBB_UNSUPPORTED', `${lost}: ${allocatorFault}`)
}

/**
 * A function that every allocator defines. `malloc` itself will not do: its address can be a stub in Node's executable.
 */
const ALLOCATOR_FUNCTION = 'malloc_usable_size'

/**
 * Whether `symbol` comes from the shared object (or program) that serves this process's `malloc`. A preloaded allocator
 * stands in front of the C library, whose own functions can still be found but no longer allocate.
 */
export function servesMalloc(symbol: string): boolean {
  const serving = libc.objectOf(ALLOCATOR_FUNCTION)
  return serving !== 0 && libc.objectOf(symbol) === serving
}

/**
 * Whether this is a Linux C library without `malloc_trim`, that is musl. False where the C library cannot be called.
 */
export function isMusl(): boolean {
  return process.platform === 'linux' && libc.unsupported === undefined && libc.mallocTrim === undefined
}

/** glibc: returns free pages of all arenas to the system. */
export function trimGlibc(): void {
  libc.mallocTrim?.(0)
}

/** glibc: does the same on a thread of libuv's pool. */
export async function trimGlibcOnPool(): Promise<void> {
  if (libc.mallocTrim !== undefined) await libc.callOnPool(libc.mallocTrim, 0)
}

/**
 * jemalloc: returns this thread's cache, then, on a thread of libuv's pool, unused pages of all arenas
 * (`MALLCTL_ARENAS_ALL`, 4096). jemalloc does not hold an arena's lock while it returns pages.
 */
export async function purgeJemalloc(): Promise<void> {
  if (libc.mallctl === undefined) return
  libc.mallctl('thread.tcache.flush', 0, 0, 0, 0)
  await libc.callOnPool(libc.mallctl, 'arena.4096.purge', 0, 0, 0, 0)
}

/** mimalloc: returns this thread's free pages to the system. */
export function collectMimalloc(): void {
  libc.miCollect?.(1)
}

/** tcmalloc (gperftools): returns free pages to the system, on a thread of libuv's pool. */
export async function releaseTcmalloc(): Promise<void> {
  if (libc.tcmallocRelease !== undefined) await libc.callOnPool(libc.tcmallocRelease)
}

/** Thresholds of glibc's `mallopt(3)`, bytes. */
export interface MallocThresholds {
  /** `M_TRIM_THRESHOLD`: free memory at the end of a heap beyond this is returned to the system at once. */
  trim: number
  /** `M_TOP_PAD`: a heap grows by this much more than was asked for. */
  topPad: number
  /** `M_MMAP_THRESHOLD`: a block larger than this is a mapping of its own, which `free` returns to the system. */
  mmap: number
}

/** Sets glibc's thresholds for the whole process. Has no effect with musl. */
export function setMallocThresholds({ trim, topPad, mmap }: MallocThresholds): void {
  libc.mallopt?.(M_TRIM_THRESHOLD, trim)
  libc.mallopt?.(M_TOP_PAD, topPad)
  libc.mallopt?.(M_MMAP_THRESHOLD, mmap)
}

/**
 * Bytes of a block that is larger than glibc's `FASTBIN_CONSOLIDATION_THRESHOLD` (64 KiB), and smaller than any
 * threshold for a mapping of its own. To free it makes glibc look whether the end of its arena can be returned.
 */
const PROBE = 96 * 1024
/** A heap of an arena other than the main one, bytes. It is aligned to its size. */
const HEAP = 64 * 1024 * 1024
/** A thread may take several of the calls of a round, so rounds follow until so many in a row reach no further heap. */
const VAIN_ROUNDS = 3
/** Microseconds that a thread of the pool sleeps, so that the other threads take the other calls. */
const NAP = 300

/** glibc: returns free memory at the end of this thread's arena beyond `M_TRIM_THRESHOLD`. */
export function trimOwnTop(): void {
  const block = libc.malloc?.(PROBE) ?? 0
  if (block !== 0) libc.free?.(block)
}

/**
 * glibc: does the same for the arenas of libuv's pool, whose ends `malloc_trim` leaves alone. Each thread of the pool
 * has an arena of its own. A thread that is busy meanwhile trims its arena by itself when it frees memory.
 */
export async function trimPoolTops(): Promise<void> {
  const { malloc, free, usleep } = libc
  if (malloc === undefined || free === undefined || usleep === undefined) return
  const threads = Math.min(Math.max(Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '4', 10) || 4, 1), 1024)
  const heaps = new Set<number>()
  for (let vain = 0; vain < VAIN_ROUNDS && heaps.size < threads; vain++) {
    const naps = Array.from({ length: threads }, () => libc.callOnPool(usleep, NAP))
    const calls = Array.from({ length: threads }, () => {
      const block = libc.callOnPool(malloc, PROBE)
      naps.push(libc.callOnPool(usleep, NAP))
      return block
    })
    const blocks = await Promise.all(calls)
    await Promise.all(naps)
    const reached = heaps.size
    for (const block of blocks) heaps.add(Math.floor(block / HEAP))
    if (heaps.size > reached) vain = 0
    await Promise.all(blocks.map((block) => libc.callOnPool(free, block)))
  }
}

/** Returns the size of a page, bytes. `proc/sockstat.ts` reads it without koffi, but is larger. */
export function pageSize(): number {
  return libc.getpagesize?.() ?? 4096
}

const MADV_NOHUGEPAGE = 15

/** Marks a mapping, so that it gets no huge pages any more. Those that it has stay. */
export function refuseHugePages(start: number, length: number): void {
  libc.madvise?.(start, length, MADV_NOHUGEPAGE)
}

const RUSAGE_SELF = 0
/**
 * `struct rusage` has 144 bytes. It begins with user and system time, each as seconds and microseconds of 64 bits;
 * `ru_minflt` is at offset 64.
 */
const usage = Buffer.alloc(144)
const usageAddress = libc.addressOf(usage)
const MINOR_FAULTS_AT = 64

/**
 * Reads CPU time and page faults of this process. Returns false where the C library cannot be asked. Makes no object.
 */
export function readUsage(): boolean {
  return libc.getrusage?.(RUSAGE_SELF, usageAddress) === 0
}

/** Minor page faults of this process from its start to the last {@link readUsage}. */
export function minorPageFaults(): number {
  return usage.readUIntLE(MINOR_FAULTS_AT, 6)
}

/** CPU time of all threads of this process from its start to the last {@link readUsage}, ms. */
export function cpuTime(): number {
  const ms = (at: number) => usage.readUIntLE(at, 6) * 1000 + usage.readUIntLE(at + 8, 6) / 1000
  return ms(0) + ms(16)
}

/**
 * Chooses when glibc returns freed memory to the system: at once, or later while a program frees and allocates a lot.
 *
 * By default glibc raises its trim threshold up to 64 MB with the blocks that are freed, and never lowers it.
 * `malloc_trim` does not help, because it trims the end of the main heap only, and V8's threads have heaps of their
 * own. A low threshold returns that memory, but costs a server of large buffers page faults. So ebb sets a low
 * threshold, a high one when there are many page faults, and a low one again at the next release. Figures:
 * docs/performance.md.
 */
import { type MallocThresholds, minorPageFaults, setMallocThresholds } from '../sys/malloc.js'
import { allocator } from './allocator.js'

/** Returns freed memory at once. */
const LOW: MallocThresholds = { trim: 128 * 1024, topPad: 64 * 1024, mmap: 4 * 1024 * 1024 }
/**
 * Keeps freed memory for the next allocation. These are the highest values to which glibc itself raises its thresholds.
 */
const HIGH: MallocThresholds = { trim: 64 * 1024 * 1024, topPad: 128 * 1024, mmap: 32 * 1024 * 1024 }
/** Minor page faults per second from which on the high thresholds are set. They cost about 2 % of a core. */
const MANY_FAULTS = 20_000
/** Page faults are counted over at least this many ms. */
const SHORTEST_WINDOW = 100
/** Milliseconds between two counts with a timer. */
const INTERVAL = 1000

/** Whether whoever started this program chose thresholds. Then ebb does not touch them. */
const isSetByUser =
  Object.keys(process.env).some((name) => /^MALLOC_(TRIM_THRESHOLD|MMAP_THRESHOLD|TOP_PAD)_$/.test(name)) ||
  /glibc\.malloc\.(trim_threshold|mmap_threshold|top_pad)/.test(process.env.GLIBC_TUNABLES ?? '')

let thresholds: MallocThresholds | undefined
let timer: NodeJS.Timeout | undefined
let faults = 0
let countedAt = 0

/**
 * Makes glibc return freed memory at once, as long as that is cheap. Does nothing with another allocator.
 *
 * @param how `timer`: counts page faults once a second with a timer that does not hold the process open. Without it,
 *   the caller calls {@link watchFaults}.
 */
export function tuneAllocator(how: { timer: boolean }): void {
  if (isSetByUser || allocator().name !== 'glibc') return
  if (how.timer) timer ??= setInterval(checkFaults, INTERVAL).unref()
  if (thresholds === undefined) set(LOW)
}

/** Sets the high thresholds if there were many page faults since the last call. Call it about once a second. */
export function watchFaults(): void {
  if (timer === undefined) checkFaults()
}

/** Makes glibc return freed memory at once again. Called when a release begins. */
export function returnAtOnce(): void {
  if (thresholds === HIGH) set(LOW)
}

function checkFaults(): void {
  if (thresholds !== LOW) return
  const now = performance.now()
  const ms = now - countedAt
  if (ms < SHORTEST_WINDOW) return
  const before = faults
  countFaults(now)
  if (((faults - before) * 1000) / ms > MANY_FAULTS) set(HIGH)
}

function set(to: MallocThresholds): void {
  thresholds = to
  setMallocThresholds(to)
  countFaults(performance.now())
}

function countFaults(now: number): void {
  countedAt = now
  faults = minorPageFaults() ?? faults
}

/**
 * Chooses when glibc returns freed memory to the system: at once, or later while a program frees and allocates a lot.
 *
 * By default glibc raises its trim threshold up to 64 MB with the blocks that are freed, and never lowers it.
 * `malloc_trim` does not help, because it trims the end of the main heap only, and other threads have heaps of their
 * own. A low threshold returns that memory, but costs a server of large buffers page faults. So ebb sets a low
 * threshold, a high one while a program faults the same memory in again and again, and a low one as soon as it does
 * not. Figures: docs/performance.md.
 */

import { ownAnonymous } from '../proc/process.js'
import {
  cpuTime,
  type MallocThresholds,
  minorPageFaults,
  pageSize,
  readUsage,
  setMallocThresholds,
  trimOwnTop,
  trimPoolTops
} from '../sys/malloc.js'
import { outside } from '../sys/node/callback-scope.js'
import { allocator } from './allocator.js'

/** Returns freed memory at once. */
const LOW: MallocThresholds = { trim: 128 * 1024, topPad: 64 * 1024, mmap: 4 * 1024 * 1024 }
/**
 * Returns the ends of small heaps, too. V8's threads have four, and `malloc_trim` leaves up to 128 KB at the end of
 * each. That is a share of the memory of a server of `listen()`, which allocates little.
 */
const LOWEST: MallocThresholds = { ...LOW, trim: 32 * 1024, topPad: 0 }
/**
 * Keeps freed memory for the next allocation. These are the highest values to which glibc itself raises its thresholds.
 */
const HIGH: MallocThresholds = { trim: 64 * 1024 * 1024, topPad: 128 * 1024, mmap: 32 * 1024 * 1024 }
/**
 * Minor page faults per second from which on the high thresholds are set: those of memory that the process had before.
 * They cost about 2 % of a core. Memory by which the process grows does not count, because any threshold costs its
 * faults.
 */
const MANY_FAULTS = 20_000
/** Page faults are counted over at least this many ms. */
const SHORTEST_WINDOW = 100
/** Milliseconds between two counts with a timer. */
const INTERVAL = 1000
/** The high thresholds help if they leave at most this share of the page faults per ms of CPU time. */
const HELPFUL_SHARE = 0.7
/** After high thresholds that did not help, ms until they are tried again. */
const PAUSE_AFTER_USELESS = 60_000
/** High thresholds are lowered after this many ms, to see whether they are still needed. */
const LONGEST_HIGH = 60_000
/**
 * The work is over when the process uses less than this share of the highest CPU time since the high thresholds were
 * set, or less than so many ms per second, in so many windows in a row. On a busy machine, it may get less for a while.
 */
const QUIET_SHARE = 0.5
const QUIET_MS = 20
const QUIET_WINDOWS = 2

/** Whether whoever started this program chose thresholds. Then ebb does not touch them. */
const isSetByUser =
  Object.keys(process.env).some((name) => /^MALLOC_(TRIM_THRESHOLD|MMAP_THRESHOLD|TOP_PAD)_$/.test(name)) ||
  /glibc\.malloc\.(trim_threshold|mmap_threshold|top_pad)/.test(process.env.GLIBC_TUNABLES ?? '')

/** The thresholds that return freed memory at once, for this program. */
let low = LOW
/** Those that are set; undefined before {@link tuneAllocator}. */
let thresholds: MallocThresholds | undefined
let timer: NodeJS.Timeout | undefined
/** Whether the ends of heaps may hold memory that the low thresholds would have returned. */
let isRetaining = false

// The present window.
let faults = 0
let cpuMs = 0
let countedAt = 0
/** Anonymous memory when the window began, bytes. */
let held = 0

// The high thresholds.
/** Windows since they were set. */
let windows = 0
let raisedAt = 0
let notBefore = 0
/** Page faults per ms of CPU time before they were set. */
let faultsBefore = 0
/** Windows in which the work seemed over, in a row. */
let quietWindows = 0
/** The most ms of CPU time per second since they were set. */
let highestCpu = 0

/**
 * Makes glibc return freed memory at once, as long as that is cheap. Does nothing with another allocator.
 *
 * @param how `timer`: counts page faults once a second with a timer that does not hold the process open. Without it,
 *   the caller calls {@link watchFaults}. `isSmall`: the caller allocates little. Counts until another caller does not.
 */
export function tuneAllocator(how: { timer: boolean; isSmall?: boolean }): void {
  if (isSetByUser || allocator().name !== 'glibc') return
  if (how.timer) timer ??= outside(() => setInterval(checkFaults, INTERVAL)).unref()
  if (thresholds === undefined || how.isSmall !== true) low = how.isSmall === true ? LOWEST : LOW
  if (thresholds !== HIGH && thresholds !== low) set(low)
}

/**
 * Sets the high thresholds if memory was faulted in again and again since the last call, and the low ones when the work
 * is over. Call it about once a second.
 */
export function watchFaults(): void {
  if (timer === undefined) checkFaults()
}

/** Makes glibc return freed memory at once again. Called when a release begins. */
export function returnAtOnce(): void {
  if (thresholds === HIGH) set(low)
}

/**
 * Returns what the high thresholds have kept at the ends of heaps: of the main thread, and of libuv's pool. Called when
 * a release ends, and when the work is over.
 */
export async function returnRetained(): Promise<void> {
  if (!isRetaining || thresholds === HIGH) return
  isRetaining = false
  trimOwnTop()
  await trimPoolTops()
}

function checkFaults(): void {
  if (thresholds === undefined) return
  const now = performance.now()
  const ms = now - countedAt
  if (ms < SHORTEST_WINDOW) return
  const [faultsThen, cpuThen, heldThen] = [faults, cpuMs, held]
  if (!beginWindow(now)) return
  const perSecond = 1000 / ms
  const cpu = (cpuMs - cpuThen) * perSecond
  // Faults by which the process has grown do not count.
  const again = (faults - faultsThen - Math.max(0, held - heldThen) / pageSize()) * perSecond
  if (thresholds === low) {
    if (again > MANY_FAULTS && now >= notBefore) raise(again / cpu, now)
    return
  }
  windows++
  highestCpu = Math.max(highestCpu, cpu)
  const isQuiet = cpu < Math.max(QUIET_MS, QUIET_SHARE * highestCpu)
  quietWindows = isQuiet ? quietWindows + 1 : 0
  // In the first window, the heaps grow to the size that they then keep.
  const isUseless = windows > 1 && !isQuiet && again > HELPFUL_SHARE * faultsBefore * cpu
  if (isUseless) notBefore = now + PAUSE_AFTER_USELESS
  else if (quietWindows < QUIET_WINDOWS && now - raisedAt <= LONGEST_HIGH) return
  set(low)
  void returnRetained()
}

function raise(faultsPerMs: number, now: number): void {
  faultsBefore = faultsPerMs
  highestCpu = 0
  raisedAt = now
  windows = 0
  quietWindows = 0
  isRetaining = true
  set(HIGH)
}

function set(to: MallocThresholds): void {
  thresholds = to
  setMallocThresholds(to)
  beginWindow(performance.now())
}

/** Starts to count. Returns false where the kernel cannot be asked. */
function beginWindow(now: number): boolean {
  countedAt = now
  if (!readUsage()) return false
  faults = minorPageFaults()
  cpuMs = cpuTime()
  held = ownAnonymous()
  return true
}

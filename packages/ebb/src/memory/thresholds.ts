/**
 * When glibc returns what was freed at the end of its heaps: at once where that is cheap, later where it is wanted again at once.
 *
 * By default it lets the threshold grow, up to 64 MB, with the blocks that are freed, and never lowers it; `malloc_trim` takes the free end off the main
 * heap alone, and V8's threads have heaps of their own (10,000 sockets that came and went: 0.9 MB less; `net` between small pulses: 2 MB
 * less). A server of large buffers pays for a low threshold with page faults: Fastify with answers of 5 MB on Node 26, 4,400 faults and 25 ms for each in
 * place of 400 and 20. So it is low until faults are many, and from the next give-back on.
 */
import * as libc from '../sys/libc.js'
import { allocator } from './allocator.js'

/** Bytes. `fromHeap`: larger blocks are mappings of their own; `pad`: by so much more than is asked for a heap grows. The second are the highest to which glibc itself lets them grow. */
const LOW = { trim: 128 * 1024, pad: 64 * 1024, fromHeap: 4 * 1024 * 1024 }
const HIGH = { trim: 64 * 1024 * 1024, pad: 128 * 1024, fromHeap: 32 * 1024 * 1024 }
/** So many page faults in a second are too many: about two hundredths of a core. (`net` with 10,000 connections: 6,000.) */
const MANY_FAULTS = 20_000
/** Faults are counted over so many ms, at least. */
const SHORTEST = 100
const EVERY = 1000

/** `struct rusage` is 144 bytes; `ru_minflt` stands at 64. */
const usage = Buffer.alloc(144)
const usageAt = libc.addressOf(usage)
const MINOR_FAULTS_AT = 64
const RUSAGE_SELF = 0

/** Whoever starts the program with thresholds of his own has them. */
const isSet =
  Object.keys(process.env).some((name) => /^MALLOC_(TRIM_THRESHOLD|MMAP_THRESHOLD|TOP_PAD)_$/.test(name)) ||
  /glibc\.malloc\.(trim_threshold|mmap_threshold|top_pad)/.test(process.env.GLIBC_TUNABLES ?? '')

let thresholds: typeof LOW | undefined
let timer: NodeJS.Timeout | undefined
let faults = 0
let at = 0

/** Has memory returned at once, as long as that is cheap: whoever calls this calls {@link watchFaults}, too, or lets a timer do it. */
export function tuneAllocator(how: { timer: boolean }): void {
  if (isSet || allocator().name !== 'glibc') return
  if (how.timer) timer ??= setInterval(countFaults, EVERY).unref()
  if (thresholds === undefined) set(LOW)
}

/** To be called now and then, once a second or so. */
export function watchFaults(): void {
  if (timer === undefined) countFaults()
}

/** Has memory returned at once from now on: a give-back begins. */
export function returnAtOnce(): void {
  if (thresholds === HIGH) set(LOW)
}

function countFaults(): void {
  if (thresholds !== LOW) return
  const now = performance.now()
  if (now - at < SHORTEST) return
  const before = faults
  const ms = now - at
  count(now)
  if (((faults - before) * 1000) / ms > MANY_FAULTS) set(HIGH)
}

function set(to: typeof LOW): void {
  thresholds = to
  libc.mallopt?.(libc.M_TRIM_THRESHOLD, to.trim)
  libc.mallopt?.(libc.M_TOP_PAD, to.pad)
  libc.mallopt?.(libc.M_MMAP_THRESHOLD, to.fromHeap)
  count(performance.now())
}

function count(now: number): void {
  at = now
  if (libc.getrusage?.(RUSAGE_SELF, usageAt) === 0) faults = usage.readUIntLE(MINOR_FAULTS_AT, 6)
}

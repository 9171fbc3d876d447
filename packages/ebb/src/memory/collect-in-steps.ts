/**
 * Collecting garbage in steps: V8 marks what lives while the program goes on, mostly on other threads, and stops it for the end alone.
 *
 * There is no call for that. V8 begins such a collection by itself when the memory outside its heap, that of buffers, has grown by
 * 64 MiB since the last one (`kExternalAllocationSoftLimit`, `Heap::HandleExternalMemoryInterrupt`); so a buffer of that size is made, which
 * takes no memory as long as nobody writes to it, and let go of as soon as marking has begun. Whether the young generation shrinks with it,
 * and free pages are returned and not kept at hand, V8 decides at that moment, too: it does when it is to be small rather than fast
 * (`--optimize-for-size`, `Heap::ShouldOptimizeForMemoryUsage`), which it is told for that moment alone.
 *
 * 10,000 closed `net` sockets on Node 20 and 26: one collection in place of two, a third of the pause or less, a little less of the processor (43 ms of all
 * threads in place of 47), and 1 MB more that stays.
 */
import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { MessageChannel } from 'node:worker_threads'
import { threadTime, threadTimeSince } from '../sys/thread-time.js'

/** More than V8's limit of 64 MiB (bytes). */
const BUFFER = 80_000_000
/** Marking that goes on for longer (ms) is not waited for. */
const LONGEST = 10_000

const SMALL = 'optimize-for-size'
/** Whoever starts Node with that flag, or with one that brings it, has it on, or off, for good. */
const isSet = process.execArgv.some((flag) => /optimize[-_]for[-_]size|lite[-_]mode/.test(flag))

/** A collection in steps; ms. */
export interface Steps {
  /** The longest time that it stopped the program: its beginning, or its end. */
  pauseMs: number
  /**
   * What this thread worked for both of them: no more than they took, nor than it worked in all meanwhile. What was marked in between, in steps
   * of a millisecond or less, is not told apart from the program.
   */
  workMs: number
}

/**
 * Resolves when V8 has collected. Does not hold the process open.
 *
 * @returns undefined where V8 cannot be brought to it: no room for the buffer (`ulimit -v`), or another runtime
 */
export async function collectInSteps(): Promise<Steps | undefined> {
  const collected = watch()
  const start = performance.now()
  const working = threadTime()
  if (!begin()) {
    collected.stop()
    return undefined
  }
  const beginMs = performance.now() - start
  const endMs = await collected.after(start)
  if (endMs === undefined) return undefined
  const mostMs = threadTimeSince(working) ?? Number.POSITIVE_INFINITY
  return { pauseMs: Math.max(beginMs, endMs), workMs: Math.min(beginMs + endMs, mostMs) }
}

/**
 * To be called before the program's own code is optimised. When the first buffer of a process is let go of ({@link letGo}), V8 throws away all optimised code
 * that reads typed arrays, which took it for granted that their buffers stay; Node's ticks and asynchronous contexts are such code. So the first one goes
 * when there is none yet. (`net` on Node 26: 19 functions are not optimised twice.)
 */
export function prepareSteps(): void {
  letGo(new ArrayBuffer(8))
}

/** Has V8 begin to mark. False where there is no room for it. */
function begin(): boolean {
  let buffer: ArrayBuffer
  try {
    if (!isSet) setFlagsFromString(`--${SMALL}`)
  } catch {
    return false
  }
  try {
    buffer = new ArrayBuffer(BUFFER)
    // V8 sees to what has come up meanwhile where a function begins.
    entered()
  } catch {
    return false
  } finally {
    if (!isSet) setFlagsFromString(`--no-${SMALL}`)
  }
  letGo(buffer)
  return true
}

function entered(): void {}

/** Frees its memory now, and not when it is collected: V8 would take the rest of the marking for urgent. */
function letGo(buffer: ArrayBuffer & { transfer?(length: number): ArrayBuffer }): void {
  if (buffer.transfer !== undefined) {
    buffer.transfer(0)
    return
  }
  // Node 20: what is sent to nobody is gone.
  const { port1 } = new MessageChannel()
  port1.close()
  port1.postMessage(undefined, [buffer])
}

/**
 * Looks for the end of a collection of the whole heap, and for how long it stopped the program (ms). To be called before it begins. 0 for one
 * that goes on for longer than anybody waits; undefined for one that never began.
 */
function watch(): { after(start: number): Promise<number | undefined>; stop(): void } {
  let ended = (_ms: number | undefined): void => {}
  let from = Number.POSITIVE_INFINITY
  let begun = false
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { startTime, duration, detail } = entry as PerformanceEntry & { detail: { kind: number } }
      if (detail.kind === constants.NODE_PERFORMANCE_GC_INCREMENTAL) begun = true
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR && startTime + duration >= from) ended(duration)
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return {
    after(start) {
      from = start
      return new Promise<number | undefined>((resolve) => {
        const timer = setTimeout(() => ended(begun ? 0 : undefined), LONGEST)
        timer.unref()
        ended = (ms) => {
          clearTimeout(timer)
          observer.disconnect()
          resolve(ms)
        }
      })
    },
    stop: () => observer.disconnect()
  }
}

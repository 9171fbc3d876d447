/**
 * Collects garbage in steps: V8 marks live objects while the program runs, mostly on other threads, and pauses the
 * program only at the end.
 *
 * V8 has no call for that. It begins such a collection by itself when memory outside its heap (buffers) has grown by 64
 * MiB since the last one: `kExternalAllocationSoftLimit`, `Heap::HandleExternalMemoryInterrupt`. So this file makes a
 * larger buffer, which takes no memory because nobody writes to it, and frees it as soon as marking has begun.
 *
 * At that moment V8 also decides whether to shrink the young generation and return free pages. It does so if it is told
 * to prefer size over speed (`--optimize-for-size`, `Heap::ShouldOptimizeForMemoryUsage`), so that flag is set for that
 * moment only. Figures: docs/performance.md.
 */
import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { threadTime, threadTimeSince } from '../sys/thread-time.js'
import { detachBuffer } from './detach-buffer.js'

/** Bytes of the buffer: more than V8's limit of 64 MiB. */
const BUFFER_SIZE = 80_000_000
/** Marking that takes longer than this many ms is not waited for. */
const LONGEST_MARKING = 10_000

const SMALL = 'optimize-for-size'
/** Whether Node was started with that flag, or with a flag that implies it. Then it is left as it is. */
const isSetByUser = process.execArgv.some((flag) => /optimize[-_]for[-_]size|lite[-_]mode/.test(flag))

/** The cost of a collection, ms. */
export interface CollectionCost {
  /** The longest time that it paused the event loop: when it began, or when it ended. */
  pauseMs: number
  /**
   * CPU time of this thread for both pauses. Marking in between takes steps of 1 ms or less, which cannot be told from
   * the program's own work.
   */
  workMs: number
}

/**
 * Collects in steps and resolves when V8 has finished. Does not hold the process open.
 *
 * @returns undefined if V8 cannot be made to: there is no room for the buffer (`ulimit -v`), or it is another runtime
 */
export async function collectInSteps(): Promise<CollectionCost | undefined> {
  const collection = observeCollection()
  const start = performance.now()
  const cpuStart = threadTime()
  if (!beginMarking()) {
    collection.stop()
    return undefined
  }
  const beginMs = performance.now() - start
  const endMs = await collection.end(start)
  if (endMs === undefined) return undefined
  // The pauses are wall-clock time. This thread cannot have worked for longer than its CPU time.
  const mostMs = threadTimeSince(cpuStart) ?? Number.POSITIVE_INFINITY
  return { pauseMs: Math.max(beginMs, endMs), workMs: Math.min(beginMs + endMs, mostMs) }
}

/** Makes V8 begin to mark. Returns false if there is no room for the buffer. */
function beginMarking(): boolean {
  let buffer: ArrayBuffer
  try {
    if (!isSetByUser) setFlagsFromString(`--${SMALL}`)
  } catch {
    return false
  }
  try {
    buffer = new ArrayBuffer(BUFFER_SIZE)
    // V8 handles pending interrupts at the start of a function.
    emptyFunction()
  } catch {
    return false
  } finally {
    if (!isSetByUser) setFlagsFromString(`--no-${SMALL}`)
  }
  // Now, not when it is collected: V8 would take the rest of the marking for urgent.
  detachBuffer(buffer)
  return true
}

function emptyFunction(): void {}

/** A collection of the whole heap that is about to begin. */
interface Collection {
  /**
   * Resolves with the ms of the final pause. Resolves with 0 if marking takes longer than 10 s, and with undefined if
   * no collection has begun by then.
   */
  end(start: number): Promise<number | undefined>
  /** Stops observing. */
  stop(): void
}

function observeCollection(): Collection {
  let onEnd = (_ms: number | undefined): void => {}
  let from = Number.POSITIVE_INFINITY
  let hasBegun = false
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { startTime, duration, detail } = entry as PerformanceEntry & { detail: { kind: number } }
      if (detail.kind === constants.NODE_PERFORMANCE_GC_INCREMENTAL) hasBegun = true
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR && startTime + duration >= from) onEnd(duration)
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return {
    end(start) {
      from = start
      return new Promise<number | undefined>((resolve) => {
        const timer = setTimeout(() => onEnd(hasBegun ? 0 : undefined), LONGEST_MARKING)
        timer.unref()
        onEnd = (ms) => {
          clearTimeout(timer)
          observer.disconnect()
          resolve(ms)
        }
      })
    },
    stop: () => observer.disconnect()
  }
}

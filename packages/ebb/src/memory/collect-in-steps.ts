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
import { detachBuffer } from './detach-buffer.js'
import type { Cost } from './pause.js'

/** Bytes of the buffer: more than V8's limit of 64 MiB. */
const BUFFER_SIZE = 80_000_000
/** Marking that takes longer than this many ms is not waited for. */
const LONGEST_MARKING = 10_000

const SMALL = 'optimize-for-size'
/** Whether Node was started with that flag, or with a flag that implies it. Then it is left as it is. */
const isSetByUser = process.execArgv.some((flag) => /optimize[-_]for[-_]size|lite[-_]mode/.test(flag))

/**
 * Collects in steps and resolves when V8 has finished, with the cost of its two pauses: when it began, and when it
 * ended. Marking in between takes steps of 1 ms or less, which cannot be told from the program's own work. Does not
 * hold the process open.
 *
 * If V8 is marking already, it takes for alive what was alive when it began. So a second collection follows.
 *
 * @param cpuTime returns the CPU time of this thread in ms. A parameter, because worker threads that only collect must
 *   not load koffi
 * @returns undefined if V8 cannot be made to: there is no room for the buffer (`ulimit -v`), or it is another runtime
 */
export async function collectInSteps(cpuTime: () => number | undefined = () => undefined): Promise<Cost | undefined> {
  const first = await collectOnce(cpuTime)
  if (first === undefined || first.isOwn) return first
  const second = await collectOnce(cpuTime)
  if (second === undefined) return first
  return { pauseMs: Math.max(first.pauseMs, second.pauseMs), workMs: first.workMs + second.workMs }
}

async function collectOnce(cpuTime: () => number | undefined): Promise<(Cost & { isOwn: boolean }) | undefined> {
  const collection = observeCollection()
  const start = performance.now()
  const cpuStart = cpuTime()
  if (!beginMarking()) {
    collection.stop()
    return undefined
  }
  const beginMs = performance.now() - start
  const end = await collection.end(start)
  if (end === undefined) return undefined
  // The pauses are wall-clock time. This thread cannot have worked for longer than its CPU time.
  const cpuEnd = cpuTime()
  const mostMs = cpuStart === undefined || cpuEnd === undefined ? Number.POSITIVE_INFINITY : cpuEnd - cpuStart
  const workMs = Math.min(beginMs + end.ms, mostMs)
  return { pauseMs: Math.max(beginMs, end.ms), workMs, isOwn: end.isOwn }
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
   * Resolves with the ms of the final pause, and whether marking began after `start`. Resolves with 0 ms if marking
   * takes longer than 10 s, and with undefined if no collection has begun by then.
   */
  end(start: number): Promise<{ ms: number; isOwn: boolean } | undefined>
  /** Stops observing. */
  stop(): void
}

function observeCollection(): Collection {
  let onEnd = (_ms: number | undefined): void => {}
  let from = Number.POSITIVE_INFINITY
  let hasBegun = false
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntriesByType('gc').sort(byStart)) {
      const { startTime, duration, detail } = entry as PerformanceEntry & { detail: { kind: number } }
      if (startTime + duration < from) continue
      if (detail.kind === constants.NODE_PERFORMANCE_GC_INCREMENTAL) hasBegun = true
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) onEnd(duration)
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return {
    end(start) {
      from = start
      return new Promise((resolve) => {
        const timer = setTimeout(() => onEnd(hasBegun ? 0 : undefined), LONGEST_MARKING)
        timer.unref()
        onEnd = (ms) => {
          clearTimeout(timer)
          observer.disconnect()
          resolve(ms === undefined ? undefined : { ms, isOwn: hasBegun })
        }
      })
    },
    stop: () => observer.disconnect()
  }
}

function byStart(a: PerformanceEntry, b: PerformanceEntry): number {
  return a.startTime - b.startTime
}

/**
 * Keeps collections from disturbing worker threads that are busy. A worker thread may collect if its pause will be
 * short, or if it is idle: then nobody waits for it.
 *
 * How much of its heap is alive is not known. So the whole heap counts as alive, which leaves out busy workers with a
 * large heap. V8 collects these by itself, because they are busy.
 */
import { performance } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import { AT_ONCE, estimatePause } from './pause.js'

/** A worker thread that works for less than this share of the next {@link WINDOW} is idle. */
const IDLE_SHARE = 0.02
/** Milliseconds for which a worker thread with a large heap is watched. */
const WINDOW = 250

/** Whether this thread may collect in steps. */
export async function mayCollect(maxPause: number): Promise<boolean> {
  if (estimatePause(getHeapStatistics().used_heap_size, true) <= maxPause) return true
  const before = performance.eventLoopUtilization()
  await new Promise((resolve) => {
    setTimeout(resolve, WINDOW).unref()
  })
  return performance.eventLoopUtilization(before).utilization < IDLE_SHARE
}

/**
 * Returns an expression that asks the same about a collection at once, for a worker thread that has not loaded this
 * library. The worker evaluates it to a promise.
 */
export function mayCollectScript(maxPause: number): string {
  return `(async () => {
    const { getBuiltinModule: load } = process
    if (${AT_ONCE.empty} + (${AT_ONCE.perMb} * load('v8').getHeapStatistics().used_heap_size) / 1e6 <= ${maxPause}) return true
    const { performance } = load('perf_hooks')
    const before = performance.eventLoopUtilization()
    await new Promise((resolve) => load('timers').setTimeout(resolve, ${WINDOW}).unref())
    return performance.eventLoopUtilization(before).utilization < ${IDLE_SHARE}
  })()`
}

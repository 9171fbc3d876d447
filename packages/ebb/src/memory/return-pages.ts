/** The second half of a release: makes the allocator return its free pages, without stopping the program for long. */
import { getHeapStatistics } from 'node:v8'
import { isMainThread } from 'node:worker_threads'
import { ownAnonymous } from '../proc/process.js'
import { MainArenaTrim } from '../sys/main-arena.js'
import { pageSize, trimGlibcOnPool } from '../sys/malloc.js'
import { threadTime, threadTimeSince } from '../sys/thread-time.js'
import { allocator } from './allocator.js'
import type { Cost } from './pause.js'

/** Milliseconds of a step, and of the pause after it. */
const STEP = 4
/** With at most this many bytes outside of V8's heap, `malloc_trim` takes a few ms, and no steps are needed. */
const SMALL = 32_000_000

/** Duration of the last `malloc_trim` on this thread, ms. It is long if there are many free blocks, however small. */
let lastTrim = 0

/** Makes the allocator return its free pages. Does nothing for one that has no call for it. */
export async function returnPages(): Promise<Cost> {
  if (allocator().name === 'glibc' && isMainThread && expectedTrimPause() >= STEP) return trimInSteps()
  const start = performance.now()
  const cpuStart = threadTime()
  const pending = allocator().purge?.()
  const pauseMs = performance.now() - start
  const workMs = threadTimeSince(cpuStart) ?? pauseMs
  lastTrim = Math.min(pauseMs, workMs)
  await pending
  return { pauseMs, workMs }
}

/** Returns the pause, ms, by which the trim of a release would stop the event loop. */
export function expectedTrimPause(): number {
  const outsideOfHeap = ownAnonymous() - getHeapStatistics().total_physical_size
  return outsideOfHeap > SMALL ? STEP : Math.min(lastTrim, STEP)
}

async function trimInSteps(): Promise<Cost> {
  const arena = new MainArenaTrim(pageSize())
  const cost = { pauseMs: 0, workMs: 0 }
  await inSteps((ms) => arena.empty(ms), cost)
  // The main arena has no free blocks meanwhile, so this goes over the other arenas only.
  await trimGlibcOnPool()
  await inSteps((ms) => arena.free(ms), cost)
  lastTrim = cost.workMs
  return cost
}

/** Calls `step` until it returns false. The program runs for as long between two steps. */
async function inSteps(step: (ms: number) => boolean, cost: Cost): Promise<void> {
  for (let goesOn = true; goesOn; ) {
    const start = performance.now()
    const cpuStart = threadTime()
    goesOn = step(STEP)
    const ms = performance.now() - start
    cost.pauseMs = Math.max(cost.pauseMs, ms)
    cost.workMs += threadTimeSince(cpuStart) ?? ms
    await new Promise((resolve) => {
      setTimeout(resolve, STEP).unref()
    })
  }
}

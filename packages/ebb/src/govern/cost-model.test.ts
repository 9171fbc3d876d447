import { getHeapSpaceStatistics, getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Release } from '../memory/release.js'
import type { CostModel } from './cost-model.js'

const SETTLE = 30
const MB = 1_000_000

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/**
 * Collects garbage in a later turn of the event loop, because the target of a new WeakRef lives until its turn is over.
 */
async function collect(): Promise<void> {
  await new Promise(setImmediate)
  gc()
}

/** Bytes of machine code that V8 reports before the next release, and after it. */
let code = { before: 0, after: 0 }
let codeNow = 0
let model: CostModel
/** The result of the next release. */
let next: Release
/** CPU time of other threads up to now, ms, and what they use in the next release. */
let others = 0
let nextOthers = 0
/** Milliseconds that the next release takes. */
let nextMs = 0
let notify: (done: Release) => void

/** The result of a release that paused for `pauseMs` and returned `returned` bytes of 100 MB. */
function outcome(pauseMs: number, returned: number, cpuMs = pauseMs): Release {
  const afterTrim = 100 * MB - returned
  return {
    before: 100 * MB,
    afterCollect: afterTrim,
    afterTrim,
    ms: pauseMs + SETTLE,
    pauseMs,
    trimPauseMs: 0,
    cpuMs,
    inSteps: true,
    collected: true,
    allocator: 'glibc',
    workers: 0,
    busyWorkers: 0
  }
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  vi.advanceTimersByTime(1000)
  vi.resetModules()
  delete (globalThis as Record<symbol, unknown>)[Symbol.for('ebb.cost-model.2')]
  code = { before: 0, after: 0 }
  vi.doMock('node:v8', async (original) => ({
    ...(await original<object>()),
    getHeapSpaceStatistics: () => [
      { space_name: 'old_space', space_used_size: 5 * MB },
      { space_name: 'code_space', space_used_size: codeNow },
      { space_name: 'code_large_object_space', space_used_size: MB }
    ]
  }))
  others = 0
  nextOthers = 0
  nextMs = 0
  vi.doMock('../sys/thread-time.js', () => ({ otherThreadsTime: () => others }))
  vi.doMock('../memory/release.js', () => ({
    onReleased: (listener: typeof notify) => {
      notify = listener
    },
    releaseUnheld: async () => {
      codeNow = code.after
      others += nextOthers
      vi.advanceTimersByTime(nextMs)
      notify(next)
      return next
    }
  }))
  model = (await import('./cost-model.js')).costModel()
})

afterEach(() => {
  vi.doUnmock('../memory/release.js')
  vi.doUnmock('../sys/thread-time.js')
  vi.doUnmock('node:v8')
  vi.useRealTimers()
})

async function releaseOnce(pauseMs: number, returned: number, budget = 0.01, cpuMs = pauseMs): Promise<void> {
  next = outcome(pauseMs, returned, cpuMs)
  codeNow = code.before
  await model.release(budget, MB)
}

describe('the budget', () => {
  test('delays the next release until the cost of the last one is within the share', async () => {
    const start = performance.now()
    await releaseOnce(50, 10 * MB)
    expect(model.earliest - start).toBeCloseTo(5000)
    await releaseOnce(50, 10 * MB, 0.1)
    // Two releases are at least 1 s apart.
    expect(model.earliest - start).toBeCloseTo(1000)
  })

  test('time in which nothing was to be paid counts, up to 5 s', async () => {
    vi.advanceTimersByTime(3000)
    await releaseOnce(50, 10 * MB)
    expect(model.earliest - performance.now()).toBeCloseTo(2000)
    vi.advanceTimersByTime(60_000)
    await releaseOnce(100, 40 * MB)
    const released = performance.now()
    expect(model.earliest - released).toBeCloseTo(5000)
    // 100 ms, and 0.8 ms per MB.
    model.onHeld(100 * MB)
    expect(model.earliestAfterSpike - released).toBeCloseTo(5000 + 3200)
    // Over all time, no more than the budget is used.
    const start = performance.now()
    for (let i = 0; i < 20; i++) {
      vi.advanceTimersByTime(Math.max(0, model.earliest - performance.now()))
      await releaseOnce(50, 10 * MB)
    }
    expect(performance.now() - start).toBeGreaterThanOrEqual(19 * 5000)
  })

  test('counts the CPU time of other threads that help', async () => {
    nextOthers = 150
    model.onSample(0, 0, 0)
    await releaseOnce(50, 10 * MB)
    expect(model.earliest - performance.now()).toBeCloseTo(20_000)
  })

  test('does not count what the threads of the program use anyway', async () => {
    nextOthers = 450
    nextMs = 200
    // Two workers that are busy: 400 ms in 200 ms. The other 50 ms are help.
    model.onSample(0, 0, 2)
    // A sample with less work in between does not make the program's work look like help.
    model.onSample(0, 0, 1)
    const start = performance.now()
    await releaseOnce(50, 10 * MB)
    expect(model.earliest - start).toBeCloseTo(10_000)
    nextOthers = 0
    await releaseOnce(50, 10 * MB)
    expect(model.earliest - performance.now()).toBeCloseTo(5000)
  })

  test('where the load is not known, help is at most three times the work of this thread', async () => {
    nextOthers = 1000
    await releaseOnce(50, 10 * MB)
    expect(model.earliest - performance.now()).toBeCloseTo(20_000)
  })

  test('memory that is faulted back in soon adds to the cost', async () => {
    await releaseOnce(5, 40 * MB)
    const released = performance.now()
    expect(model.earliestAfterSpike - released).toBeCloseTo(1000)
    vi.advanceTimersByTime(500)
    // Less than half of it may be ordinary traffic.
    model.onHeld(79 * MB)
    expect(model.earliestAfterSpike - released).toBeCloseTo(1000)
    model.onHeld(80 * MB)
    // 5 ms, and 0.8 ms per MB.
    expect(model.earliestAfterSpike - released).toBeCloseTo(3700)
    // It does not delay a release when memory is short.
    expect(model.earliest - released).toBeCloseTo(1000)
  })

  test('optimised code that was thrown away adds to the cost, because it is compiled again', async () => {
    code = { before: MB + 256 * 1024 + 100_000, after: MB }
    await releaseOnce(5, 40 * MB)
    const released = performance.now()
    expect(model.earliestAfterSpike - released).toBeCloseTo(1000)
    model.onHeld(80 * MB)
    // 0.75 ms per KB, except for the page that means nothing.
    expect(model.earliestAfterSpike - released).toBeCloseTo(3700 + 7500)
    code = { before: MB, after: MB - 256 * 1024 }
    await releaseOnce(5, 40 * MB)
    const again = performance.now()
    model.onHeld(80 * MB)
    expect(model.earliestAfterSpike - again).toBeCloseTo(3700)
  })

  test('memory that is faulted back in delays the next release by at most 30 s', async () => {
    code = { before: 2 * MB, after: MB }
    await releaseOnce(5, 90 * MB)
    const released = performance.now()
    model.onHeld(100 * MB)
    expect(model.earliestAfterSpike - released).toBeCloseTo(30_000)
  })

  test('code that went in a release by somebody else is not counted', async () => {
    code = { before: 3 * MB, after: 2 * MB }
    await releaseOnce(5, 40 * MB)
    notify(outcome(5, 40 * MB))
    const released = performance.now()
    model.onHeld(80 * MB)
    expect(model.earliestAfterSpike - released).toBeCloseTo(3700)
  })

  test('V8 reports a heap space of that name', () => {
    const spaces = getHeapSpaceStatistics().filter(({ space_name }) => space_name === 'code_space')
    expect(spaces).toHaveLength(1)
    expect(spaces[0]?.space_used_size).toBeGreaterThan(0)
  })

  test('memory that grows again after 30 s is no cost of the release', async () => {
    await releaseOnce(20, 40 * MB)
    const { earliestAfterSpike } = model
    vi.advanceTimersByTime(30_000)
    model.onHeld(100 * MB)
    expect(model.earliestAfterSpike).toBe(earliestAfterSpike)
  })

  test('there is no other release while one is under way', () => {
    next = outcome(10, MB)
    const releasing = model.release(0.01, MB)
    expect(model.earliest).toBe(Number.POSITIVE_INFINITY)
    return releasing
  })
})

describe('the backoff', () => {
  /** Milliseconds that the next release must wait while the process holds `held` bytes. */
  function wait(held: number): number {
    const start = performance.now()
    let ms = 0
    while (model.isBackingOff(start + ms, held)) ms += 100
    return ms
  }

  test('doubles while releases return little, up to 10 minutes', async () => {
    const waits: number[] = []
    for (let i = 0; i < 12; i++) {
      await releaseOnce(10, 0)
      waits.push(wait(100 * MB))
    }
    expect(waits.slice(0, 4)).toEqual([2000, 4000, 8000, 16_000])
    expect(waits.slice(-2)).toEqual([600_000, 600_000])
  })

  test('starts again after a release that returns something', async () => {
    for (let i = 0; i < 5; i++) await releaseOnce(10, 0)
    await releaseOnce(10, 2 * MB)
    expect(wait(100 * MB)).toBe(1000)
    await releaseOnce(10, 0)
    expect(wait(100 * MB)).toBe(2000)
  })

  test('ends when memory has grown by half', async () => {
    for (let i = 0; i < 5; i++) await releaseOnce(10, 0)
    expect(wait(149 * MB)).toBeGreaterThan(1000)
    expect(wait(150 * MB)).toBe(0)
  })
})

describe('the estimated pause', () => {
  const hold = (count: number) => Array.from({ length: count }, (_, i) => ({ i, text: `${i}` }))

  test('follows a longer pause at once and a shorter one slowly', async () => {
    await releaseOnce(10, 0)
    const first = model.pause()
    await releaseOnce(30, 0)
    const long = model.pause()
    expect(long / first).toBeCloseTo(3, 0)
    await releaseOnce(10, 0)
    expect(model.pause()).toBeLessThan(long)
    expect(model.pause()).toBeGreaterThan(long / 2)
    for (let i = 0; i < 30; i++) await releaseOnce(10, 0)
    expect(model.pause() / first).toBeCloseTo(1, 0)
  })

  test('ignores time in which the thread waited for a core', async () => {
    await releaseOnce(20, 0)
    const before = model.pause()
    await releaseOnce(300, 0, 0.01, 10)
    expect(model.pause() / before).toBeCloseTo(1, 0)
  })

  test('learns nothing from a release that left the heap alone', async () => {
    await releaseOnce(20, 0)
    const before = model.pause()
    next = { ...outcome(0, 50 * MB), collected: false, inSteps: false }
    await model.release(0.01, MB)
    expect(model.pause() / before).toBeCloseTo(1, 0)
    expect(model.floor).toBe(50 * MB)
  })

  test('grows with the live heap', async () => {
    await releaseOnce(10, 0)
    const before = model.pause()
    const held = hold(1_000_000)
    expect(model.pause()).toBeGreaterThan(1.3 * before)
    expect(held).toHaveLength(1_000_000)
  })

  test('assumes that objects have gone with their crowd, within a risk', async () => {
    await collect()
    await releaseOnce(20, 0)
    let held: object[] | undefined = hold(1_500_000)
    model.onSample(1000)
    await collect()
    model.onSample(1000)
    const crowded = model.pause()
    model.onSample(100)
    const gone = model.pause()
    expect(gone).toBeLessThan(crowded / 2)
    const limit = 0.9 * crowded
    expect(model.isShort(performance.now(), limit)).toBe(true)
    // The pause would be far too long if they had not gone.
    expect(model.isShort(performance.now(), 0.7 * crowded)).toBe(false)
    expect(held).toHaveLength(1_500_000)
    held = undefined
    // After a collection by V8 it is certain.
    await collect()
    model.onSample(100)
    expect(model.isShort(performance.now(), limit)).toBe(true)
    expect(model.pause()).toBeLessThan(crowded / 2)
  })

  test('an estimate that prevents releases is lowered until something is learned', async () => {
    const held = hold(1_000_000)
    await collect()
    model.onSample(100)
    const estimated = model.pause()
    const minutesLater = (minutes: number) => {
      expect(model.isShort(performance.now(), 1)).toBe(false)
      vi.advanceTimersByTime(minutes * 60_000)
      expect(model.isShort(performance.now(), 1)).toBe(false)
      return model.pause()
    }
    expect(minutesLater(0.5) / estimated).toBeCloseTo(Math.SQRT1_2, 1)
    // It has a lower bound.
    expect(minutesLater(100) / estimated).toBeCloseTo(0.5, 1)
    await releaseOnce(1000, 0)
    const learned = model.pause()
    expect(minutesLater(100) / learned).toBeCloseTo(1, 1)
    expect(held).toHaveLength(1_000_000)
  })
})

test('a sample makes no object that stays', async () => {
  await releaseOnce(10, 0)
  const samples = 200_000
  const used = async () => {
    await collect()
    return getHeapStatistics().used_heap_size
  }
  for (let i = 0; i < 1000; i++) model.onSample(100)
  const before = await used()
  for (let i = 0; i < samples; i++) model.onSample(100)
  // The smallest object has 16 bytes. What a sample computes in passing is garbage: until V8 has compiled the code,
  // that is some numbers on the heap.
  expect((await used()) - before).toBeLessThan(samples * 8)
})

import { getHeapSpaceStatistics, getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Release } from '../memory/release.js'
import type { Price } from './cost-model.js'

const SETTLE = 30
const MB = 1_000_000

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** What was made a WeakRef of lives until its turn of the event loop is over. */
async function collect(): Promise<void> {
  await new Promise(setImmediate)
  gc()
}

/** What V8 has compiled for this program, bytes: before the next act, and after it. */
let code = { before: 0, after: 0 }
let codeNow = 0
let price: Price
/** What the next act will turn out to be. */
let next: Release
let tell: (done: Release) => void

/** An act that took this long (ms), all of it work, and gave back this much of 100 MB. */
function outcome(pauseMs: number, returned: number, cpuMs = pauseMs): Release {
  const afterTrim = 100 * MB - returned
  return {
    before: 100 * MB,
    afterCollect: afterTrim,
    afterTrim,
    ms: pauseMs + SETTLE,
    pauseMs,
    cpuMs,
    inSteps: true,
    allocator: 'glibc',
    workers: 0
  }
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  vi.advanceTimersByTime(1000)
  vi.resetModules()
  delete (globalThis as Record<symbol, unknown>)[Symbol.for('ebb.price.4')]
  code = { before: 0, after: 0 }
  vi.doMock('node:v8', async (original) => ({
    ...(await original<object>()),
    getHeapSpaceStatistics: () => [
      { space_name: 'old_space', space_used_size: 5 * MB },
      { space_name: 'code_space', space_used_size: codeNow },
      { space_name: 'code_large_object_space', space_used_size: MB }
    ]
  }))
  vi.doMock('../memory/release.js', () => ({
    onReleased: (listener: typeof tell) => {
      tell = listener
    },
    releaseUnheld: async () => {
      codeNow = code.after
      tell(next)
      return next
    }
  }))
  price = (await import('./cost-model.js')).price()
})

afterEach(() => {
  vi.doUnmock('../memory/release.js')
  vi.doUnmock('node:v8')
  vi.useRealTimers()
})

async function act(pauseMs: number, returned: number, budget = 0.01, cpuMs = pauseMs): Promise<void> {
  next = outcome(pauseMs, returned, cpuMs)
  codeNow = code.before
  await price.act(budget, MB)
}

describe('the budget', () => {
  test('what an act has cost is paid before the next', async () => {
    const start = performance.now()
    await act(50, 10 * MB)
    expect(price.earliest - start).toBeCloseTo(5000)
    await act(50, 10 * MB, 0.1)
    // Never two within a second.
    expect(price.earliest - start).toBeCloseTo(1000)
  })

  test('what comes straight back has cost more', async () => {
    await act(5, 40 * MB)
    const acted = performance.now()
    expect(price.earliestAfterSpike - acted).toBeCloseTo(1000)
    vi.advanceTimersByTime(500)
    // Less than half of it is no more than what a little traffic takes.
    price.holds(79 * MB)
    expect(price.earliestAfterSpike - acted).toBeCloseTo(1000)
    price.holds(80 * MB)
    // 5 ms, and 0.8 for each MB.
    expect(price.earliestAfterSpike - acted).toBeCloseTo(3700)
    // Where memory is short it is no reason.
    expect(price.earliest - acted).toBeCloseTo(1000)
  })

  test('and more when optimised code was thrown away, which is compiled anew', async () => {
    code = { before: MB + 256 * 1024 + 100_000, after: MB }
    await act(5, 40 * MB)
    const acted = performance.now()
    expect(price.earliestAfterSpike - acted).toBeCloseTo(1000)
    price.holds(80 * MB)
    // 0.75 ms for each KB, but for a page of which nobody can tell.
    expect(price.earliestAfterSpike - acted).toBeCloseTo(3700 + 7500)
    code = { before: MB, after: MB - 256 * 1024 }
    await act(5, 40 * MB)
    const again = performance.now()
    price.holds(80 * MB)
    expect(price.earliestAfterSpike - again).toBeCloseTo(3700)
  })

  test('but no more than half a minute', async () => {
    code = { before: 2 * MB, after: MB }
    await act(5, 90 * MB)
    const acted = performance.now()
    price.holds(100 * MB)
    expect(price.earliestAfterSpike - acted).toBeCloseTo(30_000)
  })

  test('what somebody else collected is not taken for it', async () => {
    code = { before: 3 * MB, after: 2 * MB }
    await act(5, 40 * MB)
    tell(outcome(5, 40 * MB))
    const acted = performance.now()
    price.holds(80 * MB)
    expect(price.earliestAfterSpike - acted).toBeCloseTo(3700)
  })

  test('V8 counts the code of this program by that name', () => {
    const spaces = getHeapSpaceStatistics().filter(({ space_name }) => space_name === 'code_space')
    expect(spaces).toHaveLength(1)
    expect(spaces[0]?.space_used_size).toBeGreaterThan(0)
  })

  test('what comes back after a long time has not', async () => {
    await act(20, 40 * MB)
    const { earliestAfterSpike } = price
    vi.advanceTimersByTime(30_000)
    price.holds(100 * MB)
    expect(price.earliestAfterSpike).toBe(earliestAfterSpike)
  })

  test('nobody else acts meanwhile', () => {
    next = outcome(10, MB)
    const acting = price.act(0.01, MB)
    expect(price.earliest).toBe(Number.POSITIVE_INFINITY)
    return acting
  })
})

describe('patience', () => {
  /** How long the next act has to wait (ms), as memory stands. */
  function wait(held: number): number {
    const start = performance.now()
    let ms = 0
    while (price.isPatient(start + ms, held)) ms += 100
    return ms
  }

  test('doubles while acts bring little, up to ten minutes', async () => {
    const waits: number[] = []
    for (let i = 0; i < 12; i++) {
      await act(10, 0)
      waits.push(wait(100 * MB))
    }
    expect(waits.slice(0, 4)).toEqual([2000, 4000, 8000, 16_000])
    expect(waits.slice(-2)).toEqual([600_000, 600_000])
  })

  test('ends with one that brings something', async () => {
    for (let i = 0; i < 5; i++) await act(10, 0)
    await act(10, 2 * MB)
    expect(wait(100 * MB)).toBe(1000)
    await act(10, 0)
    expect(wait(100 * MB)).toBe(2000)
  })

  test('forgets when memory has grown by half', async () => {
    for (let i = 0; i < 5; i++) await act(10, 0)
    expect(wait(149 * MB)).toBeGreaterThan(1000)
    expect(wait(150 * MB)).toBe(0)
  })
})

describe('the pause', () => {
  const hold = (count: number) => Array.from({ length: count }, (_, i) => ({ i, text: `${i}` }))

  test('one that took longer than thought is believed at once, one that took less slowly', async () => {
    await act(10, 0)
    const first = price.pause()
    await act(30, 0)
    const dear = price.pause()
    expect(dear / first).toBeCloseTo(3, 0)
    await act(10, 0)
    expect(price.pause()).toBeLessThan(dear)
    expect(price.pause()).toBeGreaterThan(dear / 2)
    for (let i = 0; i < 30; i++) await act(10, 0)
    expect(price.pause() / first).toBeCloseTo(1, 0)
  })

  test('a thread that had to wait for its core was not stopped by the act', async () => {
    await act(20, 0)
    const before = price.pause()
    await act(300, 0, 0.01, 10)
    expect(price.pause() / before).toBeCloseTo(1, 0)
  })

  test('grows with what lives', async () => {
    await act(10, 0)
    const before = price.pause()
    const held = hold(1_000_000)
    expect(price.pause()).toBeGreaterThan(1.3 * before)
    expect(held).toHaveLength(1_000_000)
  })

  test('what lived with the crowd is taken to have gone with it, as far as that can be risked', async () => {
    await collect()
    await act(20, 0)
    let held: object[] | undefined = hold(1_500_000)
    price.notice(1000)
    await collect()
    price.notice(1000)
    const crowded = price.pause()
    price.notice(100)
    const gone = price.pause()
    expect(gone).toBeLessThan(crowded / 2)
    const limit = 0.9 * crowded
    expect(price.isShort(performance.now(), limit)).toBe(true)
    // It would be too long if it had not gone.
    expect(price.isShort(performance.now(), 0.7 * crowded)).toBe(false)
    expect(held).toHaveLength(1_500_000)
    held = undefined
    // Now it is known.
    await collect()
    price.notice(100)
    expect(price.isShort(performance.now(), limit)).toBe(true)
    expect(price.pause()).toBeLessThan(crowded / 2)
  })

  test('a guess of which nothing was learned is doubted while it keeps acts away; what was learned is not', async () => {
    const held = hold(1_000_000)
    await collect()
    price.notice(100)
    const guessed = price.pause()
    const minutesLater = (minutes: number) => {
      expect(price.isShort(performance.now(), 1)).toBe(false)
      vi.advanceTimersByTime(minutes * 60_000)
      expect(price.isShort(performance.now(), 1)).toBe(false)
      return price.pause()
    }
    expect(minutesLater(0.5) / guessed).toBeCloseTo(Math.SQRT1_2, 1)
    // Not for ever.
    expect(minutesLater(100) / guessed).toBeCloseTo(0.5, 1)
    await act(1000, 0)
    const learned = price.pause()
    expect(minutesLater(100) / learned).toBeCloseTo(1, 1)
    expect(held).toHaveLength(1_000_000)
  })
})

test('looking at it costs nothing that stays', async () => {
  await act(10, 0)
  for (let i = 0; i < 1000; i++) price.notice(100)
  const before = getHeapStatistics().used_heap_size
  for (let i = 0; i < 10_000; i++) price.notice(100)
  // An object each time would be 160 KB at least.
  expect(getHeapStatistics().used_heap_size - before).toBeLessThan(100_000)
})

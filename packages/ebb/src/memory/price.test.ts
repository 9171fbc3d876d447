import { getHeapStatistics } from 'node:v8'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Price } from './price.js'
import type { Release } from './release.js'

const SETTLE = 30
const MB = 1_000_000

let price: Price
/** What the next act will turn out to be. */
let next: Release
let tell: (done: Release) => void

/** An act that took this long (ms), and gave back this much of 100 MB. */
function outcome(pauseMs: number, returned: number): Release {
  const afterTrim = 100 * MB - returned
  return {
    before: 100 * MB,
    afterCollect: afterTrim,
    afterTrim,
    ms: pauseMs + SETTLE,
    pauseMs,
    allocator: 'glibc',
    workers: 0
  }
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  vi.advanceTimersByTime(1000)
  vi.resetModules()
  delete (globalThis as Record<symbol, unknown>)[Symbol.for('ebb.price.1')]
  vi.doMock('./release.js', () => ({
    SETTLE,
    onCollected: (listener: typeof tell) => {
      tell = listener
    },
    release: async () => {
      tell(next)
      return next
    }
  }))
  price = (await import('./price.js')).price()
})

afterEach(() => {
  vi.doUnmock('./release.js')
  vi.useRealTimers()
})

async function act(pauseMs: number, returned: number, budget = 0.01): Promise<void> {
  next = outcome(pauseMs, returned)
  await price.act(0, budget, MB, false)
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

  test('nobody else acts meanwhile', () => {
    next = outcome(10, MB)
    const acting = price.act(0, 0.01, MB, false)
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
  test('an act that took longer than thought is believed at once, one that took less slowly', async () => {
    const first = price.pause(0)
    await act(10 * first, 0)
    const dear = price.pause(0)
    expect(dear).toBeGreaterThan(5 * first)
    await act(first, 0)
    const less = price.pause(0)
    expect(less).toBeLessThan(dear)
    expect(less).toBeGreaterThan(dear / 2)
    for (let i = 0; i < 30; i++) await act(first, 0)
    expect(price.pause(0)).toBeLessThan(2 * first)
  })

  test('grows with what lives', async () => {
    await act(10, 0)
    const before = price.pause(0)
    const held = Array.from({ length: 100 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: `${i}` })))
    expect(price.pause(0)).toBeGreaterThan(1.5 * before)
    expect(held).toHaveLength(100)
  })

  test('a guess that keeps acts away is doubted while time goes by', async () => {
    await act(1000, 0)
    const dear = price.pause(0)
    price.tooLong(performance.now())
    vi.advanceTimersByTime(60_000)
    price.tooLong(performance.now())
    expect(price.pause(0) / dear).toBeCloseTo(0.9, 1)
    // No time, no doubt: however often it is asked.
    const doubted = price.pause(0)
    for (let i = 0; i < 100; i++) price.tooLong(performance.now())
    expect(price.pause(0) / doubted).toBeCloseTo(1, 1)
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

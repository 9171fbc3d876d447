import fc from 'fast-check'
import { afterEach, expect, test, vi } from 'vitest'
import { Wheel } from './timer-wheel.js'

afterEach(() => vi.useRealTimers())

/** Timers and `performance.now()` that stand still until the test advances them. */
function freeze(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'performance'] })
}

test('a deadline is reported once, never early, and late by at most 1/7 of its time or one tick', () => {
  freeze()
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          index: fc.nat(3000),
          ms: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 5_000_000 })),
          wait: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 200_000 })),
          remove: fc.boolean()
        }),
        { minLength: 1, maxLength: 60 }
      ),
      (steps) => {
        const waiting = new Map<number, { from: number; ms: number }>()
        const wheel = new Wheel((index) => {
          const entry = waiting.get(index)
          if (entry === undefined) throw new Error(`${index} is not due`)
          waiting.delete(index)
          const late = performance.now() - entry.from - entry.ms
          expect(late).toBeGreaterThanOrEqual(0)
          expect(late).toBeLessThanOrEqual(Math.max(entry.ms / 7, 16) + 17)
        })
        for (const { index, ms, wait, remove } of steps) {
          if (remove) {
            wheel.remove(index)
            waiting.delete(index)
          } else {
            wheel.add(index, ms)
            waiting.set(index, { from: performance.now(), ms })
          }
          expect(wheel.size).toBe(waiting.size)
          vi.advanceTimersByTime(wait)
        }
        vi.advanceTimersByTime(6_000_000)
        expect(waiting.size).toBe(0)
        expect(wheel.size).toBe(0)
        // Without deadlines there is no timer.
        expect(vi.getTimerCount()).toBe(0)
      }
    ),
    { numRuns: 100 }
  )
})

test('a callback may add its deadline again and remove others', () => {
  freeze()
  const told: number[] = []
  const wheel: Wheel = new Wheel((index) => {
    told.push(index)
    if (told.length < 10) wheel.add(index, 100)
    wheel.remove(index === 1 ? 2 : 1)
  })
  wheel.add(1, 50)
  wheel.add(2, 50)
  vi.advanceTimersByTime(10_000)
  expect(told).toHaveLength(10)
  expect(new Set(told).size).toBe(1)
  expect(wheel.size).toBe(0)
})

test('a callback that throws does not hold up the others', () => {
  freeze()
  const told: number[] = []
  let rows = 0
  const wheel = new Wheel(
    (index) => {
      told.push(index)
      if (index === 5) throw new Error('five')
    },
    () => rows++
  )
  for (let index = 0; index < 10; index++) wheel.add(index, 20)
  expect(() => vi.advanceTimersByTime(100)).toThrow('five')
  vi.advanceTimersByTime(100)
  expect(told.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(rows).toBe(2)
})

test('the event loop goes on while many deadlines are due at once', async () => {
  const spin = (ms: number) => {
    const end = performance.now() + ms
    while (performance.now() < end);
  }
  let told = 0
  let turns = 0
  let toldAtFirstTurn = 0
  const count = () => {
    turns++
    if (toldAtFirstTurn === 0) toldAtFirstTurn = told
    if (told < 1000) setImmediate(count)
  }
  const wheel = new Wheel(() => {
    if (told++ === 0) setImmediate(count)
    spin(0.1)
  })
  for (let index = 0; index < 1000; index++) wheel.add(index, 20)
  await vi.waitFor(() => expect(told).toBe(1000), { timeout: 30_000 })
  expect(toldAtFirstTurn).toBeLessThan(1000)
  expect(turns).toBeGreaterThan(3)
})

test('clear() removes all deadlines, and trim() keeps those that are set', () => {
  freeze()
  const told: number[] = []
  const wheel = new Wheel((index) => told.push(index))
  wheel.add(9000, 50)
  wheel.clear()
  expect(vi.getTimerCount()).toBe(0)
  wheel.add(3, 50)
  const { bytes } = wheel
  wheel.trim(4)
  expect(wheel.bytes).toBeLessThan(bytes)
  vi.advanceTimersByTime(1000)
  expect(told).toEqual([3])
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Pace } from './pace.js'

const rates = fc.double({ min: 1e-3, max: 1e6, noNaN: true })
const times = fc.double({ min: 0, max: 1e7, noNaN: true })

test('the starts that are due are those whose time has come', () => {
  fc.assert(
    fc.property(rates, times, fc.double({ min: 0, max: 1e6, noNaN: true }), (rate, start, passed) => {
      const pace = new Pace(rate, start)
      const now = start + passed
      const due = pace.due(now, Number.POSITIVE_INFINITY)
      expect(due).toBeGreaterThanOrEqual(1)
      // Times of 10^7 ms have a resolution of some nanoseconds.
      expect(pace.at(due - 1)).toBeLessThanOrEqual(now + 1e-5)
      expect(pace.at(due)).toBeGreaterThanOrEqual(now - 1e-5)
      expect(pace.due(now, 3)).toBe(Math.min(3, due))
    })
  )
})

test('whoever waits for a start and then begins what is due begins as many as the rate prescribes', () => {
  fc.assert(
    fc.property(rates, times, fc.integer({ min: 2, max: 50 }), (rate, start, n) => {
      const pace = new Pace(rate, start)
      let now = start
      let begun = 0
      for (let turns = 0; begun < n; turns++) {
        expect(turns).toBeLessThan(10_000)
        begun = pace.due(now, n)
        const wait = begun < n ? pace.wait(begun, now) : 0
        expect(wait).toBeLessThanOrEqual(60_000)
        now += Math.max(wait, 1e-5)
      }
      expect((now - start) / (((n - 1) * 1000) / rate)).toBeCloseTo(1, 1)
    }),
    { numRuns: 50 }
  )
})

test('parts that share a rate start in turn', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), (of, each) => {
      const rate = 100
      const parts = Array.from({ length: of }, (_, index) => new Pace(rate / of, 0, { index, of }))
      const starts = parts.flatMap((pace) => Array.from({ length: each }, (_, i) => pace.at(i))).sort((a, b) => a - b)
      for (const [i, at] of starts.entries()) expect(at).toBeCloseTo(i * 10, 6)
    })
  )
})

test('without a rate, all are due at once, and not before the start', () => {
  const pace = new Pace(Number.POSITIVE_INFINITY, 50)
  expect([pace.due(49, 7), pace.due(50, 7), pace.at(6)]).toEqual([0, 7, 50])
})

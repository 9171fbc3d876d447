import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LatencyHistogram } from './histogram.js'

const latencies = fc.array(fc.double({ min: 0, max: 100_000, noNaN: true }), { maxLength: 200 })

function of(values: readonly number[]): LatencyHistogram {
  const histogram = new LatencyHistogram()
  for (const value of values) histogram.record(value)
  return histogram
}

test('what processes recorded and was merged is what one would have recorded', () => {
  fc.assert(
    fc.property(fc.array(latencies, { maxLength: 5 }), (parts) => {
      const merged = new LatencyHistogram()
      for (const part of parts) merged.merge(of(part).encoded())
      const one = of(parts.flat())
      expect(merged.count).toBe(one.count)
      expect(merged.quantiles()).toEqual(one.quantiles())
    }),
    { numRuns: 30 }
  )
})

test('quantiles are those of the values, to 3 digits', () => {
  fc.assert(
    fc.property(latencies, (values) => {
      fc.pre(values.length > 0)
      const sorted = values.toSorted((a, b) => a - b)
      const { p50, p90, p99, max } = of(values).quantiles()
      const near = (quantile: number, percent: number): void => {
        const exact = sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] as number
        // Microseconds are the unit below which nothing is told apart.
        expect(Math.abs(quantile - exact)).toBeLessThanOrEqual(exact / 1000 + 0.001)
      }
      near(p50, 50)
      near(p90, 90)
      near(p99, 99)
      near(max, 100)
    })
  )
})

test('nothing recorded: all 0; what cannot be is bounded', () => {
  const histogram = new LatencyHistogram()
  expect(histogram.quantiles()).toEqual({ p50: 0, p90: 0, p99: 0, max: 0 })
  histogram.record(-1)
  histogram.record(1e12)
  expect(histogram.count).toBe(2)
  // An hour, to 3 digits.
  expect(histogram.quantiles().max / 3_600_000).toBeCloseTo(1, 2)
})

test('reset forgets', () => {
  const histogram = of([1, 2, 3])
  histogram.reset()
  expect(histogram.count).toBe(0)
})

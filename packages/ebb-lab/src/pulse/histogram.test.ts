import { deflateSync, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LatencyHistogram } from './histogram.js'

const latencies = fc.array(fc.double({ min: 0, max: 100_000, noNaN: true }), { maxLength: 200 })

function of(values: readonly number[]): LatencyHistogram {
  const histogram = new LatencyHistogram()
  for (const value of values) histogram.record(value)
  return histogram
}

test('merged histograms of several processes equal the histogram of one', () => {
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

test('quantiles are exact to 3 digits', () => {
  fc.assert(
    fc.property(latencies, (values) => {
      fc.pre(values.length > 0)
      const sorted = values.toSorted((a, b) => a - b)
      const { p50, p90, p99, max } = of(values).quantiles()
      const near = (quantile: number, percent: number): void => {
        const exact = sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] as number
        // The resolution is 1 us.
        expect(Math.abs(quantile - exact)).toBeLessThanOrEqual(exact / 1000 + 0.001)
      }
      near(p50, 50)
      near(p90, 90)
      near(p99, 99)
      near(max, 100)
    })
  )
})

test('quantiles are 0 without values; values out of range are bounded', () => {
  const histogram = new LatencyHistogram()
  expect(histogram.quantiles()).toEqual({ p50: 0, p90: 0, p99: 0, max: 0 })
  histogram.record(-1)
  histogram.record(1e12)
  expect(histogram.count).toBe(2)
  // An hour, exact to 3 digits.
  expect(histogram.quantiles().max / 3_600_000).toBeCloseTo(1, 2)
})

test('reset removes all values', () => {
  const histogram = of([1, 2, 3])
  histogram.reset()
  expect(histogram.count).toBe(0)
})

test('a merged histogram is identical to the histogram of all values', () => {
  fc.assert(
    fc.property(fc.array(latencies, { minLength: 1, maxLength: 5 }), (parts) => {
      const merged = new LatencyHistogram()
      for (const part of parts) merged.merge(of(part).encoded(), part.length)
      expect(merged.encoded()).toBe(of(parts.flat()).encoded())
    }),
    { numRuns: 30 }
  )
})

test('rejects a histogram with another number of values than expected', () => {
  const merged = new LatencyHistogram()
  expect(() => merged.merge(of([1, 2]).encoded(), 3)).toThrow(/2 latencies in place of 3/)
  expect(merged.count).toBe(0)
})

test('rejects forged histograms without allocating much memory', () => {
  const merged = new LatencyHistogram()
  const fine = of([1, 2, 3]).encoded()
  const deflated = (bytes: Buffer): string => {
    const body = deflateSync(bytes)
    const head = Buffer.alloc(8)
    head.writeInt32BE(0x1c849314, 0)
    head.writeInt32BE(body.length, 4)
    return Buffer.concat([head, body]).toString('base64')
  }
  const header = inflateSync(Buffer.from(fine, 'base64').subarray(8))
  const wide = Buffer.from(header)
  wide.writeBigInt64BE(2n ** 52n, 24)
  const fineDigits = Buffer.from(header)
  fineDigits.writeInt32BE(5, 12)
  // Inflates to 100 million bytes.
  const bomb = deflated(Buffer.concat([header, Buffer.alloc(100_000_000)]))
  expect(bomb.length).toBeLessThan(200_000)
  for (const wrong of ['', 'x', fine.slice(0, -8), fine.slice(4), bomb, deflated(wide), deflated(fineDigits)]) {
    expect(() => merged.merge(wrong)).toThrow()
  }
  expect(merged.count).toBe(0)
  merged.merge(deflated(header))
  expect(merged.count).toBe(3)
})

test('merges the bytes that were checked, although the base64 can be decoded in two ways', () => {
  const encoded = of([1, 2, 3]).encoded()
  const merged = new LatencyHistogram()
  // Node ignores these characters; other decoders read them as zeros.
  merged.merge(`${encoded.slice(0, 16)}!!!!${encoded.slice(16)}`, 3)
  expect(merged.encoded()).toBe(encoded)
})

test('counts the values above a limit', () => {
  const histogram = of([0.001, 1, 10, 100, 1000])
  expect([0, 0.5, 1, 50, 1000, 3_600_000, 1e12].map((ms) => histogram.countAbove(ms))).toEqual([5, 4, 3, 2, 0, 0, 0])
})

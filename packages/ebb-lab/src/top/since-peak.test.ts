import { expect, test } from 'vitest'
import type { SincePeak } from './sample.js'
import { PeakHistory } from './since-peak.js'

const MB = 1e6

/** Adds samples of clients and MB, and returns what the last one says. */
function after(...samples: [clients: number, megabytes: number][]): SincePeak | null {
  const history = new PeakHistory()
  return samples.map(([clients, megabytes]) => history.add(clients, megabytes * MB)).at(-1) ?? null
}

test('says nothing before the first peak, and during one', () => {
  expect(after([0, 10], [50, 10], [99, 12])).toBeNull()
  expect(after([100, 10], [10_000, 60])).toBeNull()
  expect(after([100, 10], [10_000, 60], [5001, 60])).toBeNull()
})

test('compares with what the same number of clients took before the peak', () => {
  expect(after([100, 10], [10_000, 60], [100, 25])).toEqual({ clients: 10_000, before: 10 * MB, ratio: 2.5 })
  // The least that was seen: a collection may have come late.
  expect(after([100, 10], [100, 14], [10_000, 60], [100, 20])?.ratio).toBe(2)
})

test('interpolates between numbers of clients that were seen', () => {
  expect(after([0, 10], [10_000, 60], [1000, 30])).toEqual({ clients: 10_000, before: 15 * MB, ratio: 2 })
})

test('a number of clients that was not seen before the peak has no comparison', () => {
  expect(after([500, 10], [10_000, 60], [100, 30])).toBeNull()
  // Near enough.
  expect(after([500, 10], [10_000, 60], [490, 30])?.ratio).toBe(3)
})

test('what was held with more clients could be held with fewer', () => {
  // 20 MB at the start were garbage: 1000 clients took 12.
  expect(after([0, 20], [100, 12], [10_000, 60], [0, 24])?.ratio).toBe(2)
})

test('memory after a peak counts as before the next one', () => {
  const first: [number, number][] = [
    [100, 10],
    [10_000, 60],
    [100, 40]
  ]
  expect(after(...first)?.ratio).toBe(4)
  expect(after(...first, [6000, 70], [100, 40])).toEqual({ clients: 6000, before: 10 * MB, ratio: 4 })
  expect(after(...first, [100, 8], [6000, 70], [100, 16])?.ratio).toBe(2)
})

test('ordinary traffic after a spike is no peak', () => {
  // Pulses of 1000 after one of 10,000: what they take is compared with what they took before.
  expect(after([0, 10], [1000, 15], [0, 10], [10_000, 60], [0, 30], [1000, 30])).toMatchObject({
    clients: 10_000,
    ratio: 2
  })
  expect(after([0, 10], [10_000, 60], [0, 30], [5000, 60])).toBeNull()
})

test('a few clients more are no peak', () => {
  expect(after([10, 10], [90, 12], [10, 12])).toBeNull()
  expect(after([1000, 10], [1900, 12], [1000, 12])).toBeNull()
})

test('keeps few points, however many numbers of clients there were', () => {
  const history = new PeakHistory()
  for (let clients = 0; clients < 100_000; clients++) history.add(clients, 10 * MB + clients * 1000)
  // It began at 100 clients, and has risen since.
  expect(history.add(10, 10 * MB)?.ratio).toBeCloseTo(1, 1)
})

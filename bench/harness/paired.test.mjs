import { expect, test } from 'vitest'
import { differenceOf, ratioCells, spreadOf, spreadText } from './paired.mjs'
import { normal, numbers } from './random.mjs'

const itself = (/** @type {number} */ value) => value

/**
 * Compares two sides 500 times, in pairs whose machine is between half and twice as fast. Every tenth round of a side
 * is spoilt by other work. Returns the share of comparisons that are noise.
 *
 * @param {number} ratio of the sides
 * @param {number} pairs
 */
function shareOfNoise(ratio, pairs) {
  const random = numbers(3)
  const TIMES = 500
  let noise = 0
  for (let i = 0; i < TIMES; i++) {
    const speeds = Array.from({ length: pairs }, () => 2 ** (2 * random() - 1))
    const side = (/** @type {number} */ of) =>
      speeds.map((speed) => of * speed * (1 + 0.03 * normal(random)) * (random() < 0.1 ? 1.5 : 1))
    if (differenceOf(side(ratio), side(1), itself).noise) noise++
  }
  return noise / TIMES
}

test('equal sides are noise', () => {
  for (const pairs of [5, 9, 15, 31]) expect(shareOfNoise(1, pairs)).toBeGreaterThan(0.9)
})

test('a fifth more or less is a difference, once there are enough pairs for spoilt rounds', () => {
  for (const ratio of [1.2, 1 / 1.2]) {
    expect(shareOfNoise(ratio, 21)).toBeLessThan(0.02)
    // Any spoilt round may hide the difference of five pairs; it is never called a difference to the other side.
    expect(shareOfNoise(ratio, 5)).toBeLessThan(0.5)
  }
})

test('fewer than five pairs are noise, however much they differ', () => {
  expect(differenceOf([3, 3, 3, 3], [1, 1, 1, 1], itself).noise).toBe(true)
  expect(differenceOf([3, 3, 3, 3, 3], [1, 1, 1, 1, 1], itself)).toEqual({ median: 3, low: 3, high: 3, noise: false })
  expect(differenceOf([], [], itself).noise).toBe(true)
})

test('what could not be measured is noise', () => {
  const unknown = Array.from({ length: 9 }, () => Number.NaN)
  expect(differenceOf(unknown, unknown, itself).noise).toBe(true)
})

test.each([
  [1, 1, 1],
  [5, 1, 5],
  [6, 1, 6],
  [7, 1, 7],
  [8, 1, 8],
  [9, 2, 8],
  [20, 6, 15]
])('of %d values, the interval of the median is the %d. to the %d.', (n, low, high) => {
  const values = Array.from({ length: n }, (_, i) => n - i)
  expect(spreadOf(values)).toMatchObject({ low, high })
})

test('the interval encloses the median of many rounds in at least 93 of 100 cases', () => {
  const random = numbers(5)
  for (const n of [5, 8, 13, 30]) {
    let enclosed = 0
    for (let i = 0; i < 2000; i++) {
      // Not symmetrical: its median is 1.
      const { low, high } = spreadOf(Array.from({ length: n }, () => Math.exp(normal(random))))
      if (low <= 1 && high >= 1) enclosed++
    }
    expect(enclosed / 2000).toBeGreaterThan(0.92)
  }
})

test('the cells say noise', () => {
  const same = differenceOf([1, 2, 3, 1, 2], [2, 1, 3, 1, 2], itself)
  expect(ratioCells(same)).toEqual({ ratio: '1.00', ratioSpread: '0.50-2.00, noise' })
  expect(ratioCells({ median: 2, low: 1.9, high: 2.1, noise: false })).toEqual({
    ratio: '2.00',
    ratioSpread: '1.90-2.10'
  })
  expect(spreadText({ median: 2, low: 1, high: 3 }, (value) => `${value} ms`)).toBe('1 ms-3 ms')
})

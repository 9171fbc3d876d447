import { expect, test } from 'vitest'
import { median, quantile, whole } from './figures.mjs'

test('the median of an odd number of values is the one in the middle, of an even number the mean of two', () => {
  expect(median([9, 1, 5])).toBe(5)
  expect(median([10, 2, 4, 1])).toBe(3)
  expect(median([7])).toBe(7)
})

test('the median of values that never happened is Infinity, and of no values NaN', () => {
  const never = Number.POSITIVE_INFINITY
  expect(median([1, never, never])).toBe(never)
  expect(median([1, 2, never])).toBe(2)
  expect(median([2, never])).toBe(never)
  expect(median([])).toBeNaN()
})

test('a median sorts by number and leaves its argument as it is', () => {
  const values = [100, 20, 3]
  expect(median(values)).toBe(20)
  expect(values).toEqual([100, 20, 3])
})

test('a quantile is the nearest rank', () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i)
  expect(quantile(values, 0.99)).toBe(99)
  expect(quantile(values, 0.5)).toBe(50)
  expect(quantile(values, 1)).toBe(100)
  expect(quantile(values, 0)).toBe(1)
  expect(quantile([3, 1, 2], 0.99)).toBe(3)
  expect(quantile([], 0.5)).toBeNaN()
})

test('whole numbers have separators and no negative zero', () => {
  expect([1234567.4, -0.2, -134.5].map(whole)).toEqual(['1,234,567', '0', '-134'])
})

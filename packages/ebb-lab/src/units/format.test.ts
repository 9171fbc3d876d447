import { expect, test } from 'vitest'
import { bytes, duration, integer, megabytes, ratio, short } from './format.js'

test('figures as people read them', () => {
  expect(integer(12_345)).toBe('12,345')
  expect(megabytes(87_456_789)).toBe('87.5 MB')
  expect(bytes(6208.4)).toBe('6,208 B')
  expect(bytes(-3.25)).toBe('-3.3 B')
  expect(bytes(43)).toBe('43 B')
  expect(ratio(1.0249)).toBe('1.02')
  expect([800, 1000, 1500, 10_000, 999_999, 2_500_000].map(short)).toEqual(['800', '1k', '1.5k', '10k', '1M', '2.5M'])
})

test('times in the unit that fits', () => {
  expect([0, 12.34, 400, 999.4, 999.6, 4200, 99_960, Infinity].map(duration)).toEqual([
    '0 s',
    '12.3 ms',
    '400 ms',
    '999 ms',
    '1.0 s',
    '4.2 s',
    '100 s',
    'never'
  ])
})

test('a missing figure is a dash', () => {
  expect([megabytes(null), bytes(null), duration(null), ratio(null)]).toEqual(['-', '-', '-', '-'])
})

test('there is no minus zero', () => {
  expect(integer(-0.2)).toBe('0')
})

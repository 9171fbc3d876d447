import fc from 'fast-check'
import { expect, test } from 'vitest'
import { scaleTo } from './scale.js'

test('ends on a round number', () => {
  expect(scaleTo(108.4)).toEqual({ max: 125, step: 25 })
  expect(scaleTo(10_000)).toEqual({ max: 10_000, step: 2000 })
  expect(scaleTo(0.26)).toEqual({ max: 0.3, step: 0.1 })
})

test('reaches every value in a handful of steps', () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-6, max: 1e12, noNaN: true }), (highest) => {
      const { max, step } = scaleTo(highest)
      expect(max).toBeGreaterThanOrEqual(highest * 0.999)
      expect(max - step).toBeLessThan(highest)
      expect(max / step).toBeGreaterThan(1.9)
      expect(max / step).toBeLessThan(6.1)
    })
  )
})

test('there is a scale for nothing', () => {
  for (const nothing of [0, -1, Number.NaN, Infinity]) expect(scaleTo(nothing)).toEqual({ max: 1, step: 0.5 })
})

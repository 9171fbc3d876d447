import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decadesOf, scaleTo } from './scale.js'

test('a scale ends at a round number', () => {
  expect(scaleTo(108.4)).toEqual({ max: 125, step: 25 })
  expect(scaleTo(10_000)).toEqual({ max: 10_000, step: 2000 })
  expect(scaleTo(0.26)).toEqual({ max: 0.3, step: 0.1 })
})

test('a scale reaches any value in a few steps', () => {
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

test('a scale exists for 0 and for invalid values', () => {
  for (const nothing of [0, -1, Number.NaN, Infinity]) expect(scaleTo(nothing)).toEqual({ max: 1, step: 0.5 })
})

test('decades reach from the lowest value, or a little above it, to the highest value', () => {
  expect(decadesOf(3, 400)).toEqual({ min: 1, max: 1000 })
  expect(decadesOf(0.09, 65)).toEqual({ min: 0.1, max: 100 })
  expect(decadesOf(0.07, 65)).toEqual({ min: 0.01, max: 100 })
  expect(decadesOf(5, 5)).toEqual({ min: 1, max: 10 })
  expect(decadesOf(0, 0)).toEqual({ min: 0.1, max: 1 })
})

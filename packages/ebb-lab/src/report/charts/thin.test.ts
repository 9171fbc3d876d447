import fc from 'fast-check'
import { expect, test } from 'vitest'
import { thin } from './thin.js'

const figures = [(point: number[]) => point[1] as number, (point: number[]) => point[2] as number]

test('keeps all points if they are few', () => {
  const points = [
    [0, 1, 2],
    [1, 2, 3]
  ]
  expect(thin(points, 2, figures)).toEqual(points)
})

test('keeps the first, last, lowest and highest points in order, and no more than asked for', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer(), fc.integer()), { minLength: 1, maxLength: 500 }),
      fc.integer({ min: 6, max: 60 }),
      (values, max) => {
        const points = values.map(([a, b], index) => [index, a, b])
        const thinned = thin(points, max, figures)
        expect(thinned.length).toBeLessThanOrEqual(max)
        expect(thinned[0]).toBe(points[0])
        expect(thinned.at(-1)).toBe(points.at(-1))
        const times = thinned.map((point) => point[0] as number)
        expect(times).toEqual([...new Set(times)].sort((a, b) => a - b))
        for (const figure of figures) {
          expect(Math.max(...thinned.map(figure))).toBe(Math.max(...points.map(figure)))
          expect(Math.min(...thinned.map(figure))).toBe(Math.min(...points.map(figure)))
        }
      }
    )
  )
})

test('keeps a spike of one point among a million', () => {
  const points = Array.from({ length: 1_000_000 }, (_, index) => [index, index === 654_321 ? 9 : 1, 0])
  expect(thin(points, 2000, figures)).toContain(points[654_321])
})

test('points that are thinned again and again while others are added stay evenly dense', () => {
  let points: number[][] = []
  for (let t = 0; t < 20_000; t++) {
    points.push([t, t === 777 ? 9 : t % 3, 0])
    if (points.length >= 200) points = thin(points, 100, figures, ([at]) => at as number)
  }
  expect(points.map(([, value]) => value)).toContain(9)
  const inFirstHalf = points.filter(([t]) => (t as number) < 10_000).length
  // 24 stretches, each with at least one point.
  expect(inFirstHalf).toBeGreaterThanOrEqual(12)
})

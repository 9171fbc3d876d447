import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Clock } from './clock.js'

const way = fc.double({ min: 0, max: 1000, noNaN: true })
const exchanges = fc.array(fc.record({ there: way, stay: way, back: way }), { minLength: 1, maxLength: 80 })

test('the offset is never wrong by more than its error', () => {
  fc.assert(
    fc.property(fc.double({ min: -1e9, max: 1e9, noNaN: true }), exchanges, (offset, all) => {
      const clock = new Clock()
      let now = 0
      for (const { there, stay, back } of all) {
        const t1 = now + there + offset
        const t3 = now + there + stay + back
        clock.add({ t0: now, t1, t2: t1 + stay, t3 })
        now = t3
      }
      const { best } = clock
      // Numbers around a billion are exact to about 1e-7.
      if (best !== undefined) expect(Math.abs(best.offset - offset)).toBeLessThanOrEqual(best.error + 1e-5)
    })
  )
})

test('uses the shortest round trip, until it is too old', () => {
  const clock = new Clock()
  const exchange = (at: number, there: number, back: number): boolean =>
    clock.add({ t0: at, t1: at + there + 500, t2: at + there + 500, t3: at + there + back })
  exchange(0, 100, 0)
  exchange(200, 1, 1)
  exchange(400, 0, 60)
  expect(clock.best).toEqual({ offset: 500, error: 1 })
  exchange(12_000, 0, 60)
  expect(clock.best).toEqual({ offset: 470, error: 30 })
})

test('rejects impossible exchanges', () => {
  const clock = new Clock()
  expect(clock.add({ t0: 10, t1: 0, t2: 0, t3: 9 })).toBe(false)
  expect(clock.add({ t0: 0, t1: 5, t2: 4, t3: 9 })).toBe(false)
  expect(clock.add({ t0: 0, t1: 0, t2: 100, t3: 9 })).toBe(false)
  expect(clock.best).toBeUndefined()
})

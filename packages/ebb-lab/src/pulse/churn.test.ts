import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Churn, holdWithChurn } from './churn.js'
import type { Crowd } from './crowd.js'
import { emptyOpened } from './opened.js'

test('however a time is cut into pieces, as many connections are replaced, each at its own time', () => {
  const pieces = fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 30 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(1e6), pieces, (rate, begin, pieces) => {
      const churn = new Churn(rate, begin)
      const interval = 1000 / rate
      let now = begin
      let ordered = 0
      for (const ms of pieces) {
        now += ms
        const { n, start } = churn.take(now)
        expect(start).toBeCloseTo(begin + (ordered + 1) * interval, 4)
        ordered += n
        expect(n).toBeGreaterThanOrEqual(0)
        // All that are due by now, and no more. An error of rounding may move one on the border.
        expect(Math.abs(ordered - ((now - begin) * rate) / 1000)).toBeLessThan(1 + 1e-6)
      }
    })
  )
})

test('what the end of a hold cuts off does not count as replaced, so that the counts add up', async () => {
  const crowd = {
    async connect(n: number, signal: AbortSignal) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      // Seven have left: five of the new ones are open, one has failed, one is cut off.
      const failed = { ECONNREFUSED: 1 }
      return { ...emptyOpened(), replaced: 7, connected: 5, failed, abandoned: n - 6 }
    }
  } as unknown as Crowd
  expect(await holdWithChurn(crowd, 1000, 20)).toMatchObject({ replaced: 6, connected: 5, abandoned: 0 })
})

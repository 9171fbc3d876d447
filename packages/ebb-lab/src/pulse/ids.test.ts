import fc from 'fast-check'
import { expect, test } from 'vitest'
import { idIn, idRanges } from './ids.js'

test('the numbers of all agents differ, also if an agent makes more connections than its share', () => {
  const agents = fc.array(fc.tuple(fc.nat(20), fc.nat(40)), { minLength: 1, maxLength: 10 })
  fc.assert(
    fc.property(agents, (all) => {
      const ranges = idRanges(all.map(([share]) => share))
      const ids = ranges.flatMap((range, i) => Array.from({ length: all[i]?.[1] ?? 0 }, (_, n) => idIn(range, n)))
      expect(new Set(ids).size).toBe(ids.length)
    })
  )
})

test('without more connections than the shares, the numbers have no gaps', () => {
  const shares = [3, 0, 2]
  const ids = idRanges(shares).flatMap((range, i) => Array.from({ length: shares[i] ?? 0 }, (_, n) => idIn(range, n)))
  expect(ids).toEqual([0, 1, 2, 3, 4])
})

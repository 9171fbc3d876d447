import fc from 'fast-check'
import { expect, test } from 'vitest'
import { split } from './split.js'

const capacities = fc.array(fc.oneof(fc.nat(20), fc.nat(10_000_000)), { maxLength: 50 })

test('splits all connections in proportion to within 1, and never above a capacity', () => {
  fc.assert(
    fc.property(capacities, fc.double({ min: 0, max: 1, noNaN: true }), (room, share) => {
      const all = room.reduce((sum, one) => sum + one, 0)
      const n = Math.floor(all * share)
      const parts = split(n, room)
      expect(parts).toHaveLength(room.length)
      expect(parts?.reduce((sum, part) => sum + part, 0)).toBe(n)
      parts?.forEach((part, i) => {
        const capacity = room[i] as number
        expect(Number.isInteger(part) && part >= 0 && part <= capacity).toBe(true)
        if (all > 0) expect(Math.abs(part - (n * capacity) / all)).toBeLessThanOrEqual(1 + 1e-6)
      })
    })
  )
})

test('returns undefined for one connection more than all capacities', () => {
  fc.assert(
    fc.property(capacities, (room) => {
      const all = room.reduce((sum, one) => sum + one, 0)
      expect(split(all, room)).toEqual(room)
      expect(split(all + 1, room)).toBeUndefined()
    })
  )
})

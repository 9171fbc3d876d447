import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Plan, planSchema, pulsesOf } from './plan.js'

const count = fc.integer({ min: 0, max: 50 })
const time = fc.integer({ min: 0, max: 100_000 })
const plans: fc.Arbitrary<Plan> = fc.record({
  big: count,
  iterations: count,
  bigSeparation: time,
  small: count,
  smallSeparation: time,
  linger: time,
  pulses: count
})

test('makes big pulses, then small ones, with waits between them and none after the last', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const pulses = [...pulsesOf(plan)]
      const big = plan.big === 0 ? 0 : plan.iterations
      const small = plan.small === 0 ? 0 : plan.pulses
      expect(pulses.map(({ size }) => size)).toEqual([...Array(big).fill('big'), ...Array(small).fill('small')])
      expect(pulses.map(({ index }) => index)).toEqual(pulses.map((_, i) => i))
      for (const [i, pulse] of pulses.entries()) {
        expect(pulse.n).toBe(pulse.size === 'big' ? plan.big : plan.small)
        expect(pulse.linger).toBe(plan.linger)
        const wait = pulse.size === 'big' ? plan.bigSeparation : plan.smallSeparation
        expect(pulse.after).toBe(i === pulses.length - 1 ? 0 : wait)
      }
    })
  )
})

test('a valid plan is not changed', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      expect(planSchema.parse(plan)).toEqual(plan)
    })
  )
})

test('an endless sequence of small pulses is generated on demand', () => {
  const pulses = pulsesOf({ ...planSchema.parse({}), iterations: 1, small: 7, smallSeparation: 3 })
  expect(pulses.next().value).toMatchObject({ size: 'big' })
  for (let i = 1; i < 1000; i++) {
    expect(pulses.next()).toMatchObject({ done: false, value: { index: i, n: 7, after: 3 } })
  }
})

test('there are no small pulses if they have no connections', () => {
  expect([...pulsesOf(planSchema.parse({ big: 0, small: 0 }))]).toEqual([])
})

test.each([
  { big: -1 },
  { big: 1.5 },
  { big: Number.NaN },
  { big: 1e12 },
  { iterations: Number.POSITIVE_INFINITY },
  { linger: -1 },
  { linger: Number.POSITIVE_INFINITY },
  { linger: '4' },
  { pulses: -1 },
  { pulses: 0.5 },
  { pulses: 'forever' }
])('rejects the plan %j', (plan) => {
  expect(planSchema.safeParse(plan).success).toBe(false)
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Latencies, Latency } from './latencies.js'

test('the corrected latency counts from the time that was meant, the uncorrected one from the actual start', () => {
  const paced = new Latency()
  paced.record(0.1, 0.6, 0.7)
  expect(paced.report()).toMatchObject({ latency: { max: 0.6 }, uncorrected: { latency: { max: 0.1 } } })
  const unpaced = new Latency()
  unpaced.record(0.6, 0.6, 0.7)
  expect(unpaced.report()).toMatchObject({ latency: { max: 0.1 }, uncorrected: null })
})

test('latencies of several processes are merged, and checked against the numbers that are expected', () => {
  const samples = fc.array(fc.tuple(fc.nat(10_000), fc.nat(10_000), fc.nat(10_000)), { maxLength: 20 })
  fc.assert(
    fc.property(fc.array(samples, { maxLength: 4 }), fc.boolean(), (parts, paced) => {
      const whole = new Latencies()
      const merged = new Latencies()
      for (const part of parts) {
        const one = new Latencies()
        for (const [meant, late, ms] of part) {
          const wait = paced ? late : 0
          for (const to of [one, whole]) {
            to.connects.record(meant, meant + wait, meant + wait + ms)
            if (ms % 2 === 0) to.answers.record(meant, meant + wait, meant + wait + 2 * ms)
          }
        }
        const answers = part.filter(([, , ms]) => ms % 2 === 0).length
        merged.merge(one.encoded(), { connects: part.length, answers })
        expect(() => merged.merge(one.encoded(), { connects: part.length + 1, answers })).toThrow(/in place of/)
      }
      expect(merged.encoded()).toEqual(whole.encoded())
      merged.reset()
      expect(merged.encoded()).toEqual(new Latencies().encoded())
    }),
    { numRuns: 20 }
  )
})

test('answers that are missing where some are expected are refused', () => {
  const none = new Latencies().encoded()
  expect(() => new Latencies().merge(none, { connects: 0, answers: 1 })).toThrow(/0 latencies in place of 1/)
})

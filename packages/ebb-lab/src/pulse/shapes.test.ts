import fc from 'fast-check'
import { expect, test } from 'vitest'
import { planSchema } from './plan.js'
import { randomFrom } from './random.js'
import { endOf, type LevelShape, levelsOf, maxConnections, type PulseShape, timedPulses } from './shapes.js'

const timing = { offset: 0, jitter: 0, seed: 1 }

function pulses(options: Partial<PulseShape> = {}): PulseShape {
  const plan = planSchema.parse({
    big: 100,
    iterations: 2,
    bigSeparation: 1000,
    small: 10,
    smallSeparation: 500,
    linger: 2000,
    pulses: 2
  })
  return { ...plan, ...timing, shape: 'pulse', ...options }
}

test('pulses follow each other by linger and separation, from the offset on', () => {
  const at = [...timedPulses(pulses({ offset: 15_000 }), Number.POSITIVE_INFINITY)].map((pulse) => [pulse.at, pulse.n])
  expect(at).toEqual([
    [15_000, 100],
    [18_000, 100],
    [21_000, 10],
    [23_500, 10]
  ])
  expect(endOf(pulses({ offset: 15_000 }))).toBe(25_500)
})

test('leaves out pulses that would end after the run', () => {
  expect([...timedPulses(pulses(), 7999)]).toHaveLength(2)
  expect([...timedPulses(pulses(), 8000)]).toHaveLength(3)
  expect([...timedPulses(pulses({ pulses: Number.POSITIVE_INFINITY }), 100_000)].length).toBeGreaterThan(30)
  expect(endOf(pulses({ pulses: Number.POSITIVE_INFINITY }))).toBe(Number.POSITIVE_INFINITY)
})

test('jitter delays each pulse by its own random time', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 10_000 }), (seed, jitter) => {
      const calm = [...timedPulses(pulses(), Number.POSITIVE_INFINITY)]
      const moved = [...timedPulses(pulses({ seed, jitter }), Number.POSITIVE_INFINITY)]
      const late = moved.map((pulse, i) => pulse.at - (calm[i]?.at ?? 0))
      expect(late.every((ms) => ms >= 0 && ms < jitter)).toBe(true)
      expect(new Set(late).size).toBe(late.length)
    })
  )
})

test('a jitter longer than the separation neither overlaps nor drops pulses', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1000, max: 60_000 }), (seed, jitter) => {
      const wild = pulses({ seed, jitter, iterations: 5 })
      const end = endOf(wild)
      const times = [...timedPulses(wild, end)]
      expect(times).toHaveLength(7)
      expect(times.every(({ at }, i) => i === 0 || at >= (times[i - 1]?.at ?? 0) + 2000)).toBe(true)
      expect(times.at(-1)?.at).toBe(end - 2000)
    })
  )
})

test('the last row ends a trace, however long the run is', () => {
  const levels = [20, 30, 10].map((connections, i) => ({ at: i * 1000, connections }))
  const trace: LevelShape = { ...timing, shape: 'trace', file: 'x', levels, offset: 500 }
  expect([...levelsOf(trace, 60_000)]).toEqual([
    { at: 500, connections: 20 },
    { at: 1500, connections: 30 },
    { at: 2500, connections: 0 }
  ])
})

const shape: fc.Arbitrary<LevelShape> = fc
  .record({
    offset: fc.integer({ min: 0, max: 5000 }),
    jitter: fc.integer({ min: 0, max: 3000 }),
    seed: fc.integer(),
    duration: fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.constant(Number.POSITIVE_INFINITY)),
    a: fc.integer({ min: 0, max: 500 }),
    b: fc.integer({ min: 0, max: 500 }),
    time: fc.integer({ min: 1, max: 8000 }),
    kind: fc.constantFrom('steady', 'sawtooth', 'poisson', 'ramp', 'trace')
  })
  .map(({ kind, a, b, time, duration, ...rest }): LevelShape => {
    switch (kind) {
      case 'steady':
        return { ...rest, duration, shape: 'steady', connections: a }
      case 'sawtooth':
        return { ...rest, duration, shape: 'sawtooth', low: a, high: b, period: time }
      case 'poisson':
        return { ...rest, duration, shape: 'poisson', rate: a + 1, hold: time }
      case 'ramp': {
        const stages = [a, b, a].map((connections, i) => ({ connections, over: i === 1 ? time : (time * i) % 300 }))
        return { ...rest, shape: 'ramp', stages, linger: Math.min(duration, 20_000) }
      }
      default:
        return {
          ...rest,
          shape: 'trace',
          file: 'x',
          levels: [
            { at: 0, connections: a },
            { at: time, connections: b }
          ]
        }
    }
  })

test('levels are the same for the same seed, in order, within the maximum, and end with 0', () => {
  fc.assert(
    fc.property(shape, fc.integer({ min: 1, max: 20_000 }), (shape, until) => {
      const levels = [...levelsOf(shape, until)]
      expect([...levelsOf(shape, until)]).toEqual(levels)
      for (const [i, { at, connections }] of levels.entries()) {
        expect(at).toBeGreaterThanOrEqual(shape.offset)
        expect(at).toBeLessThanOrEqual(until)
        expect(at).toBeGreaterThan(levels[i - 1]?.at ?? -1)
        expect(connections).toBeGreaterThanOrEqual(0)
        expect(connections).toBeLessThanOrEqual(maxConnections(shape))
        expect(Number.isInteger(connections)).toBe(true)
      }
      if (levels.length > 0) expect(levels.at(-1)?.connections).toBe(0)
    })
  )
})

test('a sawtooth rises from low to high and falls at once', () => {
  const levels = [
    ...levelsOf({ ...timing, shape: 'sawtooth', low: 100, high: 200, period: 1000, duration: 2000 }, 9000)
  ]
  const counts = levels.map(({ connections }) => connections)
  expect(counts.slice(0, 10)).toEqual([100, 111, 122, 133, 144, 156, 167, 178, 189, 200])
  expect(counts.slice(10, 20)).toEqual(counts.slice(0, 10))
  expect(levels.at(-1)).toEqual({ at: 2000, connections: 0 })
})

test('a ramp reaches each stage at its end, at an even pace, and is held', () => {
  const stages = [
    { connections: 1000, over: 1000 },
    { connections: 1000, over: 500 },
    { connections: 0, over: 0 },
    { connections: 300, over: 300 }
  ]
  const ramp: LevelShape = { ...timing, shape: 'ramp', stages, linger: 2000 }
  const levels = [...levelsOf(ramp, Number.POSITIVE_INFINITY)].map(({ at, connections }) => [at, connections])
  expect(levels).toEqual([
    ...Array.from({ length: 10 }, (_, i) => [i * 100, (i + 1) * 100]),
    ...Array.from({ length: 5 }, (_, i) => [1000 + i * 100, 1000]),
    [1500, 100],
    [1600, 200],
    [1700, 300],
    [3800, 0]
  ])
  expect(endOf(ramp)).toBe(3800)
  expect(maxConnections(ramp)).toBe(1000)
})

test('the mean of a poisson shape is rate times hold', () => {
  const levels = [...levelsOf({ ...timing, shape: 'poisson', rate: 200, hold: 2000, duration: 60_000 }, 60_000)]
  expect(levels[0]).toEqual({ at: 0, connections: 0 })
  const late = levels.filter(({ at }) => at > 10_000 && at < 60_000).map(({ connections }) => connections)
  const mean = late.reduce((sum, n) => sum + n, 0) / late.length
  expect(mean / 400).toBeGreaterThan(0.9)
  expect(mean / 400).toBeLessThan(1.1)
  // The variance of a Poisson distribution is its mean. Adjacent levels are correlated, hence the wide bounds.
  const variance = late.reduce((sum, n) => sum + (n - mean) ** 2, 0) / late.length
  expect(variance / mean).toBeGreaterThan(0.4)
  expect(variance / mean).toBeLessThan(2.5)
})

test('each seed gives its own, evenly distributed numbers', () => {
  const numbers = Array.from({ length: 10_000 }, randomFrom(7))
  expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true)
  for (const [tenth, count] of Array.from({ length: 10 }, (_, i) => [
    i,
    numbers.filter((n) => Math.floor(n * 10) === i).length
  ])) {
    expect([tenth, Math.round((count as number) / 200)]).toEqual([tenth, 5])
  }
  expect(randomFrom(8)()).not.toBe(randomFrom(7)())
  // Must never change, so that a seed in a file keeps its load.
  expect(randomFrom(1)()).toBeCloseTo(0.6270739405881613, 15)
})

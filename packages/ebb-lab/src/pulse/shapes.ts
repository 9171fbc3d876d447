/**
 * Loads over time: how many connections a server is to have, and when. Everything random comes from a seed, so that the same load
 * can be made again, at another server. Times are milliseconds from the beginning of the run.
 */
import { type Plan, type Pulse, pulsesOf } from './plan.js'
import { exponential, randomFrom } from './random.js'

/** What every shape has. */
interface Timing {
  /** When it begins. */
  offset: number
  /** Each pulse, and any other shape as a whole, begins up to this much later, at random. */
  jitter: number
  /** Of its random numbers. */
  seed: number
}

/** Big pulses, then small ones. */
export type PulseShape = Timing & Plan & { shape: 'pulse' }

/** A load that is not one of pulses: a number of connections over time. */
export type LevelShape =
  /** As many all the time. */
  | (Timing & { shape: 'steady'; connections: number; duration: number })
  /** From `low` to `high` at an even pace, and back at once. */
  | (Timing & { shape: 'sawtooth'; low: number; high: number; period: number; duration: number })
  /** Connections that come at random, `rate` a second, and stay for `hold` on average. */
  | (Timing & { shape: 'poisson'; rate: number; hold: number; duration: number })
  /** As they were at a real service. */
  | (Timing & { shape: 'trace'; file: string; levels: readonly Level[] })

export type Shape = PulseShape | LevelShape

/** From `at` on there are to be so many connections. */
export interface Level {
  at: number
  connections: number
}

/** A pulse at its time. One that takes long to connect pushes those after it. */
export interface TimedPulse extends Pulse {
  at: number
}

/** Shapes that change all the time do so in steps of this length. */
export const STEP = 100

/** The pulses that end, but for their connecting and closing, by `until`. */
export function* timedPulses(shape: PulseShape, until: number): Generator<TimedPulse, void, void> {
  const random = randomFrom(shape.seed)
  let at = shape.offset
  let free = 0
  for (const pulse of pulsesOf(shape)) {
    // A jitter longer than the separation does not put a pulse before the end of the one before it.
    const begins = Math.max(free, at + random() * shape.jitter)
    free = begins + pulse.linger
    if (free > until) return
    yield { ...pulse, at: begins }
    at += pulse.linger + pulse.after
  }
}

/** The levels in the order of their times, the first at the shape's beginning, the last one of no connections, by `until`. */
export function* levelsOf(shape: LevelShape, until: number): Generator<Level, void, void> {
  const random = randomFrom(shape.seed)
  const start = shape.offset + random() * shape.jitter
  const end = Math.min(until, start + (shape.shape === 'trace' ? lengthOf(shape.levels) : shape.duration))
  for (const { at, connections } of rawLevels(shape, random)) {
    if (start + at >= end) break
    yield { at: start + at, connections }
  }
  if (end < Number.POSITIVE_INFINITY && end > start) yield { at: end, connections: 0 }
}

/** Times from the shape's beginning. */
function* rawLevels(shape: LevelShape, random: () => number): Generator<Level, void, void> {
  switch (shape.shape) {
    case 'steady':
      yield { at: 0, connections: shape.connections }
      break
    case 'sawtooth': {
      const { low, high, period } = shape
      const steps = Math.max(2, Math.round(period / STEP))
      for (let step = 0; ; step++) {
        const part = (step % steps) / (steps - 1)
        yield { at: (step * period) / steps, connections: Math.round(low + (high - low) * part) }
      }
    }
    case 'poisson':
      yield* birthsAndDeaths(shape.rate, shape.hold, mostOf(shape), random)
      break
    case 'trace':
      yield* shape.levels
  }
}

/**
 * Connections that come and go independently of each other: a birth-death chain, from nothing on (the queue M/M/∞). Its mean in the long
 * run is rate * hold, and it is Poisson-distributed about that.
 */
function* birthsAndDeaths(
  rate: number,
  hold: number,
  most: number,
  random: () => number
): Generator<Level, void, void> {
  const deaths = 1000 / hold
  let connections = 0
  let at = 0
  let told = -1
  for (let next = 0; ; next += STEP) {
    while (at < next) {
      const events = rate + connections * deaths
      at += exponential(random, events)
      if (at >= next) break
      connections += random() * events < rate ? 1 : -1
    }
    // The chain has no memory: what would have come after this step may be drawn anew.
    at = next
    const level = Math.min(connections, most)
    if (level !== told) yield { at: next, connections: level }
    told = level
  }
}

/** The last row of a trace ends it. */
function lengthOf(levels: readonly Level[]): number {
  return levels.at(-1)?.at ?? 0
}

/** The most connections that it ever has at once. */
export function mostOf(shape: Shape): number {
  switch (shape.shape) {
    case 'pulse':
      return Math.max(shape.iterations > 0 ? shape.big : 0, shape.pulses > 0 ? shape.small : 0)
    case 'steady':
      return shape.connections
    case 'sawtooth':
      return Math.max(shape.low, shape.high)
    case 'poisson': {
      // Six standard deviations above the mean, for once in years.
      const mean = (shape.rate * shape.hold) / 1000
      return Math.ceil(mean + 6 * Math.sqrt(mean) + 6)
    }
    case 'trace':
      return shape.levels.reduce((most, { connections }) => Math.max(most, connections), 0)
  }
}

/** When it ends by itself, but for the time of connecting and closing; `Infinity`: never. */
export function endOf(shape: Shape): number {
  switch (shape.shape) {
    case 'pulse': {
      if (shape.small > 0 && shape.pulses === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY
      let end = shape.offset
      for (const { at, linger } of timedPulses(shape, Number.POSITIVE_INFINITY)) end = at + linger
      return end
    }
    case 'trace':
      return shape.offset + shape.jitter + lengthOf(shape.levels)
    default:
      return shape.offset + shape.jitter + shape.duration
  }
}

/**
 * Loads over time: how many connections a server is to have, and when.
 *
 * All random numbers come from a seed, so that the same load can be repeated at another server. Times are milliseconds
 * from the beginning of the run.
 */
import { type Plan, type Pulse, pulsesOf } from './plan.js'
import { exponential, randomFrom } from './random.js'

/** Timing that all shapes have. */
export interface Timing {
  /** Time at which the shape begins. */
  offset: number
  /** Maximum random delay of the shape's beginning. In a pulse shape, each pulse is delayed by itself. */
  jitter: number
  /** Seed of the random numbers. */
  seed: number
}

/** Big pulses, then small ones. */
export type PulseShape = Timing & Plan & { shape: 'pulse' }

/** A shape that gives the number of connections over time. */
export type LevelShape =
  /** Holds a constant number of connections. */
  | (Timing & { shape: 'steady'; connections: number; duration: number })
  /** Rises from `low` to `high` at an even pace within each period, and falls back at once. */
  | (Timing & { shape: 'sawtooth'; low: number; high: number; period: number; duration: number })
  /** Rises or falls at an even pace to the connections of each stage, one after the other, and holds the last one. */
  | (Timing & { shape: 'ramp'; stages: readonly Stage[]; linger: number })
  /** Opens `rate` connections per second at random times; each stays open for `hold` ms on average. */
  | (Timing & { shape: 'poisson'; rate: number; hold: number; duration: number })
  /** Replays the connections of a real service. */
  | (Timing & { shape: 'trace'; file: string; levels: readonly Level[] })

/** A part of a ramp. */
export interface Stage {
  /** Number of connections at its end. */
  connections: number
  /** Length in ms. */
  over: number
}

/** Returns how long (ms) a ramp is held if nothing else is said: `linger`, or not at all if no connection is left. */
export function rampLinger(stages: readonly Stage[], linger: number): number {
  return stages.at(-1)?.connections === 0 ? 0 : linger
}

/** A load over time. */
export type Shape = PulseShape | LevelShape

/** A number of connections from a point in time on. */
export interface Level {
  /** Time at which the level begins. */
  at: number
  /** Number of connections. */
  connections: number
}

/** A pulse with its start time. */
export interface TimedPulse extends Pulse {
  /** Time at which the pulse begins. If an earlier pulse takes longer, the pulse begins later. */
  at: number
}

/** Length of a step in ms, for shapes that change all the time. */
export const STEP = 100

/** Generates the pulses that end by `until`, without the time that connecting and closing take. */
export function* timedPulses(shape: PulseShape, until: number): Generator<TimedPulse, void, void> {
  const random = randomFrom(shape.seed)
  let at = shape.offset
  let previousEnd = 0
  for (const pulse of pulsesOf(shape)) {
    // A jitter that is longer than the separation must not make pulses overlap.
    const start = Math.max(previousEnd, at + random() * shape.jitter)
    previousEnd = start + pulse.linger
    if (previousEnd > until) return
    yield { ...pulse, at: start }
    at += pulse.linger + pulse.after
  }
}

/** Generates the levels in order, up to `until`. The last level has no connections, if the shape ends. */
export function* levelsOf(shape: LevelShape, until: number): Generator<Level, void, void> {
  const random = randomFrom(shape.seed)
  const start = shape.offset + random() * shape.jitter
  const end = Math.min(until, start + durationOf(shape))
  for (const { at, connections } of relativeLevels(shape, random)) {
    if (start + at >= end) break
    yield { at: start + at, connections }
  }
  if (end < Number.POSITIVE_INFINITY && end > start) yield { at: end, connections: 0 }
}

/** Generates levels with times from the beginning of the shape, without regard to its duration. */
function* relativeLevels(shape: LevelShape, random: () => number): Generator<Level, void, void> {
  switch (shape.shape) {
    case 'steady':
      yield { at: 0, connections: shape.connections }
      break
    case 'sawtooth': {
      const { low, high, period } = shape
      const steps = stepsIn(period)
      for (let step = 0; ; step++) {
        const part = (step % steps) / (steps - 1)
        yield { at: (step * period) / steps, connections: Math.round(low + (high - low) * part) }
      }
    }
    case 'ramp':
      yield* rampLevels(shape.stages)
      break
    case 'poisson':
      yield* birthDeathLevels(shape.rate, shape.hold, maxConnections(shape), random)
      break
    case 'trace':
      yield* shape.levels
  }
}

/** Returns the number of steps of a sawtooth. */
function stepsIn(period: number): number {
  return Math.max(2, Math.round(period / STEP))
}

/** Generates the levels of a ramp. Each level is that of the end of its step. */
function* rampLevels(stages: readonly Stage[]): Generator<Level, void, void> {
  let from = 0
  let begin = 0
  for (const [i, { connections, over }] of stages.entries()) {
    // A jump is a part of the step after it, if there is one.
    const isJump = over === 0 && i < stages.length - 1
    const steps = isJump ? 0 : Math.max(1, Math.round(over / STEP))
    for (let step = 0; step < steps; step++) {
      const level = Math.round(from + ((connections - from) * (step + 1)) / steps)
      yield { at: begin + (over * step) / steps, connections: level }
    }
    from = connections
    begin += over
  }
}

/**
 * Returns the time (ms) over which a shape spreads the connects of one of its levels. 0: they begin at once, because
 * the shape has steps itself.
 */
export function spreadOf(shape: LevelShape): number {
  switch (shape.shape) {
    case 'sawtooth':
      return shape.period / stepsIn(shape.period)
    case 'poisson':
    case 'ramp':
      return STEP
    default:
      return 0
  }
}

/**
 * Generates the levels of connections that come and go independently: a birth-death process that starts at 0 (the M/M/∞
 * queue). In the long run, the level has a Poisson distribution with the mean `rate * hold / 1000`.
 *
 * @param rate connections per second
 * @param hold mean duration of a connection in ms
 * @param most upper limit of the level
 */
function* birthDeathLevels(
  rate: number,
  hold: number,
  most: number,
  random: () => number
): Generator<Level, void, void> {
  const deathRate = 1000 / hold
  let connections = 0
  let at = 0
  let previous = -1
  for (let next = 0; ; next += STEP) {
    while (at < next) {
      const eventRate = rate + connections * deathRate
      at += exponential(random, eventRate)
      if (at >= next) break
      connections += random() * eventRate < rate ? 1 : -1
    }
    // The process has no memory, so an event that would come after this step may be drawn again.
    at = next
    const level = Math.min(connections, most)
    if (level !== previous) yield { at: next, connections: level }
    previous = level
  }
}

/** Returns the length of a shape in ms, or `Infinity`. */
function durationOf(shape: LevelShape): number {
  switch (shape.shape) {
    case 'trace':
      return lengthOf(shape.levels)
    case 'ramp':
      return shape.stages.reduce((sum, { over }) => sum + over, shape.linger)
    default:
      return shape.duration
  }
}

/** Returns the length of a trace in ms. Its last row ends it. */
function lengthOf(levels: readonly Level[]): number {
  return levels.at(-1)?.at ?? 0
}

/** Returns the maximum number of connections that a shape has at once. */
export function maxConnections(shape: Shape): number {
  switch (shape.shape) {
    case 'pulse':
      return Math.max(shape.iterations > 0 ? shape.big : 0, shape.pulses > 0 ? shape.small : 0)
    case 'steady':
      return shape.connections
    case 'sawtooth':
      return Math.max(shape.low, shape.high)
    case 'ramp':
      return shape.stages.reduce((most, { connections }) => Math.max(most, connections), 0)
    case 'poisson': {
      // Six standard deviations above the mean: exceeded once in years.
      const mean = (shape.rate * shape.hold) / 1000
      return Math.ceil(mean + 6 * Math.sqrt(mean) + 6)
    }
    case 'trace':
      return shape.levels.reduce((most, { connections }) => Math.max(most, connections), 0)
  }
}

/**
 * Returns the time at which a shape ends by itself, or `Infinity`. The time that pulses take to connect and close is
 * not included.
 */
export function endOf(shape: Shape): number {
  switch (shape.shape) {
    case 'pulse': {
      if (shape.small > 0 && shape.pulses === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY
      let end = shape.offset
      for (const { at, linger } of timedPulses(shape, Number.POSITIVE_INFINITY)) end = at + linger
      return end
    }
    default:
      return shape.offset + shape.jitter + durationOf(shape)
  }
}

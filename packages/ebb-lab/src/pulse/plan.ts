/** Plans: how many connections a run of pulses makes, how long it holds them, and how often. */
import { z } from 'zod'

/** Longest time that a plan may contain, in ms: a week. A larger number is probably in the wrong unit. */
const MAX_DURATION = 7 * 24 * 3_600_000

const connections = z.number().int().nonnegative().max(10_000_000, 'it must be 10,000,000 connections at most')
const duration = z.number().nonnegative().max(MAX_DURATION, 'it must be a week at most')

/** Checks a plan and fills in its defaults. Times are milliseconds. */
export const planSchema = z.object({
  /** Number of connections of a big pulse, up to 10,000,000. 0: no big pulses. Default: 4000. */
  big: connections.default(4000),
  /** Number of big pulses. Default: 3. */
  iterations: z.number().int().nonnegative().max(1_000_000, 'it must be 1,000,000 at most').default(3),
  /** Milliseconds from the last close of a big pulse to the start of the next pulse. Default: 5000. */
  bigSeparation: duration.default(5000),
  /** Number of connections of a small pulse, up to 10,000,000. 0: no small pulses. Default: 1000. */
  small: connections.default(1000),
  /** Milliseconds from the last close of a small pulse to the start of the next pulse. Default: 20,000. */
  smallSeparation: duration.default(20_000),
  /** Milliseconds for which a pulse holds its connections once all are open. Default: 4000. */
  linger: duration.default(4000),
  /** Number of small pulses after the big ones. Default: `Infinity`, until the run is stopped. */
  pulses: z
    .union([z.number().int().nonnegative(), z.literal(Number.POSITIVE_INFINITY)])
    .default(Number.POSITIVE_INFINITY)
})

/** Big pulses, then small ones. */
export type Plan = z.infer<typeof planSchema>

/** One pulse of a plan. */
export interface Pulse {
  /** Index of the pulse, counted from 0 over the whole plan. */
  index: number
  /** Whether it is a big or a small pulse. */
  size: 'big' | 'small'
  /** Number of connections. */
  n: number
  /** Milliseconds for which it holds its connections. */
  linger: number
  /** Milliseconds from its end to the start of the next pulse; 0 after the last pulse. */
  after: number
}

/** Returns the number of big and small pulses of a plan. Pulses without connections are not made. */
export function countsOf(plan: Plan): { big: number; small: number } {
  return { big: plan.big > 0 ? plan.iterations : 0, small: plan.small > 0 ? plan.pulses : 0 }
}

/** Generates the pulses of a plan in order. The sequence has no end if `pulses` is `Infinity`. */
export function* pulsesOf(plan: Plan): Generator<Pulse, void, void> {
  const { big, small } = countsOf(plan)
  for (let index = 0; index < big + small; index++) {
    const isBig = index < big
    const last = index === big + small - 1
    yield {
      index,
      size: isBig ? 'big' : 'small',
      n: isBig ? plan.big : plan.small,
      linger: plan.linger,
      after: last ? 0 : isBig ? plan.bigSeparation : plan.smallSeparation
    }
  }
}

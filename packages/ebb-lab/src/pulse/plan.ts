/** What a run of pulses does: how many connections, how long, how often. */
import { z } from 'zod'

/** The longest time that a plan may name: a week. Beyond it a number is more likely a mistake in its unit. */
const WEEK = 7 * 24 * 3_600_000

const connections = z.number().int().nonnegative().max(10_000_000, 'it must be 10,000,000 connections at most')
const duration = z.number().nonnegative().max(WEEK, 'it must be a week at most')

/** Times are milliseconds. */
export const planSchema = z.object({
  /** Connections of a big pulse. 0: no big pulses. */
  big: connections.default(4000),
  /** How many big pulses. */
  iterations: z.number().int().nonnegative().max(1_000_000, 'it must be 1,000,000 at most').default(3),
  /** From the end of a big pulse (all closed) to the next pulse's start. */
  bigSeparation: duration.default(5000),
  /** Connections of a small pulse. 0: no small pulses. */
  small: connections.default(1000),
  /** From the end of a small pulse to the next one's start. */
  smallSeparation: duration.default(20_000),
  /** How long a pulse holds its connections once all are open. */
  linger: duration.default(4000),
  /** How many small pulses follow the big ones; `Infinity`: until stopped. */
  pulses: z
    .union([z.number().int().nonnegative(), z.literal(Number.POSITIVE_INFINITY)])
    .default(Number.POSITIVE_INFINITY)
})

export type Plan = z.infer<typeof planSchema>

/** One pulse of a plan. */
export interface Pulse {
  /** Counts from 0 over the whole plan. */
  index: number
  size: 'big' | 'small'
  /** Connections. */
  n: number
  /** ms */
  linger: number
  /** The wait between its end and the next one's start, ms; 0 after the last. */
  after: number
}

/** How many big and how many small pulses a plan makes: a pulse of no connections is none. */
export function countsOf(plan: Plan): { big: number; small: number } {
  return { big: plan.big > 0 ? plan.iterations : 0, small: plan.small > 0 ? plan.pulses : 0 }
}

/** The pulses of a plan, in order; without end where `pulses` is `Infinity`. */
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

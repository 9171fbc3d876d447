/** The options of `ebb pulse` and `ebb bench` for loads over time. */
import type { Command } from 'commander'
import { readShape } from '../../experiment/box/expand.js'
import { issuesOf, type PlanKeys, planKeys } from '../../experiment/box/schema.js'
import { BENCH_PLAN } from '../../experiment/experiment.js'
import { type LevelShape, rampLinger, type Shape } from '../../pulse/shapes.js'
import { dashed } from './dashes.js'
import type { PlanFlags } from './plan.js'
import { parseCount, parsePerSecond, parseStages, ValueError } from './values.js'

/** Values of the options of a shape. */
export interface ShapeFlags {
  shape?: PlanKeys
  ramp?: { connections: number; over: number }[]
  /** Connections per second. */
  churn?: number
  seed?: number
}

/** Adds the options of a shape to a command. */
export function shapeOptions(command: Command): Command {
  return command
    .optionsGroup('Load over time, in place of pulses:')
    .option('--shape <shape>', 'steady, sawtooth, ramp, poisson, trace=FILE or pulse, with its keys', parseShape)
    .option(
      '--ramp <n/time>',
      'rise evenly to n connections, hold for --linger; 10k/60s,0/30s has two stages',
      parseStages
    )
    .option('--churn <n/s>', 'connections per second that leave and are replaced', parsePerSecond)
    .option('--seed <n>', 'seed of random shapes; the same seed repeats a load (default: 1)', parseCount)
}

const ALL = ['big', 'iterations', 'bigSeparation', 'small', 'smallSeparation', 'linger', 'pulses'] as const

/**
 * Returns the shape of the spike of `ebb bench`. The small pulses come after it.
 *
 * @throws ValueError as {@link shapeOf}, and for a shape of pulses
 */
export function spikeOf(flags: ShapeFlags & PlanFlags): LevelShape | undefined {
  const shape = shapeOf(flags, ['big', 'iterations'])
  if (shape?.shape === 'pulse') throw new ValueError('--shape pulse is what ebb bench does: leave it out')
  return shape
}

/**
 * Returns the shape that the options describe, or undefined if they describe pulses of a plan.
 *
 * @param replaces the options of a plan that a shape makes meaningless
 * @throws ValueError for options that exclude each other; TraceError for a trace that is not valid; Error of the system
 *   if it cannot be read
 */
export function shapeOf(
  { shape, ramp, seed, ...flags }: ShapeFlags & PlanFlags,
  replaces: readonly (keyof PlanFlags)[] = ALL
): Shape | undefined {
  if (shape !== undefined && ramp !== undefined) throw new ValueError('--ramp is a shape: leave out --ramp or --shape')
  if (shape === undefined && ramp === undefined) {
    if (seed !== undefined) throw new ValueError('--seed is for random shapes: add --shape')
    return undefined
  }
  for (const name of replaces) {
    if (flags[name] === undefined || (name === 'linger' && ramp !== undefined)) continue
    throw new ValueError(`${dashed(name)} is for pulses: leave it out, or use --shape pulse with keys`)
  }
  if (shape !== undefined) return readShape(seed === undefined ? shape : { ...shape, seed }, '.')
  const stages = ramp ?? []
  const { linger = rampLinger(stages, BENCH_PLAN.linger) } = flags
  return { shape: 'ramp', stages, linger, offset: 0, jitter: 0, seed: seed ?? 1 }
}

/** Parses a shape: its name or `trace=FILE`, then the keys of a box file: `poisson,rate=200,hold=5s,duration=1m`. */
export function parseShape(text: string): PlanKeys {
  const [first = '', ...rest] = text.split(/,(?=\s*[a-zA-Z]+=)/)
  const pairs = first.includes('=') ? [first, ...rest] : rest
  const keys = Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=')
      return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()]
    })
  )
  const parsed = planKeys.safeParse(first.includes('=') ? keys : { shape: first.trim(), ...keys })
  if (parsed.success) return parsed.data
  const [issue] = issuesOf(parsed.error)
  const path = issue?.path.join('.') ?? ''
  throw new ValueError(`${path === '' ? '' : `${path}: `}${issue?.message ?? 'it is not a shape'}`)
}

/** The options that make a verdict a gate. */
import type { Command } from 'commander'
import type { Limits } from '../../report/limits.js'
import { arg } from './plan.js'
import { parseNumber, parseTime } from './values.js'

export interface LimitFlags {
  maxRetention?: number
  maxFootprint?: number
  maxRelease?: number
}

export function limitOptions(command: Command): Command {
  return command
    .option('--max-retention <ratio>', 'end with 3 when kept / need is above it', arg(parseNumber))
    .option('--max-footprint <bytes>', 'end with 3 when a connection costs more', arg(parseNumber))
    .option('--max-release <time>', 'end with 3 when memory comes back later', arg(parseTime))
}

export function limitsOf({ maxRetention, maxFootprint, maxRelease }: LimitFlags): Limits {
  return {
    ...(maxRetention !== undefined && { maxRetention }),
    ...(maxFootprint !== undefined && { maxFootprint }),
    ...(maxRelease !== undefined && { maxRelease })
  }
}

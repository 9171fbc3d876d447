/** The options that set limits for a verdict, so that a command can serve as a test in CI. */
import type { Command } from 'commander'
import type { Limits } from '../../report/limits.js'
import { defined } from '../../units/defined.js'
import { parseNumber, parseTime } from './values.js'

/** Values of the limit options. */
export interface LimitFlags {
  maxRetention?: number
  /** Bytes. */
  maxFootprint?: number
  /** Milliseconds. */
  maxRelease?: number
}

/** Adds the limit options to a command. */
export function limitOptions(command: Command): Command {
  return command
    .optionsGroup('Limits:')
    .option('--max-retention <ratio>', 'exit 3 if kept / need is above this ratio', parseNumber)
    .option('--max-footprint <bytes>', 'exit 3 if a connection uses more than this', parseNumber)
    .option('--max-release <time>', 'exit 3 if releasing the memory takes longer than this', parseTime)
}

/** Returns the limits that were given. */
export function limitsOf({ maxRetention, maxFootprint, maxRelease }: LimitFlags): Limits {
  return defined({ maxRetention, maxFootprint, maxRelease })
}

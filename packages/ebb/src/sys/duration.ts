/** Durations as options take them. */
import { invalidArgument, shown } from './errors.js'

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/**
 * Converts a duration to milliseconds: a positive number is milliseconds, a string has a unit (`250ms`, `5s`, `1.5m`,
 * `1h`).
 *
 * @param what name of the option, for the error
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if it is neither, or not above 0
 */
export function milliseconds(value: number | string, what: string): number {
  if (typeof value === 'number' && value > 0) return value
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(value.trim()) : null
  const ms = match === null ? 0 : Number(match[1]) * (UNITS[match[2] as string] as number)
  if (ms > 0) return ms
  throw invalidArgument(
    `${what} must be milliseconds, or a time with a unit such as '250ms', '5s' or '2m', not ${shown(value)}`
  )
}

/** Returns the shortest of the times that are above 0, which means that they are set; 0 if none is. */
export function shortest(...times: number[]): number {
  const set = times.filter((time) => time > 0)
  return set.length === 0 ? 0 : Math.min(...set)
}

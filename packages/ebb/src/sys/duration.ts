/** Durations as options take them. */
import { invalidArgument, shown, warn } from './errors.js'

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/**
 * A number below this (ms) was probably meant as seconds: `idle: 5`. No server in use needs so short a time; tests do.
 * Strings have a unit, so none of them is in doubt.
 */
const SHORTEST_PLAUSIBLE = 10

const warned = new Set<string>()

/**
 * Converts a duration to milliseconds: a positive number is milliseconds, a string has a unit (`250ms`, `5s`, `1.5m`,
 * `1h`). A number below 10 emits a process warning: see {@link warnOfShort}.
 *
 * @param what name of the option, for the error
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if it is neither, or not above 0
 */
export function milliseconds(value: number | string, what: string): number {
  if (typeof value === 'number' && value > 0) {
    warnOfShort(value, what, `write '${value}s' for seconds, or '${value}ms' if it is meant`)
    return value
  }
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(value.trim()) : null
  const ms = match === null ? 0 : Number(match[1]) * (UNITS[match[2] as string] as number)
  if (ms > 0) return ms
  throw invalidArgument(
    `${what} must be milliseconds, or a time with a unit such as '250ms', '5s' or '2m', not ${shown(value)}`
  )
}

/**
 * Emits the process warning `EBB_SHORT_TIME` for a number of milliseconds above 0 and below 10, once for each option
 * and value. Does not in a test run (`NODE_ENV=test`, as Vitest and Jest set it, or Node's own test runner).
 *
 * @param what name of the option
 * @param remedy what to write
 */
export function warnOfShort(value: number, what: string, remedy: string): void {
  if (!(value > 0 && value < SHORTEST_PLAUSIBLE)) return
  const { NODE_ENV, NODE_TEST_CONTEXT } = process.env
  if (NODE_ENV === 'test' || NODE_TEST_CONTEXT !== undefined) return
  const problem = `${what} is ${value} ms, because a number is milliseconds`
  if (warned.has(problem)) return
  warned.add(problem)
  warn('EBB_SHORT_TIME', `${problem}: ${remedy}`)
}

/** Returns the shortest of the times that are above 0, which means that they are set; 0 if none is. */
export function shortest(...times: number[]): number {
  const set = times.filter((time) => time > 0)
  return set.length === 0 ? 0 : Math.min(...set)
}

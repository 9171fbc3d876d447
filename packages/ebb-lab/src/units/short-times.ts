/** Times that were probably given in seconds. */
import { warnOfShort } from 'ebb/sys'

/**
 * Emits the process warning `EBB_SHORT_TIME` for each time above 0 and below 10 ms, because functions take
 * milliseconds. Emits none in a test run.
 */
export function warnOfShortTimes(times: Readonly<Record<string, unknown>>): void {
  for (const name of TIMES) {
    const value = times[name]
    if (typeof value === 'number') warnOfShort(value, name, `write ${value * 1000} for ${value} s`)
  }
}

/** Names of the options that are times. */
const TIMES = ['linger', 'bigSeparation', 'smallSeparation', 'timeout', 'rest', 'duration'] as const

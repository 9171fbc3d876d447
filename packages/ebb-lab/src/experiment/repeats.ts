/** Several runs of one experiment. */
import { invalidArgument } from 'ebb/sys'

/** Which of several runs it is, counted from 1. */
export interface Repeat {
  index: number
  of: number
}

/** The highest number of runs: more is probably a typing mistake. */
const MOST_RUNS = 100

/**
 * Returns the runs to make, `[undefined]` for a single one.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE` if the number is not from 1 to 100
 */
export function repeatsOf({ runs: of = 1 }: { runs?: number }): (Repeat | undefined)[] {
  if (!Number.isInteger(of) || of < 1 || of > MOST_RUNS) {
    throw invalidArgument(`runs must be a whole number from 1 to ${MOST_RUNS}, not ${of}`)
  }
  return of === 1 ? [undefined] : Array.from({ length: of }, (_, index) => ({ index: index + 1, of }))
}

/** Returns the name of a recording without extension: `net.2` for the second of several runs on `net`. */
export function numbered(name: string, repeat: Repeat | undefined): string {
  return repeat === undefined ? name : `${name}.${repeat.index}`
}

/** Verdicts as they go into JSON: rounded, rated, and without `Infinity`. */
import type { NoteCode } from './notes.js'
import { type Ratings, rate } from './rating.js'
import { rounded } from './rounding.js'
import type { Spread, SpreadFigure } from './spread.js'
import type { Verdict } from './verdict.js'

/** A verdict in JSON, which has no `Infinity`. */
export type VerdictJson = Omit<Verdict, 'release' | 'spread'> & {
  /** Lowest and highest value of each figure over the runs. A release time is null if memory never went back. */
  spread?: Partial<Record<SpreadFigure, { low: number | null; high: number | null }>>
  /** Release time, ms; null if memory never went back, or if it is not known. */
  release: number | null
  /**
   * Why `release` is null: `never` if memory was not back when the recording ended, else the code of the note that says
   * why the release time is not known. Null if `release` is a number.
   */
  releaseReason: string | null
  /** Which figures are good, fair or poor, and why. A figure that is not known has none. */
  rating: Ratings
}

/** Notes that can explain why the release time is not known, the most telling first. */
const RELEASE_REASONS: readonly NoteCode[] = [
  'server-ended',
  'no-pulse',
  'no-big-pulse',
  'no-control',
  'control-with-big-pulse',
  'control-without-small-pulse',
  'need-unsampled',
  'release-time-unknown',
  'recording-cut-off'
]

/** Returns the verdict as it goes into JSON. */
export function verdictToJson(verdict: Verdict): VerdictJson {
  const { release, notes, spread, ...others } = rounded(verdict)
  const rest = { ...others, ...(spread !== undefined && { spread: spreadToJson(spread) }), rating: rate(verdict) }
  if (release !== null && release !== Infinity) return { ...rest, notes, release, releaseReason: null }
  const reason = RELEASE_REASONS.find((code) => notes.some((note) => note.code === code))
  return { ...rest, notes, release: null, releaseReason: release === null ? (reason ?? 'unknown') : 'never' }
}

function spreadToJson(spread: Spread): NonNullable<VerdictJson['spread']> {
  const finite = (value: number): number | null => (value === Infinity ? null : value)
  return Object.fromEntries(
    Object.entries(spread).map(([figure, { low, high }]) => [figure, { low: finite(low), high: finite(high) }])
  )
}

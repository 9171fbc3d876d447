/** Compares the verdicts on a server with earlier ones: which figures are better, worse, or within the noise. */
import { medianOf } from '../median.js'
import { NEAR, NEAR_BYTES } from '../release-time.js'
import type { SpreadFigure } from '../spread.js'
import type { Verdict } from '../verdict.js'
import { rankTest } from './rank-test.js'

/** A figure that is compared. */
export type ComparedFigure = SpreadFigure | 'failed' | 'lost'

/**
 * How a figure changed:
 * - `better`, `worse`: by more than the noise.
 * - `noise`: the difference is within the noise, or too small to matter.
 * - `unknown`: the figure is not known on one side, or there are too few runs to tell it from noise.
 */
export type Change = 'better' | 'worse' | 'noise' | 'unknown'

/** What became of a figure. */
export interface FigureChange {
  figure: ComparedFigure
  change: Change
  /** Median over the earlier runs, in the figure's own unit; null if no run knows it. */
  before: number | null
  /** Median over the present runs. */
  now: number | null
  /** (now - before) / before; null if it is not a number. */
  relative: number | null
  /** Two-sided p-value: how likely such a difference is if nothing changed. Null with fewer than 4 runs on a side. */
  p: number | null
}

/** A server beside its earlier self. */
export interface Comparison {
  /** Name of the server. */
  name: string
  /** Name of the server that it is compared with. */
  against: string
  /** Number of runs on each side. */
  runs: { before: number; now: number }
  /** In the order of the verdict's table. A figure that no side knows is left out. */
  figures: FigureChange[]
}

/** Runs on each side from which on the rank test can find a difference at {@link SIGNIFICANT}: 4 and 4 reach 0.029. */
export const RANKED = 4
/** Runs on each side from which on there is a spread. */
export const FEWEST = 2
/** Highest p-value that counts as a difference. */
const SIGNIFICANT = 0.05

/** Whether more of a figure is better or worse, and the smallest difference that matters besides a relative one. */
interface Kind {
  better: 'less' | 'more'
  least: number
}

const MEMORY: Kind = { better: 'less', least: NEAR_BYTES }
/** Half a megabyte over 10,000 connections. */
const FOOTPRINT: Kind = { better: 'less', least: 50 }
/** The time between two samples. */
const TIME: Kind = { better: 'less', least: 100 }

const KINDS: Record<ComparedFigure, Kind> = {
  retention: { better: 'less', least: 0.05 },
  release: TIME,
  footprint: FOOTPRINT,
  rest: MEMORY,
  hold: MEMORY,
  peak: MEMORY,
  resident: MEMORY,
  kept: MEMORY,
  need: MEMORY,
  longestPause: { better: 'less', least: 1 },
  cpuPerThousand: { better: 'less', least: 1 },
  connectsPerSecond: { better: 'more', least: 1 },
  failed: { better: 'less', least: 0 },
  lost: { better: 'less', least: 0 }
}

/** All figures that are compared, in the order of the verdict's table. */
export const COMPARED = Object.keys(KINDS) as ComparedFigure[]

/** Smallest relative difference that matters, unless another is given: the same 5 % as in a release time. */
const THRESHOLD = NEAR

/** The verdicts on each run on a server. */
export interface Runs {
  name: string
  verdicts: readonly Verdict[]
}

/**
 * Compares the runs on a server with earlier runs. A figure is better or worse if the medians differ by more than
 * `threshold`, and the difference is no noise:
 * - With 4 or more runs on each side, if the Mann-Whitney U test gives p <= 0.05.
 * - With 2 or 3 runs on a side, if the ranges of both sides do not overlap.
 * - With a single run on a side, the noise is unknown.
 *
 * @param threshold smallest relative difference that matters. Default: 0.05
 */
export function compare(now: Runs, before: Runs, threshold = THRESHOLD): Comparison {
  const figures = COMPARED.flatMap((figure) => {
    const [present, earlier] = [valuesOf(now, figure), valuesOf(before, figure)]
    const isCount = figure === 'failed' || figure === 'lost'
    const isNothing = isCount && [...present, ...earlier].every((value) => value === 0)
    if (isNothing || (present.length === 0 && earlier.length === 0)) return []
    return [changeOf(figure, present, earlier, threshold)]
  })
  return {
    name: now.name,
    against: before.name,
    runs: { before: before.verdicts.length, now: now.verdicts.length },
    figures
  }
}

function valuesOf({ verdicts }: Runs, figure: ComparedFigure): number[] {
  return verdicts.flatMap((verdict) => verdict[figure] ?? [])
}

function changeOf(
  figure: ComparedFigure,
  present: readonly number[],
  earlier: readonly number[],
  threshold: number
): FigureChange {
  const [now, before] = [medianOf(present), medianOf(earlier)]
  const relative = now === null || before === null ? Number.NaN : (now - before) / Math.abs(before)
  const few = Math.min(present.length, earlier.length)
  const p = few < RANKED ? null : rankTest(present, earlier)
  const change = (): Change => {
    if (now === null || before === null) return 'unknown'
    const { better, least } = KINDS[figure]
    // A release time may be infinite, on both sides, too.
    const matters = Number.isFinite(before) ? Math.max(least, threshold * Math.abs(before)) : least
    if (now === before || Math.abs(now - before) <= matters) return 'noise'
    if (few < FEWEST) return 'unknown'
    const differ = p === null ? !overlap(present, earlier) : p <= SIGNIFICANT
    if (!differ) return 'noise'
    return now < before === (better === 'less') ? 'better' : 'worse'
  }
  return { figure, change: change(), before, now, relative: Number.isFinite(relative) ? relative : null, p }
}

/** Whether the ranges of two samples overlap. */
function overlap(a: readonly number[], b: readonly number[]): boolean {
  return Math.min(...a) <= Math.max(...b) && Math.min(...b) <= Math.max(...a)
}

/** Returns whether a difference in one of some figures cannot be told from noise, because a side has a single run. */
export function lacksRuns({ figures }: Comparison, wanted: readonly ComparedFigure[] = COMPARED): boolean {
  return figures.some(
    ({ figure, change, now, before }) =>
      wanted.includes(figure) && change === 'unknown' && now !== null && before !== null
  )
}

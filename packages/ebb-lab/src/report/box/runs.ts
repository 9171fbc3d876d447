/** Several runs of a box: one verdict for each variant, with medians and spread. */
import { medianOf } from '../median.js'
import { withNotes } from '../notes.js'
import { mergeNotes, mergeRuns } from '../runs.js'
import type { Verdict } from '../verdict.js'
import {
  BOX_SPREAD_FIGURES,
  type BoxSpread,
  type BoxVerdict,
  fitInto,
  type ServerState,
  type ServerVerdict
} from './verdict.js'

/** How bad the end of a server is: the worst of its runs counts. */
const STATES: readonly ServerState[] = ['ran', 'ended', 'failed', 'killed']

/**
 * Merges the verdicts on several runs of one variant. Figures are medians over the runs that know them, failures are
 * sums, and of each server's ends the worst counts.
 *
 * @param verdicts at least one, with the same servers. A single verdict is returned as it is
 */
export function mergeBoxes(verdicts: readonly [BoxVerdict, ...BoxVerdict[]]): BoxVerdict {
  const [first] = verdicts
  if (verdicts.length === 1) return first
  const valuesOf = (figure: (typeof BOX_SPREAD_FIGURES)[number]): number[] =>
    verdicts.flatMap((verdict) => verdict[figure] ?? [])
  const figures = Object.fromEntries(BOX_SPREAD_FIGURES.map((figure) => [figure, medianOf(valuesOf(figure))]))
  const spread: BoxSpread = {}
  for (const figure of BOX_SPREAD_FIGURES) {
    const values = valuesOf(figure)
    if (values.length > 0) spread[figure] = { low: Math.min(...values), high: Math.max(...values) }
  }
  const servers = first.servers.map((_, i) => mergeServers(verdicts.flatMap((verdict) => verdict.servers[i] ?? [])))
  const merged = { ...first, ...(figures as Record<(typeof BOX_SPREAD_FIGURES)[number], number | null>) }
  const listened = servers.filter(({ verdict }) => verdict !== null).length
  return {
    ...merged,
    servers,
    peakAt: verdicts[medianBox(verdicts)]?.peakAt ?? null,
    fit: fitInto(first.fit?.memory ?? null, listened, merged.peakOfSums, merged.sumOfPeaks),
    failures: verdicts.reduce((sum, { failures }) => sum + failures, 0),
    runs: verdicts.length,
    spread,
    ...withNotes(mergeNotes(verdicts))
  }
}

/** Returns the index of the run that stands for all of them in pictures: the run whose peak of sums is the median. */
export function medianBox(verdicts: readonly BoxVerdict[]): number {
  const peak = (index: number): number => verdicts[index]?.peakOfSums ?? Number.POSITIVE_INFINITY
  const sorted = verdicts.map((_, index) => index).sort((a, b) => peak(a) - peak(b) || a - b)
  return sorted[(sorted.length - 1) >> 1] ?? 0
}

function mergeServers(servers: readonly ServerVerdict[]): ServerVerdict {
  const worst = servers.reduce((one, other) => (STATES.indexOf(other.state) > STATES.indexOf(one.state) ? other : one))
  const run = servers.indexOf(worst) + 1
  const [one, ...others] = servers.flatMap(({ verdict }) => verdict ?? [])
  return {
    ...worst,
    fate: worst.fate === null ? null : `Run ${run} of ${servers.length}: ${worst.fate}`,
    peak: medianOf(servers.flatMap(({ peak }) => peak ?? [])),
    verdict: one === undefined ? null : mergeRuns([one, ...others] satisfies [Verdict, ...Verdict[]])
  }
}

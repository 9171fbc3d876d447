/** Several runs on one server: one verdict with medians and spread, and which differences between servers are noise. */
import { medianOf } from './median.js'
import { type VerdictNote, withNotes } from './notes.js'
import { SPREAD_FIGURES, type Spread, type SpreadFigure } from './spread.js'
import type { Verdict } from './verdict.js'

/**
 * Merges the verdicts on several runs of one server. Each figure is the median over the runs that know it. Connections
 * that were made, failed or lost are added up. Each note says in which run it applies, unless it applies to all.
 *
 * @param verdicts at least one. A single verdict is returned as it is
 */
export function mergeRuns(verdicts: readonly [Verdict, ...Verdict[]]): Verdict {
  const [first] = verdicts
  if (verdicts.length === 1) return first
  const median = (
    figure: SpreadFigure | 'last' | 'trend' | 'giveBacks' | 'big' | 'small' | 'iterations'
  ): number | null => medianOf(valuesOf(verdicts, figure))
  const sum = (count: 'connects' | 'failed' | 'lost'): number => verdicts.reduce((all, one) => all + one[count], 0)
  const figures = Object.fromEntries(SPREAD_FIGURES.map((figure) => [figure, median(figure)]))
  return {
    ...first,
    ...(figures as Record<SpreadFigure, number | null>),
    big: median('big') ?? 0,
    small: median('small') ?? 0,
    iterations: median('iterations') ?? 0,
    giveBacks: median('giveBacks'),
    ...(first.last !== undefined && { last: median('last'), trend: median('trend') }),
    connects: sum('connects'),
    failed: sum('failed'),
    lost: sum('lost'),
    runs: verdicts.length,
    spread: spreadOf(verdicts),
    ...withNotes(mergeNotes(verdicts))
  }
}

/** Returns the index of the run that stands for all of them in pictures: the run whose memory kept is the median. */
export function medianRun(verdicts: readonly Verdict[]): number {
  const kept = (index: number): number => verdicts[index]?.kept ?? Number.POSITIVE_INFINITY
  const sorted = verdicts.map((_, index) => index).sort((a, b) => kept(a) - kept(b) || a - b)
  return sorted[(sorted.length - 1) >> 1] ?? 0
}

function valuesOf(verdicts: readonly Verdict[], figure: keyof Verdict): number[] {
  return verdicts.map((verdict) => verdict[figure]).filter((value) => typeof value === 'number')
}

function spreadOf(verdicts: readonly Verdict[]): Spread {
  const spread: Spread = {}
  for (const figure of SPREAD_FIGURES) {
    const values = valuesOf(verdicts, figure)
    if (values.length > 0) spread[figure] = { low: Math.min(...values), high: Math.max(...values) }
  }
  return spread
}

/** Returns the notes of all runs, one of each code. */
export function mergeNotes(verdicts: readonly { notes: readonly VerdictNote[] }[]): VerdictNote[] {
  const codes = new Set(verdicts.flatMap(({ notes }) => notes.map(({ code }) => code)))
  return [...codes].map((code) => {
    const texts = verdicts.flatMap(({ notes }, index) => {
      const note = notes.find((one) => one.code === code)
      return note === undefined ? [] : [{ text: note.text, run: index + 1 }]
    })
    const [{ text, run }] = texts as [{ text: string; run: number }]
    if (texts.length === verdicts.length && texts.every((one) => one.text === text)) return { code, text }
    const where = texts.length === 1 ? `Run ${run} of ${verdicts.length}` : `${texts.length} of ${verdicts.length} runs`
    const which = texts.length === 1 ? '' : `, such as run ${run}`
    return { code, text: `${where}${which}: ${text}` }
  })
}

/** Returns whether the difference between two servers in a figure may be noise: their ranges overlap. */
export function isNoise(one: Verdict, other: Verdict, figure: SpreadFigure): boolean {
  const [a, b] = [one.spread?.[figure], other.spread?.[figure]]
  return a !== undefined && b !== undefined && a.low <= b.high && b.low <= a.high
}

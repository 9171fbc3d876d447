/** Comparisons as they go into JSON. */
import { roundFigure, roundTo } from '../rounding.js'
import type { Comparison, FigureChange } from './compare.js'

/** A comparison in JSON, which has no `Infinity`. */
export type ComparisonJson = Omit<Comparison, 'figures'> & {
  figures: (Omit<FigureChange, 'before' | 'now'> & {
    /** `never` for the release time of a server whose memory never came back. */
    before: number | 'never' | null
    now: number | 'never' | null
  })[]
}

/** Returns the comparison as it goes into JSON. */
export function comparisonToJson(comparison: Comparison): ComparisonJson {
  const figures = comparison.figures.map(({ figure, before, now, relative, p, ...rest }) => {
    const value = (one: number | null): number | 'never' | null =>
      one === null ? null : one === Infinity ? 'never' : roundFigure(figure, one)
    return {
      figure,
      ...rest,
      before: value(before),
      now: value(now),
      relative: relative === null ? null : roundTo(relative, 4),
      p: p === null ? null : roundTo(p, 4)
    }
  })
  return { ...comparison, figures }
}

/** Comparisons in words: sentences, and the cells of their tables. */
import { duration, footprint, integer, megabytes, ratio } from '../../units/format.js'
import type { Light } from '../rating.js'
import { type Change, type ComparedFigure, type Comparison, FEWEST, type FigureChange, RANKED } from './compare.js'

/** How people read a figure. */
interface Figure {
  label: string
  text: (value: number | null) => string
}

const memory = (label: string): Figure => ({ label, text: megabytes })
const ms = (value: number | null): string => (value === null ? '-' : `${value.toFixed(1)} ms`)
const count = (value: number | null): string => (value === null ? '-' : integer(value))

const FIGURES: Record<ComparedFigure, Figure> = {
  retention: { label: 'retention', text: ratio },
  release: { label: 'release time', text: duration },
  footprint: { label: 'footprint', text: footprint },
  rest: memory('rest'),
  hold: memory('hold'),
  peak: memory('peak'),
  resident: memory('resident'),
  kept: memory('kept'),
  need: memory('need'),
  longestPause: { label: 'longest pause', text: ms },
  cpuPerThousand: { label: 'CPU / 1,000', text: ms },
  connectsPerSecond: { label: 'connects / s', text: count },
  failed: { label: 'failed', text: count },
  lost: { label: 'lost', text: count }
}

/** A word for each change. */
const WORDS: Record<Change, string> = {
  better: 'better',
  worse: 'worse',
  noise: 'within noise',
  unknown: 'noise unknown'
}

/** A sign for each change, so that nobody depends on a colour. */
export const CHANGE_SIGNS: Record<Change, string> = { better: '✓', worse: '✗', noise: '=', unknown: '?' }

/** Colours of the changes that have one. */
export const CHANGE_LIGHTS: Record<Change, Light | null> = {
  better: 'good',
  worse: 'poor',
  noise: null,
  unknown: 'fair'
}

/** The cells of a figure that is compared. */
export interface ChangeCells {
  label: string
  before: string
  now: string
  /** `+12 %`; empty if there is no percentage. */
  relative: string
  change: Change
  word: string
}

/** Returns the cells of each figure. */
export function cellsOf({ figures }: Comparison): ChangeCells[] {
  return figures.map(({ figure, before, now, relative, change }) => {
    const { label, text } = FIGURES[figure]
    const isMissing = before === null || now === null
    return {
      label,
      before: text(before),
      now: text(now),
      relative: percent(relative),
      change,
      word: isMissing ? 'not known' : WORDS[change]
    }
  })
}

/** Returns a relative difference as `+12 %`; an empty string for none. */
function percent(relative: number | null): string {
  if (relative === null) return ''
  const rounded = Math.round(relative * 100)
  if (rounded === 0)
    return Math.abs(relative) < 0.0005 ? '0 %' : `${relative > 0 ? '+' : '-'}${Math.abs(relative * 100).toFixed(1)} %`
  return `${rounded > 0 ? '+' : '-'}${integer(Math.abs(rounded))} %`
}

/** Returns the title of a comparison: `net, 5 runs, against net, 3 runs`. */
export function titleOf({ name, against, runs }: Comparison): string {
  const of = (text: string, number: number): string => `${text} (${number === 1 ? '1 run' : `${number} runs`})`
  return `${of(name, runs.now)} against ${of(against, runs.before)}`
}

/** Returns how the comparison tells a difference from noise, in one sentence. */
export function methodOf({ runs }: Comparison): string {
  const few = Math.min(runs.before, runs.now)
  if (few >= RANKED) {
    return 'Better or worse: the medians differ by more than the threshold, and the Mann-Whitney U test gives p <= 0.05.'
  }
  if (few >= FEWEST) {
    return (
      'Better or worse: the medians differ by more than the threshold, and the ranges of the runs do not overlap. ' +
      `With ${RANKED} runs or more on each side, a rank test decides, which is more reliable.`
    )
  }
  return (
    'A side has a single run, so the noise is unknown: what differs by more than the threshold may be noise. ' +
    'Measure several times on each side (--runs 5).'
  )
}

/** Returns a comparison in one sentence: `net: retention and peak are worse, footprint is better.` */
export function summaryOf(comparison: Comparison): string {
  const labels = (wanted: Change): string[] =>
    cellsOf(comparison).flatMap(({ label, change, word }) =>
      change === wanted && word === WORDS[wanted] ? [label] : []
    )
  const parts = (['worse', 'better'] as const).flatMap((change) => {
    const list = labels(change)
    return list.length === 0 ? [] : [`${listOf(list)} ${list.length === 1 ? 'is' : 'are'} ${change}`]
  })
  const unknown = labels('unknown')
  if (unknown.length > 0)
    parts.push(`${listOf(unknown)} ${unknown.length === 1 ? 'differs' : 'differ'}, with unknown noise`)
  return `${comparison.name}: ${parts.length === 0 ? 'nothing changed by more than the noise' : parts.join('; ')}.`
}

function listOf(words: readonly string[]): string {
  return words.length === 1 ? `${words[0]}` : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`
}

/** Returns one sentence for each of the figures that is worse. */
export function worseOf(comparison: Comparison, figures: readonly ComparedFigure[]): string[] {
  return comparison.figures
    .filter(({ change, figure }) => change === 'worse' && figures.includes(figure))
    .map((change) => `${comparison.name}: ${sentenceOf(change)}`)
}

function sentenceOf({ figure, before, now, relative }: FigureChange): string {
  const { label, text } = FIGURES[figure]
  const by = percent(relative)
  return `${label} is worse: ${text(now)}, before ${text(before)}${by === '' ? '' : ` (${by})`}.`
}

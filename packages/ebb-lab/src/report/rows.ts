/** The rows of the verdict's table: one per figure, in the order and the words in which people read them. */

import { duration, footprint, integer, megabytes, ratio } from '../units/format.js'
import { clientWord, commonProtocol } from './clients.js'
import type { VerdictNote } from './notes.js'
import { type Light, lightOf, type RatedFigure } from './rating.js'
import { isNoise } from './runs.js'
import type { SpreadFigure } from './spread.js'
import type { Verdict } from './verdict.js'

/** A row of a table. */
export interface Row<T = Verdict> {
  label: string
  /** What the figure means, for the page. */
  meaning: string
  /** Returns the figure of an item as text. */
  cell: (item: T) => string
  /** Set for the most important row. */
  main?: true
  /** Set for a row with the spread of the figure above it. */
  spread?: true
  /** Returns whether the figure of an item is good; null if it has no rating. Default: no item's has one. */
  light?: (item: T) => Light | null
  /** The row is shown only if this holds for an item. Default: always. */
  ifAny?: (item: T) => boolean
}

/** A row whose figure may have a spread, and how a value of the figure is written without its unit. */
interface FigureRow extends Row {
  figure?: SpreadFigure
  value?: (value: number) => string
}

const mb = (value: number): string => (value / 1e6).toFixed(1)
const tenths = (value: number): string => value.toFixed(1)

const CONNECTIONS = 'connections'

const ROWS: readonly FigureRow[] = [
  {
    label: 'retention',
    meaning: 'kept / need; 1.00 is perfect',
    cell: (v) => ratio(v.retention),
    main: true,
    light: rated('retention'),
    figure: 'retention',
    value: ratio
  },
  {
    label: 'release time',
    meaning: 'from the last big close until memory is back and stays back',
    cell: (v) => duration(v.release),
    light: rated('release'),
    figure: 'release',
    value: duration
  },
  {
    label: 'footprint',
    meaning: '(hold - rest) / connections, per connection; < 0: less than the garbage at rest',
    cell: (v) => footprint(v.footprint),
    light: rated('footprint'),
    figure: 'footprint',
    value: (value) => footprint(value).replace(/ B$/, '')
  },
  memoryRow('rest', 'anonymous memory before any pulse'),
  memoryRow('hold', 'while a big pulse is open'),
  memoryRow('peak', 'highest anonymous memory'),
  {
    label: 'at the end',
    meaning: 'anonymous memory in the last second',
    cell: (v) => megabytes(v.last ?? null),
    ifAny: (v) => v.last !== undefined
  },
  {
    label: 'trend',
    meaning: 'how anonymous memory changed over the recording',
    cell: (v) => trend(v.trend ?? null),
    ifAny: (v) => v.trend !== undefined
  },
  memoryRow('resident', 'RSS while a big pulse is open'),
  memoryRow('kept', 'holding a small pulse after the big ones'),
  memoryRow('need', 'holding a small pulse in a fresh process'),
  { label: 'releases', meaning: 'releases that the server reported', cell: (v) => count(v.giveBacks) },
  {
    label: 'longest pause',
    meaning: 'of a release',
    cell: (v) => pause(v.longestPause),
    light: rated('longestPause'),
    figure: 'longestPause',
    value: tenths
  },
  {
    label: 'CPU / 1,000',
    meaning: 'CPU time per 1,000 connects and closes',
    cell: (v) => cpu(v.cpuPerThousand),
    figure: 'cpuPerThousand',
    value: tenths
  },
  {
    label: 'connects / s',
    meaning: 'how fast big pulses were connected',
    cell: (v) => (v.connectsPerSecond === null ? '-' : integer(v.connectsPerSecond)),
    figure: 'connectsPerSecond',
    value: integer
  },
  {
    label: 'runs',
    meaning: 'figures are medians over them',
    cell: (v) => integer(v.runs ?? 1),
    ifAny: (v) => v.runs !== undefined
  },
  { label: CONNECTIONS, meaning: 'made over the whole run, or over all runs', cell: (v) => integer(v.connects) },
  {
    label: 'failed',
    meaning: 'connects that failed',
    cell: (v) => integer(v.failed),
    light: rated('failed'),
    ifAny: (v) => v.failed > 0
  },
  {
    label: 'lost',
    meaning: 'closed by the server while held',
    cell: (v) => integer(v.lost),
    light: rated('lost'),
    ifAny: (v) => v.lost > 0
  }
]

function rated(figure: RatedFigure): (verdict: Verdict) => Light | null {
  return (verdict) => lightOf(verdict, figure)
}

/** Formats a change of memory over time, bytes per minute. */
export function trend(perMinute: number | null): string {
  if (perMinute === null) return '-'
  return perMinute === 0 ? 'steady' : `${perMinute > 0 ? '+' : '-'}${megabytes(Math.abs(perMinute))}/min`
}

/** Returns the row of a figure that is anonymous or resident memory. */
function memoryRow(figure: 'rest' | 'hold' | 'peak' | 'resident' | 'kept' | 'need', meaning: string): FigureRow {
  return { label: figure, meaning, cell: (v) => megabytes(v[figure]), figure, value: mb }
}

/**
 * Returns the rows to show. Failed and lost connections have a row only if there are any. For recordings without
 * pulses, only what is known has a row. If a server was measured several times, each figure has a second row with its
 * lowest and highest value. The footprint is named by what the clients spoke: `per WebSocket`.
 */
export function rowsFor(verdicts: readonly Verdict[]): Row[] {
  const repeated = verdicts.some(({ spread }) => spread !== undefined)
  const protocol = commonProtocol(verdicts)
  const shown = ROWS.filter(({ ifAny }) => ifAny === undefined || verdicts.some(ifAny))
  return shown
    .filter((row) => hasContent(row, verdicts))
    .flatMap((known): Row[] => {
      const { figure, main } = known
      const isFootprint = figure === 'footprint' && protocol !== undefined
      const row = isFootprint ? { ...known, label: `per ${clientWord(protocol)}` } : known
      if (!repeated || figure === undefined) return [row]
      // Said once, at the top of the table.
      const meaning = main ? 'lowest to highest run' : ''
      return [row, { label: '  spread', meaning, cell: (v) => rangeOf(v, figure), spread: true }]
    })
}

/** Without a pulse, most figures are known of no server, and their rows are left out. */
function hasContent({ label, cell }: Row, verdicts: readonly Verdict[]): boolean {
  if (verdicts.length === 0 || verdicts.some(({ last }) => last === undefined)) return true
  return label === CONNECTIONS ? verdicts.some(({ connects }) => connects > 0) : verdicts.some((v) => cell(v) !== '-')
}

/** The spread of a figure that reads the same in all runs. */
export const SAME = 'same'

/** Returns the spread of a figure as text: `24.8 to 26.1`; `same` if all runs read the same. */
export function rangeOf({ spread }: Verdict, figure: SpreadFigure): string {
  const range = spread?.[figure]
  if (range === undefined) return '-'
  const { value = String } = ROWS.find((row) => row.figure === figure) ?? {}
  const [low, high] = [value(range.low), value(range.high)]
  return low === high ? SAME : `${low} to ${high}`
}

/** Pairs of servers that have a sentence about noise. */
const MOST_PAIRS = 6

/**
 * Returns a sentence for each two servers that were measured several times: which of their differences are within the
 * spread of their runs. A figure that reads the same for both is left out.
 */
export function noiseNotes(verdicts: readonly Verdict[]): string[] {
  const pairs = verdicts.flatMap((one, index) => verdicts.slice(index + 1).map((other) => [one, other] as const))
  const sentences = pairs.flatMap(([one, other]) => {
    const noisy = ROWS.filter(
      (row) => row.figure !== undefined && isNoise(one, other, row.figure) && row.cell(one) !== row.cell(other)
    )
    if (noisy.length === 0) return []
    const labels = noisy.map(({ label }) => label)
    const list = labels.length === 1 ? labels[0] : `${labels.slice(0, -1).join(', ')} and ${labels.at(-1)}`
    const differences = labels.length === 1 ? 'The difference' : 'The differences'
    const are = labels.length === 1 ? 'is' : 'are'
    return [
      `${differences} between ${one.name} and ${other.name} in ${list} ${are} within the spread of the runs: noise.`
    ]
  })
  const more = sentences.length - MOST_PAIRS
  return more > 0 ? [...sentences.slice(0, MOST_PAIRS), `${more} more pairs of servers differ by noise.`] : sentences
}

/** An item of a table that can have notes under the table. */
export interface Annotated {
  name: string
  notes: readonly VerdictNote[]
}

/** A note under a table. */
export interface Footnote<T extends Annotated = Verdict> {
  /** Counts from 1. */
  number: number
  text: string
  /** The items that the note applies to. */
  verdicts: T[]
}

/** Returns the notes of all items. A note that reads the same for several items is listed once. */
export function footnotes<T extends Annotated>(items: readonly T[]): Footnote<T>[] {
  const footnotes = new Map<string, Footnote<T>>()
  for (const item of items) {
    for (const { code, text } of item.notes) {
      const key = JSON.stringify([code, text])
      const footnote = footnotes.get(key) ?? { number: footnotes.size + 1, text, verdicts: [] }
      if (!footnote.verdicts.includes(item)) footnote.verdicts.push(item)
      footnotes.set(key, footnote)
    }
  }
  return [...footnotes.values()]
}

function count(value: number | null): string {
  return value === null ? '-' : integer(value)
}

function pause(ms: number | null): string {
  return ms === null ? '-' : ms === 0 ? 'none' : `${ms.toFixed(1)} ms`
}

function cpu(ms: number | null): string {
  return ms === null ? '-' : `${ms.toFixed(1)} ms`
}

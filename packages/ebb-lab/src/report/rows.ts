/** The rows of the verdict's table: one per figure, in the order and the words in which people read them. */
import { bytes, duration, integer, megabytes, ratio } from '../units/format.js'
import type { VerdictNote } from './notes.js'
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
  /** The row is shown only if this holds for an item. Default: always. */
  ifAny?: (item: T) => boolean
}

/** Highest retention of a server that counts as releasing its memory. */
const RELEASES = 1.1

const ROWS: readonly Row[] = [
  { label: 'retention', meaning: 'kept / need; 1.00 is perfect', cell: (v) => ratio(v.retention), main: true },
  {
    label: 'release time',
    meaning: 'from the last big close until memory is back and stays back',
    cell: (v) => duration(v.release)
  },
  { label: 'footprint', meaning: '(hold - rest) / connections, per connection', cell: (v) => bytes(v.footprint) },
  { label: 'rest', meaning: 'anonymous memory before any pulse', cell: (v) => megabytes(v.rest) },
  { label: 'hold', meaning: 'while a big pulse is open', cell: (v) => megabytes(v.hold) },
  { label: 'peak', meaning: 'highest anonymous memory', cell: (v) => megabytes(v.peak) },
  { label: 'resident', meaning: 'RSS while a big pulse is open', cell: (v) => megabytes(v.resident) },
  { label: 'kept', meaning: 'holding a small pulse after the big ones', cell: (v) => megabytes(v.kept) },
  { label: 'need', meaning: 'holding a small pulse in a fresh process', cell: (v) => megabytes(v.need) },
  { label: 'releases', meaning: 'releases that the server reported', cell: (v) => count(v.giveBacks) },
  { label: 'longest pause', meaning: 'of a release', cell: (v) => pause(v.longestPause) },
  { label: 'CPU / 1,000', meaning: 'CPU time per 1,000 connects and closes', cell: (v) => cpu(v.cpuPerThousand) },
  {
    label: 'connects / s',
    meaning: 'how fast big pulses were connected',
    cell: (v) => (v.connectsPerSecond === null ? '-' : integer(v.connectsPerSecond))
  },
  { label: 'connections', meaning: 'made over the whole run', cell: (v) => integer(v.connects) },
  {
    label: 'failed',
    meaning: 'connects that failed',
    cell: (v) => integer(v.failed),
    ifAny: (v) => v.failed > 0
  },
  {
    label: 'lost',
    meaning: 'closed by the server while held',
    cell: (v) => integer(v.lost),
    ifAny: (v) => v.lost > 0
  }
]

/** Returns the rows to show. Failed and lost connections have a row only if there are any. */
export function rowsFor(verdicts: readonly Verdict[]): Row[] {
  return ROWS.filter(({ ifAny }) => ifAny === undefined || verdicts.some(ifAny))
}

/** Returns whether the server releases its memory after a spike; null if retention is not known. */
export function releasesMemory(verdict: Verdict): boolean | null {
  return verdict.retention === null ? null : verdict.retention <= RELEASES
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

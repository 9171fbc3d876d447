/** Writes verdicts as a table, for a terminal and in Markdown. */

import { duration, footprint, integer, megabytes, ratio } from '../units/format.js'
import { clean, fit, textWidth, wrap } from '../units/text.js'
import { clientWord, commonProtocol } from './clients.js'
import {
  LIGHTS,
  type Light,
  lightOf,
  type RatedFigure,
  type Reason,
  reasonsFor,
  SIGNS,
  subjectOf,
  withSign
} from './rating.js'
import { type Annotated, type Footnote, footnotes, type Row, rangeOf, rowsFor, SAME } from './rows.js'
import type { SpreadFigure } from './spread.js'
import type { Verdict } from './verdict.js'

/** Options of {@link table}. */
export interface TableOptions {
  /** Columns of the terminal, at least 32: no line is longer. Default: 80. */
  width?: number
  /** Uses ANSI colours. Default: false. The caller decides about `NO_COLOR` and pipes. */
  colour?: boolean
}

/** Minimum width of the table. */
const NARROWEST = 32
/** Columns between two cells. */
const GAP = 2
/** Minimum width of a server's column: the longest figure is `10,000.0 MB`. */
const NARROWEST_CELL = 12
/** Maximum width of a server's column: a longer name continues on the next line. */
const WIDEST_CELL = 20
/** Maximum lines of a name. A longer name ends in an ellipsis. */
const NAME_LINES = 3

/**
 * Writes verdicts as plain text, one line per figure and one column per server. If the columns do not fit, the table
 * continues in a second block. A figure that is not known is `-`; the line `notes` refers to the notes at the end. A
 * sign before a figure says how good it is. Below the table is why figures are not good.
 */
export function table(verdicts: readonly Verdict[], options: TableOptions = {}): string {
  return tableOf(
    {
      items: verdicts,
      rows: rowsFor(verdicts),
      subtitle: (verdict) => verdict.runtime,
      reasons: reasonsFor(verdicts.map((verdict) => ({ name: verdict.name, verdict })))
    },
    options
  )
}

/** What a table with a column per item is made of. */
export interface Columns<T extends Annotated> {
  items: readonly T[]
  rows: readonly Row<T>[]
  /** Returns the text under a name, or null for none. */
  subtitle: (item: T) => string | null
  /** Why figures are fair or poor. Default: not said. */
  reasons?: readonly Reason[]
}

/** Writes a table of any items that have names and notes; see {@link table}. */
export function tableOf<T extends Annotated>(columns: Columns<T>, options: TableOptions = {}): string {
  const { items, rows } = columns
  const width = Math.max(NARROWEST, Math.floor(options.width ?? 80))
  const paint = options.colour ? ansi : plain
  const notes = footnotes(items)
  const label = Math.max(...rows.map((row) => textWidth(row.label)))
  const cell = cellWidth(columns, width - label)
  const perBlock = Math.max(1, Math.floor((width - label) / (GAP + cell)))

  const blocks: string[] = []
  for (let start = 0; start < items.length; start += perBlock) {
    blocks.push(block({ ...columns, items: items.slice(start, start + perBlock) }, notes, label, cell, paint))
  }
  if (rows.some(({ light }) => light !== undefined && items.some((item) => light(item) !== null))) {
    blocks.push(reasonLines(columns.reasons ?? [], width, paint))
  }
  if (notes.length > 0) blocks.push(notes.map((note) => footnoteLines(note, width)).join('\n'))
  return blocks.join('\n\n')
}

/** Writes verdicts as a Markdown table, one line per server. Names are escaped and stay within their cells. */
export function markdownTable(verdicts: readonly Verdict[]): string {
  const columns: [title: string, cell: (verdict: Verdict) => string][] = [
    ['server', (v) => escapeMarkdown(nameWithRuntime(v))],
    ['at rest', (v) => megabytes(v.rest) + within(v, 'rest')],
    [`holding ${counts(verdicts, 'big')}`, (v) => `${megabytes(v.hold)} (peak ${megabytes(v.peak)})`],
    [
      `per ${clientWord(commonProtocol(verdicts))}`,
      (v) => lit(v, 'footprint', escapeMarkdown(footprint(v.footprint)) + within(v, 'footprint'))
    ],
    [`kept, holding ${counts(verdicts, 'small')} after`, (v) => megabytes(v.kept) + within(v, 'kept')],
    ['need', (v) => megabytes(v.need) + within(v, 'need')],
    [
      'retention',
      (v) => (v.retention === null ? '-' : lit(v, 'retention', `**${ratio(v.retention)}**${within(v, 'retention')}`))
    ],
    ['release time', (v) => lit(v, 'release', duration(v.release) + within(v, 'release'))],
    [
      'CPU per 1,000',
      (v) => (v.cpuPerThousand === null ? '-' : `${v.cpuPerThousand.toFixed(1)} ms${within(v, 'cpuPerThousand')}`)
    ]
  ]
  const lines = [
    columns.map(([title]) => title),
    columns.map((_, index) => (index === 0 ? '---' : '---:')),
    ...verdicts.map((verdict) => columns.map(([, cell]) => cell(verdict)))
  ].map((cells) => `| ${cells.join(' | ')} |`)
  const reasons = markdownReasons(reasonsFor(verdicts.map((verdict) => ({ name: verdict.name, verdict }))))
  const notes = footnotes(verdicts).map(
    (note) => `- ${escapeMarkdown(`${note.verdicts.map((verdict) => verdict.name).join(', ')}: ${note.text}`)}`
  )
  const list = [...reasons, ...notes]
  return [...lines, ...(list.length > 0 ? ['', ...list] : [])].join('\n')
}

/** Signs of lights in Markdown, where text has no colour. Their shapes differ, too. */
const MARKDOWN_SIGNS: Record<Light, string> = { good: '✅', fair: '⚠️', poor: '❌' }

/** Returns a figure in Markdown with the sign of its light before it. */
export function withMarkdownSign(text: string, light: Light | null | undefined): string {
  return light === null || light === undefined ? text : `${MARKDOWN_SIGNS[light]} ${text}`
}

function lit(verdict: Verdict, figure: RatedFigure, text: string): string {
  return withMarkdownSign(text, lightOf(verdict, figure))
}

/** Returns why figures are fair or poor, as the lines of a list in Markdown. */
export function markdownReasons(reasons: readonly Reason[]): string[] {
  return reasons.map(
    (one) => `- ${MARKDOWN_SIGNS[one.light]} ${one.light}: ${escapeMarkdown(`${subjectOf(one)}: ${one.reason}`)}`
  )
}

/** Returns the width of the columns of servers. */
function cellWidth<T extends Annotated>({ items, rows, subtitle }: Columns<T>, room: number): number {
  const names = items.flatMap((item) => [item.name, subtitle(item) ?? '']).map((text) => textWidth(clean(text)))
  // A spread is the longest figure: `10,000 to 12,000`.
  const spreads = rows.flatMap((row) => (row.spread ? items.map((item) => textWidth(cellOf(row, item))) : []))
  const least = Math.min(WIDEST_CELL, Math.max(NARROWEST_CELL, ...spreads))
  const wanted = Math.min(WIDEST_CELL, Math.max(least, ...names))
  // As wide as the names need, but not so wide that fewer columns fit side by side.
  const even = Math.floor(room / Math.max(1, items.length)) - GAP
  return Math.min(room - GAP, Math.max(least, Math.min(wanted, even)))
}

type Style = 'bold' | 'dim' | Light
export type Paint = (text: string, style: Style) => string

export const plain: Paint = (text) => text
const CODES: Record<Style, string> = { bold: '1', dim: '2', good: '32', fair: '33', poor: '1;31' }
export const ansi: Paint = (text, style) => `\x1b[${CODES[style]}m${text}\x1b[0m`

/** Writes the columns of some of the items, with the labels of the rows on the left. */
function block<T extends Annotated>(
  { items, rows, subtitle }: Columns<T>,
  notes: readonly Footnote<T>[],
  label: number,
  cell: number,
  paint: Paint
): string {
  const line = (title: string, cells: string[], style: (index: number) => Style | null): string => {
    const painted = cells.map((text, index) => {
      const padded = ' '.repeat(GAP + cell - textWidth(text))
      const chosen = style(index)
      return padded + (chosen && text !== '' ? paint(text, chosen) : text)
    })
    return (title + ' '.repeat(label - textWidth(title)) + painted.join('')).trimEnd()
  }

  const lines: string[] = []
  const names = items.map((item) => nameLines(clean(item.name), cell))
  const tallest = Math.max(...names.map((name) => name.length))
  for (let index = 0; index < tallest; index++) {
    // Shorter names are at the bottom, next to their figures.
    const cells = names.map((name) => name[index - (tallest - name.length)] ?? '')
    lines.push(line('', cells, () => 'bold'))
  }
  if (items.some((item) => subtitle(item) !== null)) {
    const cells = items.map((item) => fit(clean(subtitle(item) ?? ''), cell))
    lines.push(line('', cells, () => 'dim'))
  }
  for (const row of rows) {
    const cells = items.map((item) => fit(cellOf(row, item), cell))
    const style = (index: number): Style | null => (row.spread ? 'dim' : (row.light?.(items[index] as T) ?? null))
    lines.push(line(row.label, cells, style))
  }
  const marks = items.map((item) => wrap(marksOf(item, notes), cell))
  for (let index = 0; index < Math.max(...marks.map((mark) => mark.length)); index++) {
    const cells = marks.map((mark) => mark[index] ?? '')
    if (cells.some((text) => text !== '')) lines.push(line(index === 0 ? 'notes' : '', cells, () => 'dim'))
  }
  return lines.join('\n')
}

/** Returns the lines of a name, at most three. */
function nameLines(name: string, columns: number): string[] {
  const lines = wrap(name, columns)
  if (lines.length <= NAME_LINES) return lines
  return [...lines.slice(0, NAME_LINES - 1), fit(lines.slice(NAME_LINES - 1).join(' '), columns)]
}

/** Returns the figure of an item with the sign of its light. */
function cellOf<T>(row: Row<T>, item: T): string {
  return withSign(row.cell(item), row.light?.(item))
}

/** Writes what the signs mean, and why figures are fair or poor, wrapped and indented. */
export function reasonLines(reasons: readonly Reason[], width: number, paint: Paint = plain): string {
  const legend = `${LIGHTS.toReversed()
    .map((light) => `${SIGNS[light]} ${light}`)
    .join(', ')}`
  const lines = reasons.flatMap((one) => {
    const { light, reason } = one
    return wrap(clean(`${subjectOf(one)}: ${reason}`), width - 2).map((line, i) =>
      i === 0 ? `${paint(SIGNS[light], light)} ${line}` : `  ${line}`
    )
  })
  return [legend, ...lines].join('\n')
}

/** Returns the numbers of an item's notes: `[1] [3]`. */
function marksOf<T extends Annotated>(item: T, notes: readonly Footnote<T>[]): string {
  return notes
    .filter((note) => note.verdicts.includes(item))
    .map((note) => `[${note.number}]`)
    .join(' ')
}

/** Writes a note with its number, wrapped and indented. */
export function footnoteLines({ number, text }: { number: number; text: string }, width: number): string {
  const mark = `[${number}] `
  return wrap(clean(text), width - mark.length)
    .map((line, index) => (index === 0 ? mark : ' '.repeat(mark.length)) + line)
    .join('\n')
}

/** Returns `net (Node 20.20.2, 5 runs)`. */
function nameWithRuntime({ name, runtime, runs }: Verdict): string {
  const details = [...(runtime === null ? [] : [runtime]), ...(runs === undefined ? [] : [`${runs} runs`])]
  return details.length === 0 ? name : `${name} (${details.join(', ')})`
}

/**
 * Returns the spread of a figure in brackets, with a space before them; nothing for a single run, or if all runs read
 * the same.
 */
function within(verdict: Verdict, figure: SpreadFigure): string {
  const range = verdict.spread === undefined ? SAME : rangeOf(verdict, figure)
  return range === SAME ? '' : ` (${range})`
}

/** Returns `10,000`, or `10,000 / 5,000` if the verdicts differ. */
function counts(verdicts: readonly Verdict[], size: 'big' | 'small'): string {
  return [...new Set(verdicts.map((verdict) => integer(verdict[size])))].join(' / ')
}

/** Escapes text for a cell of a Markdown table. */
export function escapeMarkdown(text: string): string {
  return clean(text)
    .replace(/[\\`*_[\]|~]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
}

/** The columns of the table: titles, widths and texts, and which of them fit into a terminal. */
import { integer, ratio, short } from '../../units/format.js'
import { clean, fit, textWidth } from '../../units/text.js'
import type { Row, SortKey } from './rows.js'

/** How lines are drawn. */
export interface Style {
  /** Whether characters beyond ASCII can be shown. */
  unicode: boolean
}

/** A column of the table. */
export interface Column {
  title: string
  /** Undefined for a column that rows cannot be sorted by. */
  sort?: SortKey
  /** Columns that its texts take. The name takes what is left. */
  width: number
  /** Columns with a smaller number stay in a narrower terminal. */
  priority: number
  text: (row: Row, style: Style, width: number) => string
  /** Texts are aligned on the left. */
  left?: boolean
}

const DASH = '-'
/** Below this width, the name has no use. */
const NAME_WIDTH = 11
const TREND = 'TREND'

const megabytes = (bytes: number | undefined): string => {
  if (bytes === undefined) return DASH
  const value = bytes / 1e6
  return value < 9999.95 ? value.toFixed(1) : value.toFixed(0)
}
const count = (value: number | null | undefined, width: number): string => {
  if (value === null || value === undefined) return DASH
  const text = integer(value)
  return text.length <= width ? text : short(value)
}
const percent = (share: number | null): string => {
  if (share === null) return DASH
  return share < 0.0995 ? (share * 100).toFixed(1) : (share * 100).toFixed(0)
}

const COLUMNS: readonly Column[] = [
  { title: 'PID', sort: 'pid', width: 7, priority: 14, text: ({ pid }) => String(pid) },
  { title: 'SERVER', sort: 'name', width: NAME_WIDTH, priority: 0, left: true, text: nameText },
  { title: 'PORT', sort: 'address', width: 7, priority: 1, text: addressText },
  { title: 'CLIENTS', sort: 'clients', width: 7, priority: 2, text: ({ clients }, _, width) => count(clients, width) },
  { title: 'ANON', sort: 'anonymous', width: 6, priority: 3, text: ({ anonymous }) => megabytes(anonymous) },
  { title: 'RES', sort: 'resident', width: 6, priority: 8, text: ({ resident }) => megabytes(resident) },
  { title: 'RELEASED', sort: 'released', width: 8, priority: 5, text: ({ inside }) => megabytes(inside?.released) },
  { title: 'xPRE', sort: 'peak', width: 5, priority: 4, text: ({ sincePeak }) => ratio(sincePeak?.ratio ?? null) },
  {
    title: 'RELS',
    sort: 'releases',
    width: 4,
    priority: 9,
    text: ({ inside }, _, width) => count(inside?.releases, width)
  },
  { title: 'PAUSE', sort: 'pause', width: 5, priority: 10, text: ({ inside }) => pauseText(inside?.longestPause) },
  {
    title: 'PARKED',
    sort: 'parked',
    width: 6,
    priority: 6,
    text: ({ inside }, _, width) => count(inside?.parked, width)
  },
  { title: 'AWAKE', sort: 'awake', width: 5, priority: 7, text: ({ inside }, _, width) => count(inside?.awake, width) },
  { title: 'PRES', sort: 'pressure', width: 4, priority: 12, text: ({ pressure }) => percent(pressure) },
  { title: 'CPU%', sort: 'cpu', width: 4, priority: 13, text: ({ cpu }) => percent(cpu) },
  { title: TREND, width: 10, priority: 11, left: true, text: trendText }
]

/**
 * Returns the columns that fit into `width`, with the width of each. The name takes what the others leave.
 *
 * @param hasTrend whether there are several samples to draw
 */
export function columnsFor(width: number, hasTrend = true): Column[] {
  const chosen: Column[] = []
  let left = width
  for (const column of COLUMNS.toSorted((a, b) => a.priority - b.priority)) {
    if (column.title === TREND && !hasTrend) continue
    const needed = column.width + (chosen.length === 0 ? 0 : 1)
    if (needed > left) break
    chosen.push(column)
    left -= needed
  }
  const widen = (column: Column): Column =>
    column.sort === 'name' ? { ...column, width: column.width + left } : column
  return COLUMNS.filter((column) => chosen.includes(column)).map(widen)
}

/** Returns a line of texts, one a column, each aligned and cut to its column's width. */
export function lineOf(columns: readonly Column[], text: (column: Column) => string): string {
  const cells = columns.map((column) => {
    const cell = fit(text(column), column.width)
    const padding = ' '.repeat(Math.max(0, column.width - textWidth(cell)))
    return column.left ? cell + padding : padding + cell
  })
  return cells.join(' ')
}

function nameText({ kind, name, processes, isExpanded }: Row, { unicode }: Style, width: number): string {
  const safe = clean(name)
  if (kind === 'process') return `  ${safe}`
  if (processes === 1) return safe
  const mark = isExpanded ? (unicode ? '▾' : 'v') : unicode ? '▸' : '>'
  const suffix = ` ${mark}${processes}`
  return fit(safe, Math.max(1, width - textWidth(suffix))) + suffix
}

/** Returns the first port, or the end of the first path. Others are counted: `80+2`. */
function addressText({ listens }: Row, { unicode }: Style, width: number): string {
  const [first] = listens
  if (first === undefined) return DASH
  const different = new Set(listens.map((listen) => (listen.type === 'tcp' ? listen.port : listen.path)))
  const more = different.size > 1 ? `+${different.size - 1}` : ''
  if (first.type === 'tcp') return `${first.port}${more}`
  const path = clean(first.path)
  const room = width - more.length
  if (textWidth(path) <= room) return path + more
  // The end of a path tells more than its start.
  const mark = unicode ? '…' : '~'
  return `${mark}${[...path].slice(1 - room).join('')}${more}`
}

function trendText({ trend }: Row, { unicode }: Style, width: number): string {
  return sparkline(trend, width, unicode)
}

function pauseText(ms: number | undefined): string {
  return ms === undefined ? DASH : ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0)
}

const BARS = '▁▂▃▄▅▆▇█'
const ASCII_BARS = '_.-:=+*#'

/** Draws the latest values from 0 to the largest of them, one character each. */
export function sparkline(values: readonly number[], width: number, unicode: boolean): string {
  const shown = values.slice(-width)
  const largest = Math.max(1, ...shown)
  const bars = unicode ? BARS : ASCII_BARS
  return shown.map((value) => bars[Math.min(7, Math.floor((value / largest) * 8))] ?? '').join('')
}

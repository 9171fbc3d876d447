/** From rows to the lines of a terminal. */
import { duration, integer, megabytes, ratio } from '../../units/format.js'
import { clean, fit, wrap } from '../../units/text.js'
import type { BoxSample } from '../sample.js'
import { type Column, columnsFor, lineOf, type Style, sparkline } from './columns.js'
import { boxLine } from './heading.js'
import { addressOf, type Row } from './rows.js'
import { indexOf, type State } from './state.js'

/** How a part of a line looks. */
export type Look = 'plain' | 'heading' | 'titles' | 'sorted' | 'selected' | 'process' | 'warning' | 'keys'

/** A part of a line. */
export interface Span {
  text: string
  look: Look
}

/** Size of a terminal in characters. */
export interface Size {
  width: number
  height: number
}

/** A terminal with fewer rows than this shows no details of the selected server. */
const ROOM_FOR_DETAILS = 14
const DETAILS = 4
/** The line about the box, the titles, and the keys. */
const FIXED = 3

/** The figure since the last peak, and the share of time that waited for memory, above which a cell is marked. */
const MUCH_KEPT = 1.5
const MUCH_PRESSURE = 0.1

/** Returns how many rows of the table a terminal has room for. */
export function pageOf({ height }: Size): number {
  return Math.max(1, height - FIXED - (height >= ROOM_FOR_DETAILS ? DETAILS : 0))
}

/** Returns the lines that fill a terminal. */
export function frameOf(sample: BoxSample, rows: readonly Row[], state: State, size: Size, style: Style): Span[][] {
  const { width, height } = size
  if (state.mode === 'help') return helpOf(state, size)
  const columns = columnsFor(width)
  const page = pageOf(size)
  const servers = rows.filter(({ kind }) => kind === 'server').length
  const at = indexOf(state, rows)
  const lines: Span[][] = [
    [{ text: boxLine(sample, servers, width), look: 'heading' }],
    titlesOf(columns, state),
    ...rows.slice(state.offset, state.offset + page).map((row) => rowOf(row, columns, row.id === state.selected, style))
  ]
  if (rows.length === 0) lines.push([plain(nothing(state))])
  while (lines.length < 2 + page) lines.push([])
  if (height >= ROOM_FOR_DETAILS) lines.push(...detailsOf(rows[at], state, width, style))
  lines.push([{ text: fit(keysOf(state, style), width), look: 'keys' }])
  // In a terminal of two rows, the titles and the keys make room.
  return lines.slice(0, Math.max(0, height))
}

function plain(text: string): Span {
  return { text, look: 'plain' }
}

function titlesOf(columns: readonly Column[], { view }: State): Span[] {
  return joined(
    columns,
    ({ title, sort }, text) => ({
      text: text(title),
      look: sort === view.sort ? 'sorted' : 'titles'
    }),
    'titles'
  )
}

function rowOf(row: Row, columns: readonly Column[], isSelected: boolean, style: Style): Span[] {
  const usual: Look = isSelected ? 'selected' : row.kind === 'process' ? 'process' : 'plain'
  return joined(
    columns,
    (column, text) => ({
      text: text(column.text(row, style, column.width)),
      look: !isSelected && isMuch(row, column) ? 'warning' : usual
    }),
    usual
  )
}

/** Returns the cells of a line with blanks between them. */
function joined(
  columns: readonly Column[],
  cell: (column: Column, text: (text: string) => string) => Span,
  blank: Look
): Span[] {
  return columns.flatMap((column, i) => {
    const span = cell(column, (text) => lineOf([column], () => text))
    return i === 0 ? [span] : [{ text: ' ', look: blank }, span]
  })
}

function isMuch({ sincePeak, pressure }: Row, { sort }: Column): boolean {
  if (sort === 'peak') return (sincePeak?.ratio ?? 0) >= MUCH_KEPT
  return sort === 'pressure' && (pressure ?? 0) >= MUCH_PRESSURE
}

function nothing({ view }: State): string {
  return view.filter === '' ? 'no process that you may inspect listens' : `no server matches ${clean(view.filter)}`
}

/** Returns four lines about the selected row. */
function detailsOf(row: Row | undefined, { page }: State, width: number, style: Style): Span[][] {
  if (row === undefined) {
    return [
      [],
      [plain('Up and Down select a server and show its details here.')],
      [plain(fit(liveText(page), width))],
      []
    ]
  }
  const { name, pid, processes, listens, anonymous, trend } = row
  const several = processes > 1 ? `, ${processes} processes` : ''
  const about = [`${clean(name)} (pid ${pid}${several})`, ...listens.map((listen) => clean(addressOf(listen)))]
  const lines = [about.join('  '), [`anonymous ${megabytes(anonymous)}`, ...peakOf(row)].join('  '), insideOf(row)]
  const most = Math.max(0, ...trend)
  const label = `up to ${megabytes(most)} `
  return [
    ...lines.map((line) => [plain(fit(line, width))]),
    [plain(fit(label + sparkline(trend, Math.max(0, width - label.length), style.unicode), width))]
  ]
}

function peakOf({ sincePeak }: Row): string[] {
  if (sincePeak === null) return []
  const { clients, before, ratio: times } = sincePeak
  return [`${ratio(times)} x the ${megabytes(before)} before the peak of ${integer(clients)} clients`]
}

function insideOf({ inside }: Row): string {
  if (inside === null) return 'no ebb/auto that answers here: its releases and parked connections are not known'
  const { releases, released, longestPause, parked, awake } = inside
  const pause = releases === 0 ? '' : `, returned ${megabytes(released)}, longest pause ${duration(longestPause)}`
  const parts = [`releases ${integer(releases)}${pause}`]
  if (parked !== null) parts.push(`parked ${integer(parked)}, awake ${integer(awake ?? 0)}`)
  return parts.join('  ')
}

function keysOf({ mode, paused, view }: State, { unicode }: Style): string {
  if (mode === 'filter') return `filter: ${clean(view.filter)}_   Enter: keep  Esc: undo`
  const arrows = unicode ? '↑↓' : 'j k'
  const keys = [
    `${arrows} select`,
    'Enter processes',
    's sort',
    'r reverse',
    '/ filter',
    `p ${paused ? 'resume' : 'pause'}`
  ]
  const filtered = view.filter === '' ? [] : [`Esc all (filter: ${clean(view.filter)})`]
  return [...(paused ? ['PAUSED'] : []), ...filtered, ...keys, 'h help', 'q quit'].join('  ')
}

function liveText(page: string | null): string {
  return page === null ? '' : `Live page at ${page}`
}

const HELP = [
  'Up, Down, j, k, Page, Home, End  select a server',
  'Enter, Space                     show its processes, or hide them',
  's or Right, Left                 sort by the next or the previous column',
  'r                                reverse the order',
  '/                                filter by name, pid, :port, path; Esc: all',
  'p                                pause, or resume',
  'q, Ctrl-C                        quit',
  '',
  'CLIENTS    established connections',
  'ANON, RES  anonymous and resident memory, MB',
  'RELEASED   MB that RELS releases returned; PAUSE: the longest, ms (ebb/auto)',
  'xPRE       memory now, as a multiple of what the server held with as many',
  '           clients before its last peak. It is not the retention of a verdict,',
  '           which needs a fresh process',
  'PARKED     connections without a socket; AWAKE: with a socket (ebb/auto)',
  'PRES       share of time that its cgroup waited for memory, %',
  '',
  'Any key goes back.'
]

function helpOf({ page }: State, { width, height }: Size): Span[][] {
  const about = page === null ? HELP : [liveText(page), '', ...HELP]
  const lines = about.flatMap((line) => (line.length <= width ? [line] : wrap(line, width)))
  return lines.slice(0, height).map((line) => [plain(fit(line, width))])
}

/** The rows and columns of the tables of boxes and their servers, in the words in which people read them. */
import { duration, footprint, integer, megabytes, ratio, size } from '../../units/format.js'
import { clientWord, commonProtocol } from '../clients.js'
import type { NoteCode, VerdictNote } from '../notes.js'
import { type Light, lightOf, type RatedFigure } from '../rating.js'
import { type Annotated, type Row, SAME } from '../rows.js'
import type { BoxSpread, BoxVerdict, ServerVerdict } from './verdict.js'

/** Returns the rows to show. Limits, fits and comparisons have a row only if there are any. */
export function boxRows(boxes: readonly BoxVerdict[]): Row<BoxVerdict>[] {
  const [first] = boxes
  const compared = first !== undefined && boxes.length > 1 && first.peakOfSums !== null
  const rows: (Row<BoxVerdict> | false)[] = [
    {
      label: 'peak of sums',
      meaning: 'the most that all servers held at one moment',
      cell: (b) => megabytes(b.peakOfSums),
      main: true
    },
    compared && {
      label: '  relative to the first',
      meaning: `peak of sums / that of ${first.name}`,
      cell: (b) => ratio(b.peakOfSums === null ? null : b.peakOfSums / (first.peakOfSums as number))
    },
    {
      label: 'sum of peaks',
      meaning: 'the most that each server ever held, added up',
      cell: (b) => megabytes(b.sumOfPeaks)
    },
    { label: 'multiplexing gain', meaning: 'sum of peaks / peak of sums', cell: (b) => ratio(b.gain) },
    { label: 'at rest', meaning: 'all servers, before the first connection', cell: (b) => megabytes(b.rest) },
    ...fitRows(boxes),
    boxes.some(({ limit }) => limit !== null) && {
      label: 'limit',
      meaning: 'of the memory cgroup of all servers',
      cell: (b) => (b.limit === null ? '-' : size(b.limit))
    },
    boxes.some(({ charged }) => charged !== null) && {
      label: 'charged to the cgroup',
      meaning: 'at most; includes socket memory in the kernel and file pages',
      cell: (b) => megabytes(b.charged)
    },
    boxes.some(({ servers }) => servers.some(({ state }) => state === 'killed')) && {
      label: 'killed for memory',
      meaning: 'servers that the kernel killed',
      cell: (b) => String(b.servers.filter(({ state }) => state === 'killed').length)
    },
    boxes.some(({ servers }) => servers.some(({ state }) => state === 'ended' || state === 'failed')) && {
      label: 'ended or never began',
      meaning: 'servers that ended for another reason, or did not listen',
      cell: (b) => String(b.servers.filter(({ state }) => state === 'ended' || state === 'failed').length)
    }
  ]
  const shown = rows.filter((row) => row !== false)
  if (!boxes.some(({ spread }) => spread !== undefined)) return shown
  const runs = {
    label: 'runs',
    meaning: 'figures are medians over them',
    cell: (b: BoxVerdict) => integer(b.runs ?? 1)
  }
  return [...shown.flatMap((row) => [row, ...spreadRow(row.label)]), runs]
}

/** Figures that have a row with their spread, by the label of their own row. */
const SPREADS: Record<string, { figure: keyof BoxSpread; text: (value: number) => string }> = {
  'peak of sums': { figure: 'peakOfSums', text: mb },
  'sum of peaks': { figure: 'sumOfPeaks', text: mb },
  'multiplexing gain': { figure: 'gain', text: ratio },
  'at rest': { figure: 'rest', text: mb },
  'charged to the cgroup': { figure: 'charged', text: mb }
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}

/** Returns the row with the spread of a figure, if it has one. */
function spreadRow(label: string): Row<BoxVerdict>[] {
  const of = Object.hasOwn(SPREADS, label) ? SPREADS[label] : undefined
  if (of === undefined) return []
  const cell = ({ spread }: BoxVerdict): string => {
    const range = spread?.[of.figure]
    if (range === undefined) return '-'
    const [low, high] = [of.text(range.low), of.text(range.high)]
    return low === high ? SAME : `${low} to ${high}`
  }
  return [{ label: '  spread', meaning: 'lowest to highest run', cell, spread: true }]
}

function fitRows(boxes: readonly BoxVerdict[]): Row<BoxVerdict>[] {
  const memory = boxes.find(({ fit }) => fit !== null)?.fit?.memory
  if (memory === undefined) return []
  return [
    {
      label: `${size(memory)} would hold`,
      meaning: 'servers like these, with peaks spread as they were',
      cell: (b) => (b.fit === null ? '-' : integer(b.fit.servers))
    },
    {
      label: '  additional servers',
      meaning: 'beyond those in the box',
      cell: (b) => (b.fit === null ? '-' : integer(b.fit.more))
    },
    {
      label: '  if all peaked at once',
      meaning: 'or released nothing',
      cell: (b) => (b.fit === null ? '-' : integer(b.fit.unspread))
    }
  ]
}

/** A server with its notes. */
export interface ServerRow extends Annotated {
  server: ServerVerdict
}

/** Returns the servers of each box with their notes. The first note says how the server ended. */
export function serverRows(boxes: readonly BoxVerdict[]): ServerRow[][] {
  return boxes.map(({ servers }) =>
    servers.map((server) => ({
      name: server.name,
      server,
      notes: [...fateNote(server), ...(server.verdict?.notes ?? [])]
    }))
  )
}

const FATES: Record<Exclude<ServerVerdict['state'], 'ran'>, NoteCode> = {
  killed: 'server-killed',
  ended: 'server-ended',
  failed: 'server-not-up'
}

function fateNote({ state, fate }: ServerVerdict): VerdictNote[] {
  return state === 'ran' || fate === null ? [] : [{ code: FATES[state], text: fate }]
}

/** A column of the table of servers. */
export interface ServerColumn {
  title: string
  meaning: string
  cell: (server: ServerVerdict) => string
  /** Returns whether the figure is good; null if it has no rating. Default: no server's has one. */
  light?: (server: ServerVerdict) => Light | null
  /** Set for a column that a narrow terminal leaves out. */
  spare?: true
}

const FOOTPRINT = 'footprint'

function rated(figure: RatedFigure): (server: ServerVerdict) => Light | null {
  return ({ verdict }) => (verdict === null ? null : lightOf(verdict, figure))
}

/** The columns of figures. The footprint has a column of its own name in {@link serverColumns}. */
const SERVER_COLUMNS: readonly ServerColumn[] = [
  {
    title: 'peak',
    meaning: 'the most that it held, with its part of shared file pages',
    cell: (s) => megabytes(s.peak)
  },
  {
    title: 'hold',
    meaning: 'anonymous memory while a big pulse is open',
    cell: (s) => megabytes(s.verdict?.hold ?? null),
    spare: true
  },
  {
    title: FOOTPRINT,
    meaning: '(hold - rest) / connections; < 0: less than the garbage at rest',
    cell: (s) => footprint(s.verdict?.footprint ?? null),
    light: rated('footprint')
  },
  {
    title: 'kept',
    meaning: 'holding a small pulse after the big ones',
    cell: (s) => megabytes(s.verdict?.kept ?? null)
  },
  {
    title: 'need',
    meaning: 'holding a small pulse in a fresh process',
    cell: (s) => megabytes(s.verdict?.need ?? null),
    spare: true
  },
  {
    title: 'retention',
    meaning: 'kept / need; 1.00 is perfect',
    cell: (s) => ratio(s.verdict?.retention ?? null),
    light: rated('retention')
  },
  {
    title: 'release',
    meaning: 'from the last big close until memory is back',
    cell: (s) => duration(s.verdict?.release ?? null),
    light: rated('release')
  }
]

/** Returns the columns of the servers of boxes. The footprint is named by what all clients spoke: `per WebSocket`. */
export function serverColumns(boxes: readonly BoxVerdict[]): ServerColumn[] {
  const protocol = commonProtocol(boxes.flatMap(({ servers }) => servers.flatMap(({ verdict }) => verdict ?? [])))
  return SERVER_COLUMNS.map((column) =>
    column.title === FOOTPRINT && protocol !== undefined ? { ...column, title: `per ${clientWord(protocol)}` } : column
  )
}

const STATES: Record<ServerVerdict['state'], string> = {
  ran: '',
  killed: 'killed',
  ended: 'ended',
  failed: 'not up'
}

/** Returns how a server ended, in a word or two; an empty string if it ran to the end. */
export function stateOf({ state }: ServerVerdict): string {
  return STATES[state]
}

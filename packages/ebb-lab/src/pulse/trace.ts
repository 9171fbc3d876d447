/** Traces: the number of connections of a real service over time, as CSV. */
import { readFileSync, statSync } from 'node:fs'
import { LabError } from '../units/errors.js'
import type { Level } from './shapes.js'

/** A trace is not valid. The message begins with the file and the line. */
export class TraceError extends LabError {
  override readonly name = 'TraceError'
  declare readonly code: 'ERR_TRACE_INVALID'

  constructor(message: string) {
    super(message, 'ERR_TRACE_INVALID')
  }
}

/** How to read a trace. */
export interface TraceOptions {
  /** Maximum time between two rows, in ms of the trace. Default: five times the median. */
  maxGap?: number
  /** How many times faster the trace is replayed than it was recorded. Default: 1. */
  speed?: number
  /** Factor for the number of connections. Default: 1. */
  scale?: number
}

/** Maximum size of a file in bytes. Two weeks with a row per second need less than half of it. */
const MAX_BYTES = 64e6
const MAX_CONNECTIONS = 10_000_000
/** Default of `maxGap`, as a multiple of the median gap. */
const MAX_GAP_FACTOR = 5

/**
 * Reads a trace. Each row has a time and the number of connections from that time on.
 *
 * ```csv
 * time,connections
 * 2026-03-14T09:00:00Z,1200
 * 2026-03-14T09:00:15Z,1340
 * ```
 *
 * Times are numbers of seconds, or dates in ISO 8601. If the first line names the columns, other columns are ignored.
 * Without such a line, the first two columns are used. The last row ends the trace.
 *
 * @returns levels whose times are milliseconds from the first row
 * @throws TraceError for a missing or invalid value, a time that is not later than the one before, or a gap
 * @throws Error of the system if the file cannot be read
 */
export function readTrace(path: string, options: TraceOptions = {}): Level[] {
  const { size } = statSync(path)
  if (size > MAX_BYTES) {
    throw new TraceError(`${path}: the trace has ${size} bytes, and ${MAX_BYTES} is the maximum: leave out rows`)
  }
  return parseTrace(readFileSync(path, 'utf8'), path, options)
}

/** Parses the text of a trace like {@link readTrace}. `name` is the file in error messages. */
export function parseTrace(text: string, name: string, { maxGap, speed = 1, scale = 1 }: TraceOptions = {}): Level[] {
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/)
  // The empty text after the last newline is not a row.
  if (lines.at(-1) === '') lines.pop()
  const columns = columnsOf(lines[0] ?? '', name)
  const rows: Row[] = []
  for (let line = columns.named ? 2 : 1; line <= lines.length; line++) {
    const row = rowOf(lines[line - 1] as string, columns, `${name}:${line}`, line)
    const last = rows.at(-1)
    if (last !== undefined && row.time <= last.time) {
      const what = row.time === last.time ? 'the time is that of the row before' : 'time goes backward'
      throw new TraceError(`${name}:${line}: ${what}: sort the rows by time, and keep one row for each time`)
    }
    rows.push(row)
  }
  if (rows.length < 2)
    throw new TraceError(`${name}: a trace needs at least two rows, but there ${rows.length === 1 ? 'is 1' : 'are 0'}`)
  checkGaps(rows, name, maxGap)
  const start = (rows[0] as Row).time
  return rows.map(({ time, connections }) => ({
    at: (time - start) / speed,
    connections: Math.round(connections * scale)
  }))
}

interface Row {
  /** Time in ms. */
  time: number
  connections: number
  /** Number of its line in the file, counted from 1. */
  line: number
}

/** Indexes of the columns. */
interface Columns {
  time: number
  connections: number
  /** Whether the first line names the columns. */
  named: boolean
}

function columnsOf(line: string, name: string): Columns {
  const cells = cellsOf(line)
  if (cells.some((cell) => timeOf(cell) !== null)) return { time: 0, connections: 1, named: false }
  const lower = cells.map((cell) => cell.toLowerCase())
  const [time, connections] = [lower.indexOf('time'), lower.indexOf('connections')]
  if (time === -1 || connections === -1) {
    throw new TraceError(
      `${name}:1: a trace has the columns time and connections, separated by commas, ` +
        `not ${JSON.stringify(line.slice(0, 80))}`
    )
  }
  return { time, connections, named: true }
}

function rowOf(text: string, columns: Columns, where: string, line: number): Row {
  const cells = cellsOf(text)
  const [timeCell = '', countCell = ''] = [cells[columns.time], cells[columns.connections]]
  if (timeCell === '' || countCell === '') {
    throw new TraceError(`${where}: ${timeCell === '' ? 'the time' : 'the number of connections'} is missing`)
  }
  const time = timeOf(timeCell)
  if (time === null) {
    throw new TraceError(
      `${where}: a time is a number of seconds or a date (2026-03-14T09:00:00Z), not ${JSON.stringify(timeCell)}`
    )
  }
  const connections = /^\d+(\.\d+)?$/.test(countCell) ? Number(countCell) : Number.NaN
  if (!(connections <= MAX_CONNECTIONS)) {
    throw new TraceError(`${where}: connections are a number from 0 to 10,000,000, not ${JSON.stringify(countCell)}`)
  }
  return { time, connections, line }
}

/** Returns the time of a cell in ms, or null if it is not a time. */
function timeOf(cell: string): number | null {
  if (/^\d+(\.\d+)?$/.test(cell)) return Number(cell) * 1000
  const [, day, clock = '00:00', zone = ''] = DATE.exec(cell) ?? []
  // Checked because `Date.parse` reads February 30 as March 2.
  if (day === undefined || !isDay(day)) return null
  // A date without a zone is UTC, not local time. So a trace is the same on every machine, and summer time has no
  // effect.
  const date = Date.parse(`${day}T${clock.replace(',', '.')}${offsetOf(zone)}`)
  return Number.isNaN(date) ? null : date
}

/** A date in ISO 8601, or with the blanks and zone names that databases print. */
const DATE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?) ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?$/i

function isDay(day: string): boolean {
  const date = new Date(`${day}T00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day)
}

/** Returns `+0530` as `+05:30`, `+05` as `+05:00`, and a zone name as `Z`. */
function offsetOf(zone: string): string {
  const [, hours, minutes = '00'] = /^([+-]\d\d):?(\d\d)?$/.exec(zone) ?? []
  return hours === undefined ? 'Z' : `${hours}:${minutes}`
}

/** Returns the cells of a line. Quoted cells may contain commas, and quotes if they are doubled. */
function cellsOf(line: string): string[] {
  if (!line.includes('"')) return line.split(',').map((cell) => cell.trim())
  const cells = `,${line}`.matchAll(/,(?:\s*"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))/g)
  return [...cells].map(([, quoted, plain = '']) => (quoted ?? plain).trim())
}

/** @throws TraceError for the first gap between two rows that is longer than `maxGap` */
function checkGaps(rows: readonly Row[], name: string, maxGap: number | undefined): void {
  const steps = rows.slice(1).map(({ time }, i) => time - (rows[i] as Row).time)
  const median = [...steps].sort((a, b) => a - b)[steps.length >>> 1] as number
  const max = maxGap ?? median * MAX_GAP_FACTOR
  const at = steps.findIndex((step) => step > max)
  if (at === -1) return
  const { line } = rows[at + 1] as Row
  const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(3))} s`
  const allowed = maxGap === undefined ? `${seconds(median)} is the median` : `${seconds(maxGap)} are allowed`
  throw new TraceError(
    `${name}:${line}: a gap: ${seconds(steps[at] as number)} after the row before, where ${allowed}; ` +
      'add the missing rows, or raise maxGap'
  )
}

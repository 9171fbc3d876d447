/** Traces: the connections of a real service over time, from CSV. */
import { readFileSync, statSync } from 'node:fs'
import type { Level } from './shapes.js'

/** What is wrong with a trace: one sentence with the file and the line. */
export class TraceError extends Error {
  override readonly name = 'TraceError'
  readonly code = 'ERR_TRACE_INVALID'
}

export interface TraceOptions {
  /** The longest time without a row, ms. Default: five times the usual one (the median). */
  maxGap?: number
  /** Times as fast as it was. Default: 1. */
  speed?: number
  /** Connections are multiplied by it. Default: 1. */
  scale?: number
}

/** Bytes. A row a second for two weeks is less than half of this. */
const MOST_BYTES = 64e6
const MOST_CONNECTIONS = 10_000_000
const USUAL_GAPS = 5

/**
 * Reads a trace: a row for each time, with the connections from then on.
 *
 * ```csv
 * time,connections
 * 2026-03-14T09:00:00Z,1200
 * 2026-03-14T09:00:15Z,1340
 * ```
 *
 * Times are seconds from anywhere, or dates as ISO 8601 has them. Other columns are passed over where the first line names the
 * columns; without such a line the first two are meant. The last row ends the trace.
 *
 * @throws TraceError naming the line: a value that is missing or none, time that goes back or stands still, a gap; the system's
 *   error where the file cannot be read
 */
export function readTrace(path: string, options: TraceOptions = {}): Level[] {
  const { size } = statSync(path)
  if (size > MOST_BYTES) throw new TraceError(`${path} has ${size} bytes, ${MOST_BYTES} at most: thin it out`)
  return parseTrace(readFileSync(path, 'utf8'), path, options)
}

/** As {@link readTrace}; `name` stands in the errors. */
export function parseTrace(text: string, name: string, { maxGap, speed = 1, scale = 1 }: TraceOptions = {}): Level[] {
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/)
  // The newline of the last row.
  if (lines.at(-1) === '') lines.pop()
  const columns = columnsOf(lines[0] ?? '', name)
  const rows: Row[] = []
  for (let line = columns.named ? 2 : 1; line <= lines.length; line++) {
    const row = rowOf(lines[line - 1] as string, columns, `${name}:${line}`, line)
    const last = rows.at(-1)
    if (last !== undefined && row.time <= last.time) {
      const what = row.time === last.time ? 'the time is that of the row before' : 'time goes backward'
      throw new TraceError(`${name}:${line}: ${what}: rows must stand in the order of their times, one for each`)
    }
    rows.push(row)
  }
  if (rows.length < 2)
    throw new TraceError(`${name}: a trace needs two rows or more; there ${rows.length === 1 ? 'is 1' : 'are 0'}`)
  checkGaps(rows, name, maxGap)
  const start = (rows[0] as Row).time
  return rows.map(({ time, connections }) => ({
    at: (time - start) / speed,
    connections: Math.round(connections * scale)
  }))
}

interface Row {
  /** ms */
  time: number
  connections: number
  line: number
}

interface Columns {
  time: number
  connections: number
  named: boolean
}

function columnsOf(line: string, name: string): Columns {
  const cells = cellsOf(line)
  if (cells.some((cell) => timeOf(cell) !== null)) return { time: 0, connections: 1, named: false }
  const lower = cells.map((cell) => cell.toLowerCase())
  const [time, connections] = [lower.indexOf('time'), lower.indexOf('connections')]
  if (time === -1 || connections === -1) {
    throw new TraceError(
      `${name}:1: a trace has the columns time and connections, separated by a comma, not ${JSON.stringify(line.slice(0, 80))}`
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
  if (!(connections <= MOST_CONNECTIONS)) {
    throw new TraceError(`${where}: connections are a number from 0 to 10,000,000, not ${JSON.stringify(countCell)}`)
  }
  return { time, connections, line }
}

/** ms, or null for what is no time. */
function timeOf(cell: string): number | null {
  if (/^\d+(\.\d+)?$/.test(cell)) return Number(cell) * 1000
  const [, day, clock = '00:00', zone = ''] = DATE.exec(cell) ?? []
  // By itself `Date.parse` takes February 30 for March 2.
  if (day === undefined || !isDay(day)) return null
  // Without a zone it is not that of this machine: a trace is the same everywhere, and no hour of it is missing in March.
  const date = Date.parse(`${day}T${clock.replace(',', '.')}${offsetOf(zone)}`)
  return Number.isNaN(date) ? null : date
}

/** As ISO 8601 has it, and with the blanks and zones that databases print. */
const DATE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?) ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?$/i

function isDay(day: string): boolean {
  const date = new Date(`${day}T00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day)
}

/** `+0530` and `+05` as `+05:30` and `+05:00`. */
function offsetOf(zone: string): string {
  const [, hours, minutes = '00'] = /^([+-]\d\d):?(\d\d)?$/.exec(zone) ?? []
  return hours === undefined ? 'Z' : `${hours}:${minutes}`
}

/** Cells may be quoted, as spreadsheets do, and then have commas in them, and quotes, which are doubled. */
function cellsOf(line: string): string[] {
  if (!line.includes('"')) return line.split(',').map((cell) => cell.trim())
  const cells = `,${line}`.matchAll(/,(?:\s*"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))/g)
  return [...cells].map(([, quoted, plain = '']) => (quoted ?? plain).trim())
}

function checkGaps(rows: readonly Row[], name: string, maxGap: number | undefined): void {
  const steps = rows.slice(1).map(({ time }, i) => time - (rows[i] as Row).time)
  const usual = [...steps].sort((a, b) => a - b)[steps.length >>> 1] as number
  const most = maxGap ?? usual * USUAL_GAPS
  const at = steps.findIndex((step) => step > most)
  if (at === -1) return
  const { line } = rows[at + 1] as Row
  const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(3))} s`
  throw new TraceError(
    `${name}:${line}: a gap: ${seconds(steps[at] as number)} after the row before, where ${
      maxGap === undefined ? `${seconds(usual)} are usual` : `${seconds(maxGap)} are allowed`
    }; fill it, or allow it with maxGap`
  )
}

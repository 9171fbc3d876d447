/** Writes a diagnosis for people: the parts of the resident memory from the largest down, other figures, advice. */
import { duration, integer, megabytes } from '../units/format.js'
import { clean, fit, wrap } from '../units/text.js'
import type { Advice, Diagnosis } from './diagnosis.js'
import { insideRows, releaseText } from './inside-text.js'
import type { Part } from './parts.js'
import { RUNTIME_NAMES, returnedBy, titleOf } from './words.js'

/** Options of {@link diagnosisText}. */
export interface DiagnosisTextOptions {
  /** Columns of the terminal, at least 40. Default: 80. */
  width?: number
  /** Uses ANSI colours. Default: false. The caller decides about `NO_COLOR` and pipes. */
  colour?: boolean
}

type Style = 'bold' | 'dim'
type Paint = (text: string, style: Style) => string

const CODES: Record<Style, string> = { bold: '1', dim: '2' }
const ansi: Paint = (text, style) => `\x1b[${CODES[style]}m${text}\x1b[0m`
const plain: Paint = (text) => text

const NARROWEST = 40
/** Columns of the figures: `10,496.2 MB  100 %  `. */
const FIGURES = 20
/** Columns of a label: `descriptors  `. */
const LABEL = 14
/** Share of the resident memory below which parts are summed up, and the most parts that are shown. */
const SMALL = 0.01
const MOST_PARTS = 12
/** Kinds of descriptors and sockets that are shown. */
const MOST_KINDS = 8

/** Formats a diagnosis as lines for a terminal. */
export function diagnosisText(found: Diagnosis, options: DiagnosisTextOptions = {}): string {
  const width = Math.max(NARROWEST, Math.floor(options.width ?? 80))
  const paint = options.colour ? ansi : plain
  const blocks = [heading(found, width, paint), partLines(found, width, paint), figureLines(found, width, paint)]
  if (found.advice.length > 0) blocks.push(adviceLines(found.advice, width, paint))
  return blocks.map((lines) => lines.join('\n')).join('\n\n')
}

function heading({ name, pid, runtime, memory, threads }: Diagnosis, width: number, paint: Paint): string[] {
  const version = runtime.version === null ? '' : ` ${runtime.version}`
  const allocator = runtime.allocator === 'unknown' ? '' : `, malloc of ${runtime.allocator}`
  const about = `process ${pid}, ${RUNTIME_NAMES[runtime.name]}${version}${allocator}`
  const figures =
    `resident ${megabytes(memory.resident)} (peak ${megabytes(memory.peak)}), ` +
    `anonymous ${megabytes(memory.anonymous)}, ${count(threads.count, 'thread')}`
  return [paint(fit(clean(name), width), 'bold'), ...wrap(about, width), ...wrap(figures, width)]
}

function partLines(found: Diagnosis, width: number, paint: Paint): string[] {
  const { memory } = found
  const parts = withFilesTogether(found.parts)
  const large = parts.filter(({ bytes }) => bytes >= memory.resident * SMALL).slice(0, MOST_PARTS)
  const small = parts.filter((part) => !large.includes(part) && part.bytes > 0)
  const lines = large.flatMap((part) => [
    ...row(part.bytes, memory.resident, titleOf(part, found), width),
    ...wrap(`returned by: ${returnedBy(part)}`, width - FIGURES).map((line) =>
      paint(`${' '.repeat(FIGURES)}${line}`, 'dim')
    )
  ])
  if (small.length > 0) lines.push(...row(sumOf(small), memory.resident, count(small.length, 'smaller part'), width))
  return [paint(`${'resident'.padStart(FIGURES - 9)}  share  where it is`, 'bold'), ...lines]
}

/** Returns the parts with one for all files, named after the largest of them. */
function withFilesTogether(parts: readonly Part[]): Part[] {
  const files = parts.filter(({ kind }) => kind === 'file')
  const [largest] = files
  if (largest === undefined || files.length === 1) return [...parts]
  const rest = files.length - 1
  const name = `${largest.name} ${megabytes(largest.bytes)}, and ${count(rest, 'other')}`
  const together: Part = { ...largest, name, bytes: sumOf(files) }
  return [together, ...parts.filter(({ kind }) => kind !== 'file')].sort((a, b) => b.bytes - a.bytes)
}

function row(bytes: number, whole: number, title: string, width: number): string[] {
  const share = whole === 0 ? 0 : Math.round((bytes / whole) * 100)
  const figures = `${megabytes(bytes).padStart(FIGURES - 9)}  ${`${share} %`.padStart(5)}  `
  return wrap(clean(title), width - FIGURES).map((line, i) => `${i === 0 ? figures : ' '.repeat(FIGURES)}${line}`)
}

/** Returns the lines below the table: figures that are no part of the resident memory, or say more about a part. */
function figureLines(found: Diagnosis, width: number, paint: Paint): string[] {
  const { memory, malloc, hugePages, descriptors, cgroup, trend, inside, release, notes } = found
  const rows: [label: string, text: string][] = []
  if (malloc !== null) rows.push(['malloc', mallocText(malloc)])
  if (hugePages !== null) {
    rows.push([
      'huge pages',
      `${megabytes(hugePages.bytes)}; about ${megabytes(hugePages.empty)} of it holds only zeros`
    ])
  }
  if (memory.lazy > 0) rows.push(['lazily freed', `${megabytes(memory.lazy)}: the kernel takes it when it needs it`])
  if (memory.swapped > 0) rows.push(['in swap', megabytes(memory.swapped)])
  if (memory.reserved > 0) rows.push(['hugetlbfs', `${megabytes(memory.reserved)}, not counted as resident`])
  rows.push(['page tables', `${megabytes(memory.pageTables)} for ${count(found.mappings.count, 'mapping')}`])
  if (descriptors !== null) {
    const { open, limit, kinds, sockets } = descriptors
    rows.push(['descriptors', `${integer(open)}${limit === null ? '' : ` of ${integer(limit)}`}: ${kindsText(kinds)}`])
    if (Object.keys(sockets.count).length > 0) rows.push(['sockets', socketsText(sockets)])
  }
  if (cgroup !== null) rows.push(['cgroup', cgroupText(cgroup)])
  if (trend !== null) rows.push(['trend', trendText(trend)])
  if (inside !== null) rows.push(...insideRows(inside))
  if (release !== null) rows.push(['released', releaseText(release)])
  for (const note of notes) rows.push(['note', note])
  return rows.flatMap(([label, text]) =>
    wrap(clean(text), width - LABEL).map((line, i) => `${paint((i === 0 ? label : '').padEnd(LABEL), 'bold')}${line}`)
  )
}

function mallocText({ used, free, releasable, tops, unknown }: NonNullable<Diagnosis['malloc']>): string {
  const notTops = tops > 0 ? `, but not ${megabytes(tops)} at the ends of arenas` : ''
  const unread = unknown > 0 ? `; ${megabytes(unknown)} could not be read` : ''
  return (
    `${megabytes(used)} in use, ${megabytes(free)} freed; ` +
    `malloc_trim(0) would return ${megabytes(releasable)}${notTops}${unread}`
  )
}

function socketsText({
  count: kinds,
  unread,
  unsent,
  withUnread,
  withUnsent,
  waiting
}: NonNullable<Diagnosis['descriptors']>['sockets']): string {
  const queues: string[] = []
  if (unread > 0) queues.push(`${megabytes(unread)} unread in ${count(withUnread, 'socket')}`)
  if (unsent > 0) queues.push(`${megabytes(unsent)} unsent in ${count(withUnsent, 'socket')}`)
  if (waiting > 0) queues.push(`${count(waiting, 'connection')} not accepted yet`)
  return [kindsText(kinds), ...queues].join('; ')
}

function cgroupText({ version, folder, used, cache, limit, killed, pressure }: NonNullable<Diagnosis['cgroup']>) {
  const own = used === null ? 'use not known' : `${megabytes(used - cache)} used`
  const parts = [`${own}${limit === null ? ', no limit' : ` of ${megabytes(limit)}`}`, `v${version} ${folder}`]
  if (pressure !== null && pressure > 0) parts.push(`pressure ${(pressure * 100).toFixed(1)} % of the last 10 s`)
  if (killed > 0) parts.push(`${count(killed, 'process', 'processes')} killed for memory`)
  return parts.join('; ')
}

/** Change per minute, bytes, that counts as steady. */
const STEADY = 100_000

function trendText({ over, from, to, perMinute, cpu }: NonNullable<Diagnosis['trend']>): string {
  const sign = perMinute > 0 ? '+' : ''
  const slope = Math.abs(perMinute) < STEADY ? 'steady' : `${sign}${megabytes(perMinute)} a minute`
  return `${slope}: ${megabytes(from)} to ${megabytes(to)} in ${duration(over)}, CPU ${duration(cpu)}`
}

function adviceLines(advice: readonly Advice[], width: number, paint: Paint): string[] {
  const lines = advice.flatMap(({ text, reason, source }, i) => {
    const number = `${i + 1}. `
    const indent = ' '.repeat(number.length)
    const wrapped = (words: string): string[] => wrap(words, width - number.length)
    return [
      ...wrapped(`${reason}.`).map((line, i) => `${i === 0 ? number : indent}${line}`),
      ...wrapped(text).map((line) => `${indent}${paint(line, 'bold')}`),
      paint(`${indent}${source}`, 'dim')
    ]
  })
  return [paint('What to do', 'bold'), ...lines]
}

function kindsText(kinds: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(kinds).sort(([, a], [, b]) => b - a)
  const shown = sorted.slice(0, MOST_KINDS).map(([kind, number]) => `${integer(number)} ${kind}`)
  const rest = sorted.slice(MOST_KINDS).reduce((sum, [, number]) => sum + number, 0)
  return [...shown, ...(rest > 0 ? [`${integer(rest)} others`] : [])].join(', ')
}

function sumOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0)
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${integer(number)} ${number === 1 ? one : many}`
}

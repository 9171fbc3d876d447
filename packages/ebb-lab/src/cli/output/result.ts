/** Prints the result of `ebb bench` and `ebb report`, and sets the exit code. */
import type { SwarmReport } from '../../pulse/swarm/report.js'
import type { Comparison } from '../../report/compare/compare.js'
import { comparisonToJson } from '../../report/compare/json.js'
import { comparisonMarkdown, comparisonTable } from '../../report/compare/table.js'
import { headline } from '../../report/headline.js'
import { markdownTable, table } from '../../report/table.js'
import type { Verdict } from '../../report/verdict.js'
import { verdictToJson } from '../../report/verdict-json.js'
import { wrap } from '../../units/text.js'
import { columnsOf, swarmRows } from './columns.js'
import { EXIT } from './exit-codes.js'
import { colours, columns, type Terminal } from './terminal.js'

/** What {@link printResult} prints. */
export interface Result {
  /** A verdict for each server. */
  verdicts: Verdict[]
  /** Comparisons with earlier recordings. */
  comparisons?: Comparison[]
  /** A sentence for each limit that was exceeded. */
  broken: string[]
  /** Report of the swarm that made the connections, if there was one. */
  swarm?: SwarmReport
  /** Paths of the files written. */
  files: string[]
  /** Remarks about the recordings, one sentence each. */
  notes: string[]
}

/** How to print a result. */
export interface Form {
  json?: boolean
  /** Called with the result as JSON, which is then not printed in another form. */
  stream?: (result: object) => void
  markdown?: boolean
}

/** Prints verdicts on standard output as a table, JSON or Markdown, and notes and exceeded limits on standard error. */
export function printResult(result: Result, form: Form, terminal: Terminal): void {
  const { broken, files, notes, swarm } = result
  const { stdout } = process
  const asJson = { ...jsonOf(result), broken, swarm, files, notes }
  if (form.stream !== undefined) form.stream(asJson)
  else if (form.json) stdout.write(`${JSON.stringify(asJson, null, 2)}\n`)
  else {
    stdout.write(`${textOf(result, form)}\n`)
    if (!form.markdown) printFiles(files)
  }
  printRemarks(notes, broken, terminal)
  // With fewer connections than planned, exit 4 takes precedence over exceeded limits.
  if (swarm?.degraded) process.exitCode = EXIT.degraded
}

/** Returns the part of a result that only servers have, as JSON. */
export function jsonOf({ verdicts, comparisons = [] }: Pick<Result, 'verdicts' | 'comparisons'>): object {
  return {
    headline: headline(verdicts),
    verdicts: verdicts.map(verdictToJson),
    ...(comparisons.length > 0 && { comparisons: comparisons.map(comparisonToJson) })
  }
}

/** Formats the verdicts as a table for people, or as Markdown. */
export function textOf(
  { verdicts, comparisons = [], swarm }: Pick<Result, 'verdicts' | 'comparisons' | 'swarm'>,
  form: Form
): string {
  if (form.markdown) {
    return [markdownTable(verdicts), comparisonMarkdown(comparisons)].filter((text) => text !== '').join('\n\n')
  }
  const { stdout } = process
  const options = { width: columns(stdout), colour: colours(stdout) }
  return [
    wrap(headline(verdicts), options.width).join('\n'),
    table(verdicts, options),
    ...(comparisons.length > 0 ? [comparisonTable(comparisons, options)] : []),
    ...(swarm === undefined ? [] : [columnsOf(swarmRows(swarm))])
  ].join('\n\n')
}

/** Prints the paths of the files that were written, one a line, the page first. */
export function printFiles(files: readonly string[]): void {
  if (files.length === 0) return
  const rank = (file: string): number => ['.html', '.svg', '.ndjson'].findIndex((end) => file.endsWith(end))
  const sorted = files.toSorted((a, b) => rank(a) - rank(b))
  process.stdout.write(`\nWritten:\n${sorted.map((file) => `  ${file}\n`).join('')}`)
}

/** Prints notes and exceeded limits on standard error. Sets exit code 3 if a limit was exceeded. */
export function printRemarks(notes: readonly string[], broken: readonly string[], terminal: Terminal): void {
  for (const note of notes) terminal.line(`note: ${note}`)
  for (const sentence of broken) terminal.line(`limit broken: ${sentence}`)
  if (broken.length > 0) process.exitCode = EXIT.broken
}

/** Prints the result of `ebb bench` and `ebb report`, and sets the exit code. */
import type { SwarmReport } from '../../pulse/swarm/report.js'
import { markdownTable, table } from '../../report/table.js'
import { type Verdict, verdictToJson } from '../../report/verdict.js'
import { columnsOf, swarmRows } from './columns.js'
import { EXIT } from './exit-codes.js'
import { colours, columns, type Terminal } from './terminal.js'

/** What {@link printResult} prints. */
export interface Result {
  /** A verdict for each server. */
  verdicts: Verdict[]
  /** A sentence for each limit that was exceeded. */
  broken: string[]
  /** Report of the swarm that made the connections, if there was one. */
  swarm?: SwarmReport
  /** Paths of the files written. */
  files: string[]
  /** Remarks about the recordings, one sentence each. */
  notes: string[]
}

/** Prints verdicts on standard output as a table, JSON or Markdown, and notes and exceeded limits on standard error. */
export function printResult(result: Result, form: { json?: boolean; markdown?: boolean }, terminal: Terminal): void {
  const { verdicts, broken, swarm, files, notes } = result
  const { stdout } = process
  if (form.json) {
    stdout.write(`${JSON.stringify({ verdicts: verdicts.map(verdictToJson), broken, swarm, files, notes }, null, 2)}\n`)
  } else if (form.markdown) {
    stdout.write(`${markdownTable(verdicts)}\n`)
  } else {
    stdout.write(`${table(verdicts, { width: columns(stdout), colour: colours(stdout) })}\n`)
    if (swarm !== undefined) stdout.write(`\n${columnsOf(swarmRows(swarm))}\n`)
    if (files.length > 0) stdout.write(`\nWritten: ${files.join(', ')}\n`)
  }
  printRemarks(notes, broken, terminal)
  // With fewer connections than planned, exit 4 takes precedence over exceeded limits.
  if (swarm?.degraded) process.exitCode = EXIT.degraded
}

/** Prints notes and exceeded limits on standard error. Sets exit code 3 if a limit was exceeded. */
export function printRemarks(notes: readonly string[], broken: readonly string[], terminal: Terminal): void {
  for (const note of notes) terminal.line(`note: ${note}`)
  for (const sentence of broken) terminal.line(`limit broken: ${sentence}`)
  if (broken.length > 0) process.exitCode = EXIT.broken
}

/** What `ebb bench` and `ebb report` print at their end, and the exit code that follows from it. */
import type { SwarmReport } from '../../pulse/swarm/report.js'
import { markdownTable, table } from '../../report/table.js'
import { type Verdict, verdictToJson } from '../../report/verdict.js'
import { columnsOf, swarmRows } from './columns.js'
import { EXIT } from './failure.js'
import { colours, columns, type Terminal } from './terminal.js'

export interface Result {
  verdicts: Verdict[]
  /** Limits that were broken, one sentence each. */
  broken: string[]
  /** What the agents of a swarm did, where one made the connections. */
  swarm?: SwarmReport
  files: string[]
  notes: string[]
}

/** The verdicts on standard output, in the form asked for; all else on standard error. */
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
  tellRest(notes, broken, terminal)
  // Whatever the figures are, they are not those of the plan.
  if (swarm?.degraded) process.exitCode = EXIT.degraded
}

/** What stands on standard error: notes, and limits that were broken, which end the process with 3. */
export function tellRest(notes: readonly string[], broken: readonly string[], terminal: Terminal): void {
  for (const note of notes) terminal.line(`note: ${note}`)
  for (const sentence of broken) terminal.line(`limit broken: ${sentence}`)
  if (broken.length > 0) process.exitCode = EXIT.broken
}

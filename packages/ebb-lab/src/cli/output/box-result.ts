/** Prints the result of `ebb box`, and of `ebb report` for boxes, and sets the exit code. */
import { boxMarkdown, boxTable } from '../../report/box/table.js'
import { type BoxVerdict, boxVerdictToJson } from '../../report/box/verdict.js'
import { printRemarks } from './result.js'
import { colours, columns, type Terminal } from './terminal.js'

/** What {@link printBoxes} prints. */
export interface BoxesResult {
  /** A verdict for each box: each variant has one. */
  boxes: BoxVerdict[]
  /** A sentence for each limit that was exceeded. */
  broken: string[]
  /** Paths of the files written. */
  files: string[]
  /** Remarks about the recordings, one sentence each. */
  notes: string[]
}

/** Prints boxes on standard output as tables, JSON or Markdown, and notes and exceeded limits on standard error. */
export function printBoxes(
  result: BoxesResult,
  form: { json?: boolean; markdown?: boolean },
  terminal: Terminal
): void {
  const { boxes, broken, files, notes } = result
  const { stdout } = process
  if (form.json) {
    stdout.write(`${JSON.stringify({ boxes: boxes.map(boxVerdictToJson), broken, files, notes }, null, 2)}\n`)
  } else if (form.markdown) {
    stdout.write(`${boxMarkdown(boxes)}\n`)
  } else {
    stdout.write(`${boxTable(boxes, { width: columns(stdout), colour: colours(stdout) })}\n`)
    if (files.length > 0) stdout.write(`\nWritten: ${files.join(', ')}\n`)
  }
  printRemarks(notes, broken, terminal)
}

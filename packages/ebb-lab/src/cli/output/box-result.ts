/** Prints the result of `ebb box`, and of `ebb report` for boxes, and sets the exit code. */
import { boxMarkdown, boxTable } from '../../report/box/table.js'
import { type BoxVerdict, boxVerdictToJson } from '../../report/box/verdict.js'
import { type Form, printFiles, printRemarks } from './result.js'
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
export function printBoxes(result: BoxesResult, form: Form, terminal: Terminal): void {
  const { broken, files, notes } = result
  const { stdout } = process
  if (form.json) stdout.write(`${JSON.stringify({ ...boxesJsonOf(result), broken, files, notes }, null, 2)}\n`)
  else {
    stdout.write(`${boxesTextOf(result, form)}\n`)
    if (!form.markdown) printFiles(files)
  }
  printRemarks(notes, broken, terminal)
}

/** Returns the part of a result that only boxes have, as JSON. */
export function boxesJsonOf({ boxes }: Pick<BoxesResult, 'boxes'>): object {
  return { boxes: boxes.map(boxVerdictToJson) }
}

/** Formats boxes as tables for people, or as Markdown. */
export function boxesTextOf({ boxes }: Pick<BoxesResult, 'boxes'>, form: Form): string {
  const { stdout } = process
  return form.markdown ? boxMarkdown(boxes) : boxTable(boxes, { width: columns(stdout), colour: colours(stdout) })
}

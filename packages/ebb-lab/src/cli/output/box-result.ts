/** What `ebb box` and `ebb report` print of boxes, and the exit code that follows from it. */
import { boxMarkdown, boxTable } from '../../report/box/table.js'
import { type BoxVerdict, boxVerdictToJson } from '../../report/box/verdict.js'
import { tellRest } from './result.js'
import { colours, columns, type Terminal } from './terminal.js'

export interface BoxesResult {
  boxes: BoxVerdict[]
  broken: string[]
  files: string[]
  notes: string[]
}

/** The boxes on standard output, in the form asked for; all else on standard error. */
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
  tellRest(notes, broken, terminal)
}

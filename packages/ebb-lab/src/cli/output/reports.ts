/** Prints what `ebb report` found: servers, boxes, or both. */
import { type BoxesResult, boxesJsonOf, boxesTextOf, printBoxes } from './box-result.js'
import { type Form, jsonOf, printFiles, printRemarks, printResult, type Result, textOf } from './result.js'
import type { Terminal } from './terminal.js'

/** Prints servers first, then boxes. */
export function printReports(
  { servers, boxes }: { servers?: Result; boxes?: BoxesResult },
  form: Form,
  terminal: Terminal
): void {
  if (servers === undefined || boxes === undefined) {
    if (servers !== undefined) printResult(servers, form, terminal)
    if (boxes !== undefined) printBoxes(boxes, form, terminal)
    return
  }
  const both = <K extends 'broken' | 'files' | 'notes'>(key: K): string[] => [...servers[key], ...boxes[key]]
  const [broken, files, notes] = [both('broken'), both('files'), both('notes')]
  const { stdout } = process
  if (form.json) {
    const json = { ...jsonOf(servers), ...boxesJsonOf(boxes), broken, files, notes }
    stdout.write(`${JSON.stringify(json, null, 2)}\n`)
  } else {
    stdout.write(`${textOf(servers, form)}\n\n${boxesTextOf(boxes, form)}\n`)
    if (!form.markdown) printFiles(files)
  }
  printRemarks(notes, broken, terminal)
}

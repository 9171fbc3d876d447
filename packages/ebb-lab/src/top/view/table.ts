/** The table as plain text, for a program or a file. */

import type { BoxSample } from '../sample.js'
import { columnsFor, lineOf, type Style } from './columns.js'
import { boxLine } from './heading.js'
import { rowsOf, type View } from './rows.js'

/** Returns a sample as lines of text: the box, titles, and a row for each server. */
export function tableOf(sample: BoxSample, view: View, width: number, style: Style): string[] {
  const columns = columnsFor(width, false)
  const rows = rowsOf(sample, view)
  return [
    boxLine(sample, rows.length, width),
    lineOf(columns, ({ title }) => title),
    ...rows.map((row) => lineOf(columns, (column) => column.text(row, style, column.width)))
  ].map((line) => line.trimEnd())
}

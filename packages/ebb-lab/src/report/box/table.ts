/** Writes verdicts on boxes as tables, for a terminal and in Markdown. */
import { clean, fit, textWidth, wrap } from '../../units/text.js'
import { reasonsFor, withSign } from '../rating.js'
import { type Footnote, footnotes } from '../rows.js'
import {
  ansi,
  escapeMarkdown,
  footnoteLines,
  markdownReasons,
  plain,
  reasonLines,
  type TableOptions,
  tableOf,
  withMarkdownSign
} from '../table.js'
import type { Verdict } from '../verdict.js'
import { boxRows, type ServerColumn, type ServerRow, serverColumns, serverRows, stateOf } from './rows.js'
import type { BoxVerdict } from './verdict.js'

const GAP = 2
/** Minimum width of a server's name, even if the line is then too long for the terminal. */
const SHORTEST_NAME = 8
/** Minimum width of a server's state and notes, likewise. */
const SHORTEST_END = 10
/** Minimum width of the table. */
const NARROWEST = 32

/** Writes boxes as plain text: the boxes side by side, then the servers of each box, one per line. */
export function boxTable(boxes: readonly BoxVerdict[], options: TableOptions = {}): string {
  const width = Math.max(NARROWEST, Math.floor(options.width ?? 80))
  // Notes on a box start with its name and have no number.
  const items = boxes.map((box) => ({ ...box, notes: [] }))
  const blocks = [tableOf({ items, rows: boxRows(boxes), subtitle: () => null }, options)]
  const said = boxes.flatMap(({ name, missing }) =>
    missing.map((text) => wrap(clean(`${name}: ${text}`), width).join('\n'))
  )
  if (said.length > 0) blocks.push(said.join('\n'))
  const rows = serverRows(boxes)
  const notes = footnotes(rows.flat())
  const columns = serverColumns(boxes)
  for (const [index, { name }] of boxes.entries())
    blocks.push(serverTable(name, rows[index] ?? [], columns, notes, width))
  const reasons = reasonsFor(ratedServers(boxes))
  if (reasons.length > 0) blocks.push(reasonLines(reasons, width, options.colour ? ansi : plain))
  if (notes.length > 0) blocks.push(notes.map((note) => footnoteLines(note, width)).join('\n'))
  return blocks.join('\n\n')
}

/** Returns the servers of all boxes. If there are several boxes, the name of a server has that of its box. */
export function ratedServers(boxes: readonly BoxVerdict[]): { name: string; verdict: Verdict | null }[] {
  return boxes.flatMap((box) =>
    box.servers.map(({ name, verdict }) => ({ name: boxes.length > 1 ? `${name} (${box.name})` : name, verdict }))
  )
}

function serverTable(
  title: string,
  rows: readonly ServerRow[],
  all: readonly ServerColumn[],
  notes: readonly Footnote<ServerRow>[],
  width: number
): string {
  const textOf = ({ cell, light }: ServerColumn, { server }: ServerRow): string =>
    withSign(cell(server), light?.(server))
  const widthOf = (column: ServerColumn): number =>
    Math.max(textWidth(column.title), ...rows.map((row) => textWidth(textOf(column, row))))
  const total = (columns: readonly ServerColumn[]): number =>
    columns.reduce((sum, column) => sum + GAP + widthOf(column), 0)
  const columns = [...all]
  while (total(columns) > width - SHORTEST_NAME - GAP - SHORTEST_END) {
    const spare = columns.findIndex((column) => column.spare)
    if (spare < 0) break
    columns.splice(spare, 1)
  }
  const figures = rows.map((row) => columns.map((column) => textOf(column, row)))
  const widths = columns.map(widthOf)
  const taken = total(columns)
  // The state of the server and the numbers of its notes, on several lines if they do not fit on one.
  const ends = rows.map((row) => wrap(endOf(row, notes), Math.max(SHORTEST_END, width - taken - SHORTEST_NAME - GAP)))
  const end = Math.max(...ends.flat().map(textWidth))
  const names = rows.map(({ name }) => clean(name))
  const room = Math.max(SHORTEST_NAME, Math.min(width - taken - GAP - end, Math.max(...names.map(textWidth))))
  const line = (name: string, cells: readonly string[], last: string): string => {
    const padded = widths.map((column, i) => ' '.repeat(GAP + column - textWidth(cells[i] ?? '')) + (cells[i] ?? ''))
    const head = fit(name, room)
    return `${head}${' '.repeat(room - textWidth(head))}${padded.join('')}${' '.repeat(GAP)}${last}`.trimEnd()
  }
  const heads = columns.map((column) => column.title)
  const lines = rows.flatMap((_, i) =>
    (ends[i] ?? []).map((last, j) => line(j === 0 ? (names[i] ?? '') : '', j === 0 ? (figures[i] ?? []) : [], last))
  )
  return [fit(clean(title), width), line('', heads, ''), ...lines].join('\n')
}

function endOf(row: ServerRow, notes: readonly Footnote<ServerRow>[]): string {
  const marks = notes.filter(({ verdicts }) => verdicts.includes(row)).map(({ number }) => `[${number}]`)
  return [stateOf(row.server), ...marks].join(' ').trim()
}

/** Writes boxes in Markdown: a table of the boxes, one per line, and a table of all servers. */
export function boxMarkdown(boxes: readonly BoxVerdict[]): string {
  const rows = boxRows(boxes)
  const table = (heads: string[], lines: string[][]): string =>
    [heads, heads.map((_, i) => (i === 0 ? '---' : '---:')), ...lines]
      .map((cells) => `| ${cells.join(' | ')} |`)
      .join('\n')
  const servers = serverRows(boxes)
  const columns = serverColumns(boxes)
  const notes = footnotes(servers.flat())
  const said = [
    ...boxes.flatMap(({ name, missing }) => missing.map((text) => `${name}: ${text}`)),
    ...notes.map(({ verdicts, text }) => `${[...new Set(verdicts.map(({ name }) => name))].join(', ')}: ${text}`)
  ]
  const list = [...markdownReasons(reasonsFor(ratedServers(boxes))), ...said.map((text) => `- ${escapeMarkdown(text)}`)]
  return [
    table(
      ['', ...rows.map(({ label }) => label.trim())],
      boxes.map((box) => [escapeMarkdown(box.name), ...rows.map(({ cell }) => cell(box))])
    ),
    table(
      ['server', ...columns.map(({ title }) => title), ''],
      boxes.flatMap((box, i) =>
        (servers[i] ?? []).map(({ name, server }) => [
          escapeMarkdown(boxes.length > 1 ? `${name} (${box.name})` : name),
          ...columns.map(({ cell, light }) => withMarkdownSign(escapeMarkdown(cell(server)), light?.(server))),
          stateOf(server)
        ])
      )
    ),
    ...(list.length > 0 ? [list.join('\n')] : [])
  ].join('\n\n')
}

/** Writes verdicts on boxes as tables, for a terminal and in Markdown. */
import { clean, fit, textWidth, wrap } from '../../units/text.js'
import { type Footnote, footnotes } from '../rows.js'
import { escapeMarkdown, footnoteLines, type TableOptions, tableOf } from '../table.js'
import { boxRows, SERVER_COLUMNS, type ServerRow, serverRows, stateOf } from './rows.js'
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
  const blocks = [tableOf({ items, rows: boxRows(boxes), subtitle: () => null, isGood: () => null }, options)]
  const said = boxes.flatMap(({ name, missing }) =>
    missing.map((text) => wrap(clean(`${name}: ${text}`), width).join('\n'))
  )
  if (said.length > 0) blocks.push(said.join('\n'))
  const rows = serverRows(boxes)
  const notes = footnotes(rows.flat())
  for (const [index, { name }] of boxes.entries()) blocks.push(serverTable(name, rows[index] ?? [], notes, width))
  if (notes.length > 0) blocks.push(notes.map((note) => footnoteLines(note, width)).join('\n'))
  return blocks.join('\n\n')
}

function serverTable(
  title: string,
  rows: readonly ServerRow[],
  notes: readonly Footnote<ServerRow>[],
  width: number
): string {
  const figures = rows.map(({ server }) => SERVER_COLUMNS.map(({ cell }) => cell(server)))
  const widths = SERVER_COLUMNS.map(({ title }, i) =>
    Math.max(textWidth(title), ...figures.map((cells) => textWidth(cells[i] ?? '')))
  )
  const taken = widths.reduce((sum, column) => sum + GAP + column, 0)
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
  const heads = SERVER_COLUMNS.map((column) => column.title)
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
  const notes = footnotes(servers.flat())
  const said = [
    ...boxes.flatMap(({ name, missing }) => missing.map((text) => `${name}: ${text}`)),
    ...notes.map(({ verdicts, text }) => `${[...new Set(verdicts.map(({ name }) => name))].join(', ')}: ${text}`)
  ]
  return [
    table(
      ['', ...rows.map(({ label }) => label.trim())],
      boxes.map((box) => [escapeMarkdown(box.name), ...rows.map(({ cell }) => cell(box))])
    ),
    table(
      ['server', ...SERVER_COLUMNS.map(({ title }) => title), ''],
      boxes.flatMap((box, i) =>
        (servers[i] ?? []).map(({ name, server }) => [
          escapeMarkdown(boxes.length > 1 ? `${name} (${box.name})` : name),
          ...SERVER_COLUMNS.map(({ cell }) => cell(server)),
          stateOf(server)
        ])
      )
    ),
    ...(said.length > 0 ? [said.map((text) => `- ${escapeMarkdown(text)}`).join('\n')] : [])
  ].join('\n\n')
}

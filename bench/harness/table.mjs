/** Tables for a terminal. */

const GAP = '  '

/**
 * Pads the cells of each line so that the columns align, and returns one string per line.
 *
 * @param {readonly (readonly string[])[]} lines all with the same number of cells
 * @param {ReadonlySet<number>} left indexes of the columns that are aligned left; all others are aligned right
 */
export function alignColumns(lines, left) {
  const widths = widthsOf(lines)
  return lines.map((line) =>
    line
      .map((cell, column) => (left.has(column) ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join(GAP)
      .trimEnd()
  )
}

/**
 * Aligns a table whose first column names the lines. If it is wider than `width`, the columns that do not fit follow in
 * further blocks below the first block, each with the names again.
 *
 * @param {readonly (readonly string[])[]} lines
 * @param {number} width characters a line may have
 */
export function wrapColumns(lines, width) {
  const [names = 0, ...widths] = widthsOf(lines)
  const blocks = []
  for (let from = 0, to = 0; from < widths.length; from = to) {
    let taken = names
    for (; to < widths.length; to++) {
      taken += GAP.length + (widths[to] ?? 0)
      // A block has at least one column, however narrow the terminal is.
      if (taken > width && to > from) break
    }
    const block = lines.map(([name = '', ...cells]) => [name, ...cells.slice(from, to)])
    blocks.push(alignColumns(block, new Set([0])).join('\n'))
  }
  return blocks.join('\n\n')
}

/**
 * A line of {@link figureTable}.
 *
 * @typedef {object} FigureRow
 * @property {readonly string[]} cells one for each heading
 * @property {string} label what its notes are introduced with
 * @property {readonly string[] | undefined} [notes] sentences that are printed below the table
 */

/**
 * The figures of a benchmark.
 *
 * @typedef {object} Figures
 * @property {readonly string[]} headings
 * @property {ReadonlySet<string>} left headings of the columns that are aligned left
 * @property {readonly FigureRow[]} rows
 */

/**
 * Returns a table in Markdown, and below it a list of the notes of the figures.
 *
 * @param {Figures} figures
 */
export function figurePage({ headings, left, rows }) {
  const rule = headings.map((heading) => (left.has(heading) ? '---' : '---:'))
  const lines = [headings, rule, ...rows.map(({ cells }) => cells)].map((cells) => `| ${cells.join(' | ')} |`)
  const notes = notesOf(rows).map((note) => `- ${note}`)
  return [lines.join('\n'), notes.join('\n')].filter((text) => text !== '').join('\n\n')
}

/**
 * Returns a table with a line of headings, a rule, a line for each figure, and below it the notes of the figures.
 *
 * @param {Figures} figures
 */
export function figureTable({ headings, left, rows }) {
  const lines = [headings, ...rows.map(({ cells }) => cells)]
  const rule = widthsOf(lines).map((width) => '-'.repeat(width))
  const columns = new Set(headings.flatMap((heading, column) => (left.has(heading) ? [column] : [])))
  const text = alignColumns([headings, rule, ...lines.slice(1)], columns)
  return [...text, '', ...notesOf(rows)].join('\n').trimEnd()
}

/** @param {readonly FigureRow[]} rows */
function notesOf(rows) {
  return rows.flatMap(({ label, notes = [] }) => notes.map((note) => `${label}: ${note}`))
}

/**
 * Returns a Markdown table whose first column is aligned left and whose other columns are aligned right.
 *
 * @param {readonly string[]} headings
 * @param {readonly (readonly string[])[]} rows
 */
export function markdownTable(headings, rows) {
  return [headings, ['---', ...headings.slice(1).map(() => '---:')], ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}

/** @param {readonly (readonly string[])[]} lines */
function widthsOf(lines) {
  return (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
}

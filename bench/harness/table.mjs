/** The figures as a table: one a line, its notes below the table. */

const COLUMNS = ['figure', 'ebb', 'plain Node', 'ratio', 'aim', 'reached']

export function table(rows) {
  const lines = [COLUMNS, ...rows.map(cells)]
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const text = lines.map((line) => line.map((cell, column) => pad(cell, widths[column], column)).join('  '))
  text.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '))
  const notes = rows.flatMap(({ figure, notes = [] }) => notes.map((note) => `${figure}: ${note}`))
  return [...text, '', ...notes].join('\n').trimEnd()
}

function cells({ figure, ebb = '-', plain = '-', ratio, aim = '-', reached }) {
  return [figure, ebb, plain, ratio?.toFixed(2) ?? '-', aim, reached ? 'yes' : 'no']
}

/** Figures stand right, words left. */
function pad(cell, width, column) {
  return column >= 1 && column <= 3 ? cell.padStart(width) : cell.padEnd(width)
}

/** The figures as a table: one a line, its notes below the table. */

const COLUMNS = ['program', 'figure', 'with', 'without', 'ratio', 'aim', 'reached']
const WORDS = ['program', 'figure', 'aim', 'reached']

export function table(rows) {
  const lines = [COLUMNS, ...rows.map(cells)]
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const text = lines.map((line) => line.map((cell, column) => pad(cell, widths[column], column)).join('  '))
  text.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '))
  const notes = rows.flatMap(({ program, figure, notes = [] }) => notes.map((note) => `${program}, ${figure}: ${note}`))
  return [...text, '', ...notes]
    .map((line) => line.trimEnd())
    .join('\n')
    .trimEnd()
}

function cells({ program, figure, with: governed = '-', without = '-', ratio, aim = '-', reached }) {
  return [program, figure, governed, without, ratio?.toFixed(3) ?? '-', aim, reached ? 'yes' : 'no']
}

/** Figures stand right, words left. */
function pad(cell, width, column) {
  return WORDS.includes(COLUMNS[column]) ? cell.padEnd(width) : cell.padStart(width)
}

/** The figures of a peer: medians over its rounds, and how they are written. */

/** Bytes and milliseconds in, as a person reads them out. The heading has the unit, in a line of its own. */
const COLUMNS = [
  { heading: ['at rest', 'MB'], of: ({ verdict }) => verdict.rest, write: megabytes },
  { heading: ['footprint', 'bytes'], of: ({ verdict }) => verdict.footprint, write: whole },
  { heading: ['peak', 'MB'], of: ({ verdict }) => verdict.peak, write: megabytes },
  { heading: ['kept', 'MB'], of: ({ verdict }) => verdict.kept, write: megabytes },
  { heading: ['need', 'MB'], of: ({ verdict }) => verdict.need, write: megabytes },
  { heading: ['retention', ''], of: ({ verdict }) => verdict.retention, write: (value) => value.toFixed(2) },
  { heading: ['release', 's'], of: ({ verdict }) => verdict.release, write: seconds },
  { heading: ['CPU', 'ms/1,000'], of: ({ verdict }) => verdict.cpuPerThousand, write: (value) => value.toFixed(1) },
  { heading: ['connects', '1/s'], of: ({ verdict }) => verdict.connectsPerSecond, write: hundreds },
  { heading: ['resident', 'MB'], of: ({ verdict }) => verdict.resident, write: megabytes },
  { heading: ['PSS', 'MB'], of: ({ proportional }) => proportional, write: megabytes }
]

const GAP = '  '

/** The row of a peer: its name, and the median of each figure, as text. */
export function rowOf(name, rounds) {
  return [
    name,
    ...COLUMNS.map(({ of, write }) => {
      const value = median(rounds.map(of).filter((figure) => figure !== null))
      return value === undefined ? '-' : write(value)
    })
  ]
}

/** The round whose kept memory is the median: the one to draw. */
export function middle(rounds) {
  const kept = ({ verdict }) => verdict.kept ?? Number.POSITIVE_INFINITY
  return rounds.toSorted((a, b) => kept(a) - kept(b))[(rounds.length - 1) >> 1]
}

/** For a terminal: no line is longer than `width`; columns that do not fit go on in a second block below the first. */
export function textTable(rows, width) {
  const headings = [0, 1].map((line) => ['', ...COLUMNS.map(({ heading }) => heading[line])])
  const lines = [...headings, ...rows]
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const blocks = []
  for (let from = 1, to = 1; from < widths.length; from = to) {
    let taken = widths[0]
    for (; to < widths.length && (to === from || taken + GAP.length + widths[to] <= width); to++) {
      taken += GAP.length + widths[to]
    }
    const columns = widths.map((_, column) => column).slice(from, to)
    const text = ([name, ...cells]) => [name.padEnd(widths[0]), ...columns.map((i) => cells[i - 1].padStart(widths[i]))]
    blocks.push(lines.map((line) => text(line).join(GAP).trimEnd()).join('\n'))
  }
  return blocks.join('\n\n')
}

export function markdownTable(rows) {
  const headings = COLUMNS.map(({ heading: [word, unit] }) => (unit === '' ? word : `${word}, ${unit}`))
  return [['server', ...headings], ['---', ...COLUMNS.map(() => '---:')], ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}

/** Of numbers, `Infinity` among them; undefined of none. */
function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const upper = sorted.length >> 1
  return sorted.length % 2 === 1
    ? sorted[upper]
    : sorted.length === 0
      ? undefined
      : (sorted[upper - 1] + sorted[upper]) / 2
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1)
}

function seconds(ms) {
  return ms === Number.POSITIVE_INFINITY ? 'never' : (ms / 1000).toFixed(1)
}

function whole(value) {
  return (Math.round(value) + 0).toLocaleString('en-US')
}

/** A rate over a fraction of a second has no more digits than this. */
function hundreds(value) {
  return whole(Math.round(value / 100) * 100)
}

/** The figures of a server, and their format. */
import { whole } from '../harness/figures.mjs'
import { markdownTable as markdown, wrapColumns } from '../harness/table.mjs'

/** @import { Verdict } from 'ebb-lab' */

/**
 * The figures of a server, medians over its rounds.
 *
 * @typedef {object} Figures
 * @property {Verdict} verdict
 * @property {number} proportional mean PSS of four copies on one machine, bytes
 */

/**
 * A column of the table.
 *
 * @typedef {object} Column
 * @property {string} word first line of its heading
 * @property {string} unit second line of its heading, empty for a ratio
 * @property {(figures: Figures) => number | null} of the figure in bytes or ms; null if it is unknown
 * @property {(figure: number) => string} format
 */

/** @type {readonly Column[]} */
const COLUMNS = [
  { word: 'at rest', unit: 'MB', of: ({ verdict }) => verdict.rest, format: megabytes },
  { word: 'footprint', unit: 'bytes', of: ({ verdict }) => verdict.footprint, format: footprint },
  { word: 'peak', unit: 'MB', of: ({ verdict }) => verdict.peak, format: megabytes },
  { word: 'kept', unit: 'MB', of: ({ verdict }) => verdict.kept, format: megabytes },
  { word: 'need', unit: 'MB', of: ({ verdict }) => verdict.need, format: megabytes },
  { word: 'retention', unit: '', of: ({ verdict }) => verdict.retention, format: (value) => value.toFixed(2) },
  { word: 'release', unit: 's', of: ({ verdict }) => verdict.release, format: seconds },
  { word: 'CPU', unit: 'ms/1,000', of: ({ verdict }) => verdict.cpuPerThousand, format: (value) => value.toFixed(1) },
  { word: 'connects', unit: '1/s', of: ({ verdict }) => verdict.connectsPerSecond, format: hundreds },
  { word: 'resident', unit: 'MB', of: ({ verdict }) => verdict.resident, format: megabytes },
  { word: 'PSS', unit: 'MB', of: ({ proportional }) => proportional, format: megabytes }
]

/**
 * Returns a line of the table: the server's name, and its figures.
 *
 * @param {string} name
 * @param {Figures} figures
 */
export function rowOf(name, figures) {
  return [
    name,
    ...COLUMNS.map(({ of, format }) => {
      const figure = of(figures)
      return figure === null ? '-' : format(figure)
    })
  ]
}

/**
 * Returns the table for a terminal of `width` columns.
 *
 * @param {readonly (readonly string[])[]} rows
 * @param {number} width
 */
export function textTable(rows, width) {
  return wrapColumns(
    [['', ...COLUMNS.map(({ word }) => word)], ['', ...COLUMNS.map(({ unit }) => unit)], ...rows],
    width
  )
}

/**
 * Returns the table in Markdown.
 *
 * @param {readonly (readonly string[])[]} rows
 * @param {number} [columns] how many of its columns, the names included; all by default
 */
export function markdownTable(rows, columns) {
  const headings = ['server', ...COLUMNS.map(({ word, unit }) => (unit === '' ? word : `${word}, ${unit}`))]
  return markdown(
    headings.slice(0, columns),
    rows.map((cells) => cells.slice(0, columns))
  )
}

/** @param {number} bytes */
function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1)
}

/**
 * A negative footprint says how much garbage the server had at rest, and nothing about connections.
 *
 * @param {number} bytes
 */
function footprint(bytes) {
  return bytes < 0 ? '< 0' : whole(bytes)
}

/** @param {number} ms */
function seconds(ms) {
  return ms === Number.POSITIVE_INFINITY ? 'never' : (ms / 1000).toFixed(1)
}

/**
 * Rounds to hundreds: connecting takes a fraction of a second, so a rate has no more digits than that.
 *
 * @param {number} value
 */
function hundreds(value) {
  return whole(Math.round(value / 100) * 100)
}

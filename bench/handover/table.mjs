import { spreadOf, spreadText } from '../harness/paired.mjs'

/** @import { Figures } from '../harness/table.mjs' */

/**
 * A figure of handovers.
 *
 * @typedef {object} Row
 * @property {string} figure
 * @property {string} [value] median of the rounds
 * @property {string} [spread] where the median of many rounds lies
 * @property {string} [plain] the figure of plain Node
 * @property {string} [aim]
 * @property {boolean} reached true without an aim
 * @property {readonly string[]} [notes] sentences that are printed below the table
 */

const HEADINGS = ['figure', 'ebb', 'spread', 'plain Node', 'aim', 'reached']
const LEFT = new Set(['figure', 'aim', 'reached'])

/**
 * Returns the row of a figure that is measured in several rounds. The median is compared with the aim.
 *
 * @param {string} figure
 * @param {readonly number[]} rounds
 * @param {(value: number) => string} format
 * @param {number} [most] the aim
 * @param {readonly string[]} [notes]
 * @returns {Row}
 */
export function rowOf(figure, rounds, format, most, notes = []) {
  const spread = spreadOf(rounds)
  return {
    figure,
    value: format(spread.median),
    spread: spreadText(spread, format),
    ...(most !== undefined && { aim: `at most ${format(most)}` }),
    reached: most === undefined || spread.median <= most,
    notes
  }
}

/**
 * Returns the figures as a table with their notes below it.
 *
 * @param {readonly Row[]} rows
 * @returns {Figures}
 */
export function table(rows) {
  return {
    headings: HEADINGS,
    left: LEFT,
    rows: rows.map(({ figure, value = '-', spread = '-', plain = '-', aim = '', reached, notes }) => ({
      label: figure,
      cells: [figure, value, spread, plain, aim, aim === '' ? '' : reached ? 'yes' : 'no'],
      notes
    }))
  }
}

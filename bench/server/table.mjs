/** @import { Figures } from '../harness/table.mjs' */

/**
 * A figure of ebb beside that of plain Node.
 *
 * @typedef {object} Row
 * @property {string} figure
 * @property {string} [ebb]
 * @property {string} [plain]
 * @property {string} [ratio] ebb / plain Node, the median of the rounds
 * @property {string} [ratioSpread] where the median of many rounds lies, and `noise` if it may be 1
 * @property {string} aim
 * @property {boolean} reached
 * @property {readonly string[]} [notes] sentences that are printed below the table
 */

const HEADINGS = ['figure', 'ebb', 'plain Node', 'ratio', 'spread', 'aim', 'reached']
const LEFT = new Set(['figure', 'aim', 'reached'])

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
    rows: rows.map(({ figure, ebb = '-', plain = '-', ratio = '-', ratioSpread = '', aim, reached, notes }) => ({
      label: figure,
      cells: [figure, ebb, plain, ratio, ratioSpread, aim, reached ? 'yes' : 'no'],
      notes
    }))
  }
}

import { figureTable } from '../harness/table.mjs'

/**
 * A figure of ebb beside that of ws alone.
 *
 * @typedef {object} Row
 * @property {string} figure
 * @property {string} [ebb]
 * @property {string} [ws]
 * @property {number} [ratio] ebb / ws
 * @property {string} aim
 * @property {boolean} reached
 * @property {readonly string[]} [notes] sentences that are printed below the table
 */

const HEADINGS = ['figure', 'ebb', 'ws', 'ratio', 'aim', 'reached']
const LEFT = new Set(['figure', 'aim', 'reached'])

/**
 * Returns the figures as a table with their notes below it.
 *
 * @param {readonly Row[]} rows
 */
export function table(rows) {
  return figureTable(
    HEADINGS,
    LEFT,
    rows.map(({ figure, ebb = '-', ws = '-', ratio, aim, reached, notes }) => ({
      label: figure,
      cells: [figure, ebb, ws, ratio?.toFixed(2) ?? '-', aim, reached ? 'yes' : 'no'],
      notes
    }))
  )
}

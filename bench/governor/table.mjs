/** @import { Figures } from '../harness/table.mjs' */

/**
 * A figure of a program with the governor beside the program without it.
 *
 * @typedef {object} Row
 * @property {string} program
 * @property {string} figure
 * @property {string} [with]
 * @property {string} [without]
 * @property {number} [ratio] with / without
 * @property {string} aim
 * @property {boolean} reached
 * @property {readonly string[]} [notes] sentences that are printed below the table
 */

const HEADINGS = ['program', 'figure', 'with', 'without', 'ratio', 'aim', 'reached']
const LEFT = new Set(['program', 'figure', 'aim', 'reached'])

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
    rows: rows.map(({ program, figure, with: governed = '-', without = '-', ratio, aim, reached, notes }) => ({
      label: `${program}, ${figure}`,
      cells: [program, figure, governed, without, ratio?.toFixed(3) ?? '-', aim, reached ? 'yes' : 'no'],
      notes
    }))
  }
}

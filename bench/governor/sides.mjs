/**
 * With the governor, or without it.
 *
 * @typedef {'with' | 'without'} Name
 */

/**
 * @typedef {object} Side
 * @property {Name} name
 * @property {boolean} governed
 */

/**
 * How a benchmark of this folder runs.
 *
 * @typedef {object} Setting
 * @property {string} node path of the Node that the programs run with
 * @property {boolean} quick smaller sizes
 * @property {number} rounds
 */

/** @type {readonly Side[]} */
export const SIDES = [
  { name: 'with', governed: true },
  { name: 'without', governed: false }
]

/** The main program of a comparison of ebb with something else, in parts. */
import { flag, readCommandLine, selection } from './command-line.mjs'
import { conclude } from './conclude.mjs'
import { runParts } from './parts.mjs'

/**
 * What every figure of a comparison has.
 *
 * @typedef {object} Figure
 * @property {string} figure
 * @property {string} aim
 * @property {boolean} reached
 * @property {readonly string[]} [notes] sentences that are printed below the table
 */

/**
 * @template {string} N
 * @template {Figure} R
 * @typedef {object} Comparison
 * @property {string} script its name in package.json
 * @property {string} about what it measures, what it needs, how long it takes
 * @property {string} title what is compared
 * @property {readonly N[]} names of its parts
 * @property {(sized: (size: number) => number) => Readonly<Record<N, () => Promise<R[]>>>} parts `sized` reduces a size
 *   or a number of rounds for `--quick`
 * @property {(rows: readonly (R | Figure)[]) => string} table
 */

/**
 * Reads the command line, runs the parts, and prints their figures.
 *
 * @template {string} N
 * @template {Figure} R
 * @param {Comparison<N, R>} comparison
 */
export async function compare({ script, about, title, names: all, parts, table }) {
  const { quick, only: names = all } = readCommandLine({
    script,
    about,
    options: {
      quick: flag('Use a fifth of the sizes and rounds, with the same aims.'),
      only: selection('NAME,NAME', `Run some of the parts: ${all.join(', ')}.`, 'part', all)
    },
    exit: 'Exit codes: 0, also if an aim is not reached or a part fails; 1 for wrong options.'
  })
  /** @type {Readonly<Record<N, () => Promise<(R | Figure)[]>>>} */
  const work = parts((size) => (quick ? Math.ceil(size / 5) : size))
  const rows = await runParts(names, work, (name, note) => ({
    figure: name,
    aim: 'to be measured',
    reached: false,
    notes: [note]
  }))
  console.log(`Node ${process.version.slice(1)}`)
  console.log(table(rows))
  conclude(
    `${title}, parts ${names.join(', ')}${quick ? ', at a fifth of the size' : ''}.`,
    rows.map(({ figure, reached }) => ({ figure, kept: reached }))
  )
}

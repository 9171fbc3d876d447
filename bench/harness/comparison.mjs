/** The main program of a comparison of ebb with something else, in parts. */
import { writeFileSync } from 'node:fs'
import { flag, readCommandLine, selection } from './command-line.mjs'
import { conclude } from './conclude.mjs'
import { runParts } from './parts.mjs'
import { figurePage, figureTable } from './table.mjs'

/** @import { Figures } from './table.mjs' */

/**
 * What every figure of a comparison has.
 *
 * @typedef {object} Figure
 * @property {string} figure
 * @property {string} [server] whose figure it is, if several are compared
 * @property {string} [aim]
 * @property {boolean} reached true without an aim
 * @property {readonly string[]} [notes] sentences that are printed below the table
 */

/**
 * The figure of a part that has failed.
 *
 * @typedef {Figure & { aim: string }} Failed
 */

/**
 * A server that the command line can choose.
 *
 * @typedef {object} Choice
 * @property {string} id
 * @property {string | undefined} absent why it cannot run on this machine
 */

/**
 * @template {string} N
 * @template {Figure} R
 * @typedef {object} Comparison
 * @property {string} script its name in package.json
 * @property {string} about what it measures, what it needs, how long it takes
 * @property {string} title what is compared
 * @property {readonly N[]} names of its parts
 * @property {readonly Choice[]} [servers] adds the option `--servers`
 * @property {(sized: (size: number) => number, servers: readonly string[]) => Readonly<Record<N, () => Promise<R[]>>>}
 *   parts `sized` reduces a size or a number of rounds for `--quick`; `servers` are the ids of those to measure
 * @property {(rows: readonly (R | Failed)[]) => Figures} table
 */

/**
 * Reads the command line, runs the parts, and prints their figures. If `EBB_BENCH_PAGE` names a file, writes them to it
 * in Markdown, for a program that runs the benchmark.
 *
 * @template {string} N
 * @template {Figure} R
 * @param {Comparison<N, R>} comparison
 */
export async function compare({ script, about, title, names: all, servers = [], parts, table }) {
  const ids = servers.map(({ id }) => id)
  const {
    quick,
    only: names = all,
    servers: chosen = ids
  } = readCommandLine({
    script,
    about,
    options: {
      quick: flag('Use a fifth of the sizes and rounds, with the same aims.'),
      only: selection('NAME,NAME', `Run some of the parts: ${all.join(', ')}.`, 'part', all),
      ...(ids.length > 0 && {
        servers: selection('ID,ID', `Measure some of the servers: ${ids.join(', ')}.`, 'server', ids)
      })
    },
    exit: 'Exit codes: 0, also if an aim is not reached or a part fails; 1 for wrong options.'
  })
  /** @type {Readonly<Record<N, () => Promise<(R | Failed)[]>>>} */
  const work = parts((size) => (quick ? Math.ceil(size / 5) : size), present(servers, chosen))
  const rows = await runParts(names, work, (name, note) => ({
    figure: name,
    aim: 'to be measured',
    reached: false,
    notes: [note]
  }))
  console.log(`Node ${process.version.slice(1)}`)
  const figures = table(rows)
  console.log(figureTable(figures))
  const file = process.env.EBB_BENCH_PAGE
  if (file !== undefined) writeFileSync(file, `${figurePage(figures)}\n`)
  conclude(
    `${title}, parts ${names.join(', ')}${quick ? ', at a fifth of the size' : ''}.`,
    rows
      .filter(({ aim }) => aim !== undefined)
      .map(({ figure, server, reached: kept }) => ({
        figure: server === undefined ? figure : `${server}, ${figure}`,
        kept
      }))
  )
}

/**
 * Returns the ids of the servers that are chosen and can run here, and prints why the others are left out.
 *
 * @param {readonly Choice[]} servers
 * @param {readonly string[]} chosen
 */
function present(servers, chosen) {
  const wanted = servers.filter(({ id }) => chosen.includes(id))
  for (const { id, absent } of wanted) if (absent !== undefined) console.error(`${id}: skipped: ${absent}`)
  return wanted.filter(({ absent }) => absent === undefined).map(({ id }) => id)
}

import { differenceOf, ratioCells, spreadOf, spreadText } from '../harness/paired.mjs'

/** @import { Figures } from '../harness/table.mjs' */

/** @import { Server } from './list.mjs' */

/**
 * A figure of one server.
 *
 * @typedef {object} Row
 * @property {string} figure
 * @property {string} [server]
 * @property {string} [value] median of the rounds
 * @property {string} [spread] where the median of many rounds lies
 * @property {string} [ratio] median of the ratios to another server in the same round
 * @property {string} [ratioSpread] where the median of many such ratios lies, and `noise` if it may be 1
 * @property {string} [base] the other server
 * @property {string} [aim]
 * @property {boolean} reached true without an aim
 * @property {readonly string[]} [notes] sentences that are printed below the table
 */

/**
 * What a server is expected to reach.
 *
 * @typedef {object} Aim
 * @property {number} most
 * @property {'value' | 'ratio'} of
 */

const HEADINGS = ['figure', 'server', 'median', 'spread', 'ratio', 'spread', 'to', 'aim', 'reached']
const LEFT = new Set(['figure', 'server', 'to', 'aim', 'reached'])

/**
 * Returns the rows of a figure: one for each server.
 *
 * @template T
 * @param {string} figure
 * @param {readonly Server[]} servers
 * @param {Readonly<Record<string, readonly T[]>>} results rounds by the id of the server
 * @param {(round: T) => number} of
 * @param {(value: number) => string} format
 * @param {Readonly<Record<string, Aim>>} aims by the id of the server
 * @returns {Row[]}
 */
export function rowsOf(figure, servers, results, of, format, aims) {
  return servers.map(({ id, name, base }) => {
    const values = (results[id] ?? []).map(of)
    const bases = results[base]
    const spread = spreadOf(values)
    const ratios = base === id || bases === undefined ? undefined : differenceOf(results[id] ?? [], bases, of)
    const aim = aims[id]
    const reached = aim === undefined || ((aim.of === 'ratio' ? ratios : spread)?.median ?? Number.NaN) <= aim.most
    return {
      figure,
      server: name,
      value: format(spread.median),
      spread: spreadText(spread, format),
      ...(ratios !== undefined && {
        ...ratioCells(ratios),
        base: servers.find((other) => other.id === base)?.name ?? base
      }),
      ...(aim !== undefined && { aim: `at most ${aim.of === 'ratio' ? aim.most.toFixed(1) : format(aim.most)}` }),
      reached
    }
  })
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
    rows: rows.map(
      ({ figure, server = '', value, spread, ratio, ratioSpread, base = '', aim = '', reached, notes }, i) => ({
        label: figure,
        cells: [
          figure === rows[i - 1]?.figure ? '' : figure,
          server,
          value ?? '-',
          spread ?? '-',
          ratio ?? '-',
          ratioSpread ?? '-',
          base,
          aim,
          aim === '' ? '' : reached ? 'yes' : 'no'
        ],
        notes
      })
    )
  }
}

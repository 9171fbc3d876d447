/** Measures a storm: all idle connections send at once. The time runs from the first byte sent to the last response. */
import { setTimeout as wait } from 'node:timers/promises'
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { withSides } from '../harness/plain-sides.mjs'

/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked: longer than a storm takes. */
const IDLE = 2000
/** Milliseconds between parking and the storm. */
const QUIET = 500

/**
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function storm(n, rounds) {
  const rows = []
  for (const protocol of /** @type {const} */ (['http', 'tcp'])) {
    const { ebb, plain } = await withSides(protocol, { idle: IDLE }, async (...sides) => {
      for (const side of sides) await side.connect(n)
      return interleave(sides, rounds, async ({ idle, crowd, server }) => {
        await idle(n)
        await wait(QUIET)
        const before = await server.ask('cpu')
        const ms = await crowd.ask('storm')
        return { ms, cpu: (await server.ask('cpu')) - before }
      })
    })
    const of = (/** @type {typeof ebb} */ list, /** @type {'ms' | 'cpu'} */ key) =>
      median(list.map((round) => round[key]))
    const all = (/** @type {typeof ebb} */ list) => list.map(({ ms }) => ms.toFixed(0)).join(' ')
    const difference = differenceOf(ebb, plain, ({ ms }) => ms)
    const cpu = ratioCells(differenceOf(ebb, plain, (round) => round.cpu))
    rows.push({
      figure: `storm of ${n}, ${protocol}`,
      ebb: milliseconds(of(ebb, 'ms')),
      plain: milliseconds(of(plain, 'ms')),
      ...ratioCells(difference),
      aim: 'at most plain',
      reached: difference.median <= 1,
      notes: [
        `rounds: ebb ${all(ebb)}; plain ${all(plain)} ms`,
        `CPU of the server: ebb ${milliseconds(of(ebb, 'cpu'))}, plain Node ${milliseconds(of(plain, 'cpu'))}, ` +
          `ratio ${cpu.ratio} (${cpu.ratioSpread})`
      ]
    })
  }
  return rows
}

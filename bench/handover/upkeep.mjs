/** Measures what keeping costs: CPU time of a server that wakes and parks connections, with and without a keeper. */
import { median, microseconds } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { withBoth } from '../harness/sides.mjs'
import { startCrowd } from './members.mjs'
import { Supervised } from './supervised.mjs'

/** @import { Child } from '../harness/child.mjs' */
/** @import { CrowdOrders } from './programs/crowd.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked. */
const IDLE = 200

/**
 * Has all connections woken, answered, and parked again, in turn on both servers.
 *
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function upkeep(n, rounds) {
  const { keep, plain } = await withBoth(
    () => startSide('keep', n),
    () => startSide('plain', n),
    (...sides) =>
      interleave(sides, rounds + 1, async ({ server, crowd }) => {
        const before = await parked(server, n)
        await crowd.ask('askAll')
        const after = await parked(server, n)
        return ((after.cpu - before.cpu) * 1000) / n
      })
  )
  // The first round still compiles.
  const [kept, without] = [keep.slice(1), plain.slice(1)]
  const difference = differenceOf(kept, without, (us) => us)
  const { ratio, ratioSpread } = ratioCells(difference)
  return [
    {
      figure: 'a wake and a park, kept / not kept',
      value: ratio,
      spread: ratioSpread,
      aim: 'at most 1.10',
      reached: difference.median <= 1.1,
      notes: [`CPU of the server: kept ${microseconds(median(kept))}, not kept ${microseconds(median(without))}`]
    }
  ]
}

/**
 * @typedef {object} Side
 * @property {'keep' | 'plain'} name
 * @property {Supervised} server
 * @property {Child<CrowdOrders>} crowd
 * @property {() => Promise<unknown>} end
 */

/**
 * @param {'keep' | 'plain'} name
 * @param {number} n
 * @returns {Promise<Side>}
 */
async function startSide(name, n) {
  const server = await Supervised.start(name === 'keep', IDLE)
  const crowd = await startCrowd()
  await crowd.ask('connect', server.port, n)
  return { name, server, crowd, end: () => Promise.all([server.end(), crowd.end()]) }
}

/**
 * Waits until all connections are parked, and kept for long enough that nothing follows.
 *
 * @param {Supervised} server
 * @param {number} n
 */
async function parked(server, n) {
  await server.until(({ stats }) => stats.parked === n)
  await new Promise((resolve) => setTimeout(resolve, IDLE))
  return server.figures()
}

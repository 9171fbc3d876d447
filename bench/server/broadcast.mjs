/** Measures a broadcast to idle connections: the server's CPU time until the last of them has received it. */
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { withSides } from '../harness/plain-sides.mjs'

/** @import { Side } from '../harness/plain-sides.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked. */
const IDLE = 500
const TEXT = 'b'.repeat(100)

/**
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function broadcast(n, rounds) {
  const { ebb, plain } = await withSides('tcp', { idle: IDLE }, async (...sides) => {
    for (const side of sides) {
      await side.connect(n)
      await side.idle(n)
    }
    const once = async (/** @type {Side} */ { idle, server, crowd }) => {
      await idle(n)
      const before = await server.ask('cpu')
      const received = crowd.ask('expect', TEXT.length)
      const reached = await server.ask('broadcast', TEXT)
      await received
      if (reached !== n) throw new Error(`the broadcast was sent to ${reached} of ${n} connections`)
      return (await server.ask('cpu')) - before
    }
    // The first round compiles the code and is not counted.
    await interleave(sides, 1, once)
    return interleave(sides, rounds, once)
  })
  const difference = differenceOf(ebb, plain, (ms) => ms)
  return [
    {
      figure: `broadcast to ${n}, CPU of the server`,
      ebb: milliseconds(median(ebb)),
      plain: milliseconds(median(plain)),
      ...ratioCells(difference),
      aim: 'less than plain',
      reached: difference.median < 1
    }
  ]
}

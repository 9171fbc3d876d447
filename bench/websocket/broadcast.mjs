/** Measures a broadcast: the server's CPU time until the last of many idle connections has received it. */
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave, pairedRatios } from '../harness/interleave.mjs'
import { withSides } from './sides.mjs'

/** @import { Side } from './sides.mjs' */
/** @import { Row } from './table.mjs' */

const TEXT = 'b'.repeat(100)
/** Bytes of the frame's header. */
const HEADER = 2

/**
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function broadcast(n, rounds) {
  const { ebb, ws } = await withSides(async (...sides) => {
    for (const side of sides) await side.connect(n)
    const once = async (/** @type {Side} */ { idle, server, crowd }) => {
      await idle(n)
      const before = await server.ask('cpu')
      const received = crowd.ask('expect', HEADER + TEXT.length)
      await server.ask('broadcast', TEXT)
      await received
      return (await server.ask('cpu')) - before
    }
    // The first round compiles the code and is not counted.
    await interleave(sides, 1, once)
    return interleave(sides, rounds, once)
  })
  const ratio = median(pairedRatios(ebb, ws, (ms) => ms))
  return [
    {
      figure: `broadcast of 100 bytes to ${n}, CPU of the server`,
      ebb: milliseconds(median(ebb)),
      ws: milliseconds(median(ws)),
      ratio,
      aim: 'at most 0.8 of ws',
      reached: ratio <= 0.8
    }
  ]
}

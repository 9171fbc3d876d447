/** Measures the end of a crowd: the server's CPU time until the last of many connections is closed. */
import { milliseconds } from '../harness/figures.mjs'
import { withSides } from './sides.mjs'

/** @import { Side } from './sides.mjs' */
/** @import { Row } from './table.mjs' */

/**
 * @param {number} n connections
 * @returns {Promise<Row[]>}
 */
export async function closing(n) {
  const [ebb, ws] = await withSides(async (...sides) => {
    const times = []
    for (const { connect, idle, server, crowd } of /** @type {Side[]} */ (sides)) {
      await connect(n)
      await idle(n)
      const before = await server.ask('cpu')
      await crowd.ask('closeAll')
      await server.until('open', ({ open }) => open === 0)
      times.push((await server.ask('cpu')) - before)
    }
    return /** @type {[number, number]} */ (times)
  })
  const ratio = ebb / ws
  return [
    {
      figure: `closing handshake of ${n}, CPU of the server`,
      ebb: milliseconds(ebb),
      ws: milliseconds(ws),
      ratio,
      aim: 'at most 1.0 of ws',
      reached: ratio <= 1
    }
  ]
}

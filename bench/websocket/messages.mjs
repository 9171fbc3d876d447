/** Measures messages: one on each of many idle connections, and many on a few busy ones. */
import { median, microseconds } from '../harness/figures.mjs'
import { interleave, pairedRatios } from '../harness/interleave.mjs'
import { withSides } from './sides.mjs'

/** @import { Side } from './sides.mjs' */
/** @import { Row } from './table.mjs' */

/**
 * Messages to idle connections, one after the other.
 *
 * @param {number} n connections
 * @param {number} turns messages in a round, each on another connection
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function sparse(n, turns, rounds) {
  const { ebb, ws } = await withSides(async (...sides) => {
    for (const side of sides) await side.connect(n)
    const once = async (/** @type {Side} */ { idle, server, crowd }, /** @type {number} */ round) => {
      await idle(n)
      const from = (round * turns) % n
      const before = await server.ask('cpu')
      const times = await crowd.ask('turns', from, Math.min(n, from + turns))
      const cpu = (await server.ask('cpu')) - before
      return { cpu: (cpu * 1000) / times.length, latency: median(times) }
    }
    // The first round compiles the code and is not counted.
    await interleave(sides, 1, once)
    return interleave(sides, rounds, once)
  })
  const row = (/** @type {'cpu' | 'latency'} */ what, /** @type {string} */ figure, /** @type {number} */ limit) => {
    const ratio = median(pairedRatios(ebb, ws, (round) => round[what]))
    return {
      figure,
      ebb: microseconds(median(ebb.map((round) => round[what]))),
      ws: microseconds(median(ws.map((round) => round[what]))),
      ratio,
      aim: `at most ${limit.toFixed(1)} of ws`,
      reached: ratio <= limit
    }
  }
  return [
    row('latency', `first message to one of ${n} idle, p50`, 1),
    row('cpu', `message to one of ${n} idle, CPU of the server`, 0.7)
  ]
}

/**
 * Busy connections, each of which sends its next message when the response has come.
 *
 * @param {number} n connections
 * @param {number} rounds
 * @param {number} ms length of a round
 * @returns {Promise<Row[]>}
 */
export async function hot(n, rounds, ms) {
  const { ebb, ws } = await withSides(async (...sides) => {
    for (const side of sides) {
      await side.connect(n)
      await side.idle(n)
    }
    const once = async (/** @type {Side} */ { server, crowd }) => {
      const before = await server.ask('cpu')
      const { total } = await crowd.ask('pingPong', ms)
      return (((await server.ask('cpu')) - before) * 1000) / total
    }
    await interleave(sides, 1, once)
    return interleave(sides, rounds, once)
  })
  const ratio = median(pairedRatios(ebb, ws, (us) => us))
  return [
    {
      figure: `message on ${n} busy connections, CPU of the server`,
      ebb: `${median(ebb).toFixed(1)} us`,
      ws: `${median(ws).toFixed(1)} us`,
      ratio,
      aim: 'at most 0.9 of ws',
      reached: ratio <= 0.9
    }
  ]
}

/** Measures messages: one on each of many idle connections, and many on a few busy ones. */
import { median, microseconds } from '../harness/figures.mjs'
import { measureSides } from './sides.mjs'
import { rowsOf } from './table.mjs'

/** @import { Server } from './list.mjs' */
/** @import { Side } from './sides.mjs' */
/** @import { Aim, Row } from './table.mjs' */

/** @type {Readonly<Record<'latency' | 'cpu' | 'hot', Record<string, Aim>>>} */
const AIMS = {
  latency: { ebb: { most: 1, of: 'ratio' }, hibernate: { most: 1, of: 'ratio' } },
  cpu: { ebb: { most: 0.7, of: 'ratio' }, hibernate: { most: 0.7, of: 'ratio' } },
  hot: { ebb: { most: 0.9, of: 'ratio' }, hibernate: { most: 0.9, of: 'ratio' } }
}

/**
 * Messages to idle connections, one after the other.
 *
 * @param {readonly Server[]} servers
 * @param {number} n connections
 * @param {number} turns messages in a round, each on another connection
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function sparse(servers, n, turns, rounds) {
  const measure = async (/** @type {Side} */ { idle, server, crowd }, /** @type {number} */ round) => {
    await idle(n)
    const from = (round * turns) % n
    const before = await server.ask('cpu')
    const times = await crowd.ask('turns', from, Math.min(n, from + turns))
    const cpu = (await server.ask('cpu')) - before
    return { cpu: (cpu * 1000) / times.length, latency: median(times) }
  }
  // Each connection has sent a message while it was awake, so that code is compiled. Each sends one while it is idle.
  const results = await measureSides(servers, n, rounds, measure, Math.ceil(n / turns))
  const rows = (/** @type {'latency' | 'cpu'} */ what, /** @type {string} */ figure) =>
    rowsOf(figure, servers, results, (round) => round[what], microseconds, AIMS[what])
  return [
    ...rows('latency', `first message to one of ${n} idle, p50`),
    ...rows('cpu', `message to one of ${n} idle, CPU of the server`)
  ]
}

/**
 * Busy connections, each of which sends its next message when the response has come.
 *
 * @param {readonly Server[]} servers
 * @param {number} n connections
 * @param {number} rounds
 * @param {number} ms length of a round
 * @returns {Promise<Row[]>}
 */
export async function hot(servers, n, rounds, ms) {
  const results = await measureSides(servers, n, rounds, async ({ server, crowd }) => {
    const before = await server.ask('cpu')
    const { total } = await crowd.ask('pingPong', ms)
    return (((await server.ask('cpu')) - before) * 1000) / total
  })
  const figure = `message on ${n} busy connections, CPU of the server`
  return rowsOf(
    figure,
    servers,
    results,
    (us) => us,
    (us) => `${us.toFixed(1)} us`,
    AIMS.hot
  )
}

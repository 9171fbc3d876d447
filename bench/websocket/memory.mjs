/** Measures what idle connections hold: anonymous memory above rest, after one exchange on each of them. */
import { whole } from '../harness/figures.mjs'
import { idleMemory } from '../harness/idle-memory.mjs'
import { interleave } from '../harness/interleave.mjs'
import { startSide } from './sides.mjs'
import { rowsOf } from './table.mjs'

/** @import { Server } from './list.mjs' */
/** @import { Aim, Row } from './table.mjs' */

/** Milliseconds after which the memory is looked at, without a release. */
const QUIET = 3000

/** @type {Readonly<Record<'left' | 'released', Record<string, Aim>>>} */
const AIMS = {
  released: {
    ebb: { most: 900, of: 'value' },
    hibernate: { most: 120, of: 'value' },
    'socket.io-ebb': { most: 0.7, of: 'ratio' }
  },
  left: { ebb: { most: 2000, of: 'value' }, hibernate: { most: 300, of: 'value' } }
}
/** @type {Readonly<Record<string, Aim>>} */
const DEFLATE_AIMS = { ebb: { most: 1800, of: 'value' } }

/**
 * @param {readonly Server[]} servers
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function memory(servers, n, rounds) {
  const results = await measure(servers, () => n, rounds, false)
  const rows = (/** @type {'left' | 'released'} */ when, /** @type {string} */ text) =>
    rowsOf(`${n} idle, bytes a connection ${text}`, servers, results, (round) => round[when], whole, AIMS[when])
  return [...rows('released', 'after a release'), ...rows('left', '3 s after the last message')]
}

/**
 * @param {readonly Server[]} servers
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function deflate(servers, n, rounds) {
  const all = servers.filter(({ deflates }) => deflates)
  const results = await measure(all, ({ mostDeflated = n }) => Math.min(n, mostDeflated), rounds, true)
  const figure = `${n} idle, permessage-deflate, bytes a connection after a release`
  return rowsOf(figure, all, results, ({ released }) => released, whole, DEFLATE_AIMS)
}

/**
 * Measures each server in a new process in each round. Resolves with bytes a connection.
 *
 * @param {readonly Server[]} servers
 * @param {(server: Server) => number} connections
 * @param {number} rounds
 * @param {boolean} deflate
 */
function measure(servers, connections, rounds, deflate) {
  const named = servers.map((server) => ({ name: server.id, server }))
  return interleave(named, rounds, async ({ server }) => {
    const n = connections(server)
    const { left, released } = await idleMemory(await startSide(server, deflate), n, QUIET)
    return { left: left / n, released: released / n }
  })
}

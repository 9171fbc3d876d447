/** Measures the end of a crowd: the server's CPU time until the last of many connections is closed. */
import { milliseconds } from '../harness/figures.mjs'
import { measureSides } from './sides.mjs'
import { rowsOf } from './table.mjs'

/** @import { Server } from './list.mjs' */
/** @import { Aim, Row } from './table.mjs' */

/** @type {Readonly<Record<string, Aim>>} */
const AIMS = { ebb: { most: 1, of: 'ratio' }, hibernate: { most: 1, of: 'ratio' } }

/**
 * @param {readonly Server[]} servers
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function closing(servers, n, rounds) {
  const results = await measureSides(servers, n, rounds, async ({ connect, idle, server, crowd }) => {
    await idle(n)
    const before = await server.ask('cpu')
    await crowd.ask('closeAll')
    await server.until('open', ({ open }) => open === 0)
    const cpu = (await server.ask('cpu')) - before
    await connect(n)
    return cpu
  })
  const figure = `closing handshake of ${n}, CPU of the server`
  return rowsOf(figure, servers, results, (ms) => ms, milliseconds, AIMS)
}

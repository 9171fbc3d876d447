/** Measures a broadcast: the server's CPU time until the last of many idle connections has received it. */
import { milliseconds } from '../harness/figures.mjs'
import { measureSides } from './sides.mjs'
import { rowsOf } from './table.mjs'

/** @import { Server } from './list.mjs' */
/** @import { Aim, Row } from './table.mjs' */

const TEXT = 'b'.repeat(100)

/** @type {Readonly<Record<string, Aim>>} */
const AIMS = { ebb: { most: 0.8, of: 'ratio' }, hibernate: { most: 0.8, of: 'ratio' } }

/**
 * @param {readonly Server[]} servers
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function broadcast(servers, n, rounds) {
  const results = await measureSides(servers, n, rounds, async ({ idle, server, crowd, bytesOf }) => {
    await idle(n)
    const before = await server.ask('cpu')
    const received = crowd.ask('expect', bytesOf(TEXT))
    await server.ask('broadcast', TEXT)
    await received
    return (await server.ask('cpu')) - before
  })
  const figure = `broadcast of ${TEXT.length} bytes to ${n}, CPU of the server`
  return rowsOf(figure, servers, results, (ms) => ms, milliseconds, AIMS)
}

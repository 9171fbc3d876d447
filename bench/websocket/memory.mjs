/** Measures what idle connections hold: anonymous memory above rest, after one exchange on each of them. */
import { whole } from '../harness/figures.mjs'
import { idleMemory } from '../harness/idle-memory.mjs'
import { startSide } from './sides.mjs'

/** @import { Row } from './table.mjs' */

/** Milliseconds after which the memory is looked at, without a release. */
const QUIET = 3000

/**
 * @param {boolean} deflate
 * @param {number} n connections of ebb
 * @param {number} wsN connections of ws
 * @param {number} aim bytes a connection, after a release
 * @param {number | undefined} aimBefore bytes a connection, 3 s after the last exchange, without a release
 * @returns {Promise<Row[]>}
 */
export async function memory(deflate, n, wsN, aim, aimBefore) {
  const ebb = await idleMemory(await startSide('ebb', deflate), n, QUIET)
  const ws = await idleMemory(await startSide('ws', deflate), wsN, QUIET)
  const row = (/** @type {'left' | 'released'} */ when, /** @type {string} */ text, /** @type {number} */ limit) => ({
    figure: `${n} idle${deflate ? ', permessage-deflate' : ''}, bytes a connection ${text}`,
    ebb: whole(ebb[when] / n),
    ws: whole(ws[when] / wsN),
    ratio: ebb[when] / n / (ws[when] / wsN),
    aim: `at most ${whole(limit)}`,
    reached: ebb[when] / n <= limit
  })
  const rows = [row('released', 'after a release', aim)]
  if (aimBefore !== undefined) rows.push(row('left', '3 s after the last message', aimBefore))
  return rows
}

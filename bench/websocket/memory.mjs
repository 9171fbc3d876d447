/** Measures what idle connections hold: anonymous memory above rest, after one exchange on each of them. */
import { setTimeout as wait } from 'node:timers/promises'
import { whole } from '../harness/figures.mjs'
import { startSide } from './sides.mjs'

/** @import { Name } from './sides.mjs' */
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
  const ebb = await measure('ebb', deflate, n)
  const ws = await measure('ws', deflate, wsN)
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

/**
 * Resolves with the bytes above rest, before (`left`) and after (`released`) a release.
 *
 * @param {Name} name
 * @param {boolean} deflate
 * @param {number} n
 */
async function measure(name, deflate, n) {
  const side = await startSide(name, deflate)
  try {
    await side.server.ask('release')
    const rest = await side.server.ask('anonymous')
    await side.connect(n)
    await side.idle(n)
    await wait(QUIET)
    const left = await side.server.ask('anonymous')
    await side.server.ask('release')
    const released = await side.server.ask('anonymous')
    return { left: left - rest, released: released - rest }
  } finally {
    await side.end()
  }
}

/** Measures what idle connections hold: anonymous memory above rest, after one exchange on each of them. */
import { megabytes } from '../harness/figures.mjs'
import { idleMemory } from '../harness/idle-memory.mjs'
import { startSide } from '../harness/plain-sides.mjs'

/** @import { Protocol } from '../harness/programs/crowd.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked. */
const IDLE = 500
/** Milliseconds until a server that was busy is quiet. */
const QUIET = 1000

/**
 * @param {Protocol} protocol
 * @param {number} n connections
 * @param {number} aim bytes
 * @returns {Promise<Row[]>}
 */
export async function memory(protocol, n, aim) {
  const ebb = await idleMemory(await startSide('ebb', protocol, { idle: IDLE }), n, QUIET)
  const plain = await idleMemory(await startSide('plain', protocol, { idle: IDLE }), n, QUIET)
  const kind = protocol === 'http' ? 'HTTP keep-alive' : 'TCP'
  return [
    {
      figure: `${n} idle ${kind} connections, memory over rest`,
      ebb: megabytes(ebb.released),
      plain: megabytes(plain.released),
      ratio: ebb.released / plain.released,
      aim: `at most ${megabytes(aim)}`,
      reached: ebb.released <= aim,
      notes: [
        `without a release: ebb ${megabytes(ebb.left)}, plain Node ${megabytes(plain.left)}`,
        `a connection: ebb ${Math.round(ebb.released / n)} B, plain Node ${Math.round(plain.released / n)} B`
      ]
    }
  ]
}

/** Measures what idle connections hold: anonymous memory above rest, after one exchange on each of them. */
import { setTimeout as wait } from 'node:timers/promises'
import { megabytes } from '../harness/figures.mjs'
import { startSide } from './sides.mjs'

/** @import { Protocol } from './programs/crowd.mjs' */
/** @import { Mode } from './programs/serve.mjs' */
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
  const ebb = await measure('ebb', protocol, n)
  const plain = await measure('plain', protocol, n)
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

/**
 * Resolves with the bytes above rest, before (`left`) and after (`released`) a release.
 *
 * @param {Mode} mode
 * @param {Protocol} protocol
 * @param {number} n
 */
async function measure(mode, protocol, n) {
  const side = await startSide(mode, protocol, { idle: IDLE })
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

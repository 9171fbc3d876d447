/** Measures what idle connections hold: anonymous memory above rest, after one exchange on each of them. */
import { median, megabytes, whole } from '../harness/figures.mjs'
import { idleMemory } from '../harness/idle-memory.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { MODES, startSide } from '../harness/plain-sides.mjs'

/** @import { Protocol } from '../harness/programs/crowd.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked. */
const IDLE = 500
/** Milliseconds until a server that was busy is quiet. */
const QUIET = 1000

/**
 * @param {Protocol} protocol
 * @param {number} n connections
 * @param {number} rounds each with new processes
 * @param {number} aim bytes
 * @returns {Promise<Row[]>}
 */
export async function memory(protocol, n, rounds, aim) {
  const sides = MODES.map((name) => ({ name }))
  const { ebb, plain } = await interleave(sides, rounds, async ({ name }) =>
    idleMemory(await startSide(name, protocol, { idle: IDLE }), n, QUIET)
  )
  const of = (/** @type {typeof ebb} */ list, /** @type {'left' | 'released'} */ when) =>
    median(list.map((round) => round[when]))
  const [own, other] = [of(ebb, 'released'), of(plain, 'released')]
  const left = ratioCells(differenceOf(ebb, plain, (round) => round.left))
  const kind = protocol === 'http' ? 'HTTP keep-alive' : 'TCP'
  return [
    {
      figure: `${n} idle ${kind} connections, memory over rest`,
      ebb: megabytes(own),
      plain: megabytes(other),
      ...ratioCells(differenceOf(ebb, plain, ({ released }) => released)),
      aim: `at most ${megabytes(aim)}`,
      reached: own <= aim,
      notes: [
        `without a release: ebb ${megabytes(of(ebb, 'left'))}, plain Node ${megabytes(of(plain, 'left'))}, ` +
          `ratio ${left.ratio} (${left.ratioSpread})`,
        `a connection: ebb ${whole(own / n)} B, plain Node ${whole(other / n)} B`
      ]
    }
  ]
}

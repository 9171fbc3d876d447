/** Measures the time to the first byte of a parked connection, beside an awake connection of ebb and of plain Node. */
import { setTimeout as wait } from 'node:timers/promises'
import { median, microseconds, quantile } from '../harness/figures.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { withSides } from '../harness/plain-sides.mjs'

/** @import { Protocol } from '../harness/programs/crowd.mjs' */
/** @import { Side } from '../harness/plain-sides.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked: longer than a batch takes. */
const IDLE = 1000
/** Connections of a batch, and connections before them that only warm the processes up. */
const BATCH = 500
const WARM = 50
/** Batches that are not counted, because the code of a wake is compiled in them. */
const WARM_BATCHES = 3
/** A batch in which a connection was parked again is not counted. More such batches than this end the benchmark. */
const MOST_SPOILT = 10

const STATISTICS = [
  { name: 'median', of: median, aim: 2 },
  { name: 'p99', of: (/** @type {readonly number[]} */ times) => quantile(times, 0.99), aim: 3 }
]

/**
 * @param {number} samples
 * @returns {Promise<Row[]>}
 */
export async function firstByte(samples) {
  const rows = []
  for (const protocol of /** @type {const} */ (['http', 'tcp'])) {
    const batches = await measure(protocol, Math.ceil(samples / BATCH))
    const all = (/** @type {keyof Batch} */ key) => batches.flatMap((batch) => batch[key])
    const times = { asleep: all('asleep'), awake: all('awake'), plain: all('plain') }
    const [sleeping, plains] = [batches.map(({ asleep }) => asleep), batches.map(({ plain }) => plain)]
    for (const { name, of, aim } of STATISTICS) {
      const asleep = of(times.asleep)
      const awake = of(times.awake)
      const plain = of(times.plain)
      rows.push({
        figure: `first byte after a sleep, ${protocol}, ${name}`,
        ebb: microseconds(asleep),
        plain: microseconds(plain),
        ...ratioCells(differenceOf(sleeping, plains, of)),
        aim: `at most ${aim} x awake`,
        reached: asleep <= aim * awake,
        notes: [
          `of an awake connection of ebb: ${microseconds(awake)}; asleep / awake: ${(asleep / awake).toFixed(2)}`,
          ...(name === 'median' ? [`samples: ${times.asleep.length} asleep, ${times.awake.length} awake`] : [])
        ]
      })
    }
  }
  return rows
}

/**
 * Times in us: of connections that were parked, of connections that were awake, and of plain Node.
 *
 * @typedef {Record<'asleep' | 'awake' | 'plain', number[]>} Batch
 */

/**
 * Resolves with the times of each batch.
 *
 * @param {Protocol} protocol
 * @param {number} batches
 */
function measure(protocol, batches) {
  return withSides(protocol, { idle: IDLE }, async (ebb, plain) => {
    /** @type {Batch[]} */
    const measured = []
    const all = WARM + BATCH
    const turns = async (/** @type {Side} */ { crowd }) => {
      await crowd.ask('turns', 0, WARM)
      return crowd.ask('turns', WARM, all)
    }
    await ebb.connect(all)
    await plain.connect(all)
    let spoilt = 0
    for (let batch = -WARM_BATCHES; batch < batches; ) {
      await ebb.idle(all)
      const before = await ebb.server.ask('stats')
      const asleep = await turns(ebb)
      const awake = await turns(ebb)
      const after = await ebb.server.ask('stats')
      const plainTimes = [...(await turns(plain)), ...(await turns(plain))]
      if (after.woken - before.woken !== all) {
        if (++spoilt > MOST_SPOILT) {
          throw new Error(
            `connections were parked within a batch, ${spoilt} times: a batch takes longer than ${IDLE} ms`
          )
        }
        await wait(IDLE)
        continue
      }
      if (batch++ < 0) continue
      measured.push({ asleep, awake, plain: plainTimes })
    }
    return measured
  })
}

/** Measures requests per second over busy keep-alive connections. */
import { Child } from '../harness/child.mjs'
import { median, rate } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { MODES, startServer } from '../harness/plain-sides.mjs'

/** @import { AutocannonOrders } from './programs/autocannon.mjs' */
/** @import { Row } from './table.mjs' */

const CONNECTIONS = 100
/** Seconds of requests that are not counted. */
const WARM_UP = 2
const AIM = 0.97

/**
 * @param {number} rounds
 * @param {number} seconds of each round
 * @returns {Promise<Row[]>}
 */
export async function requests(rounds, seconds) {
  /** @type {Child<AutocannonOrders>} */
  const client = await Child.start(new URL('programs/autocannon.mjs', import.meta.url))
  const sides = []
  for (const name of MODES) sides.push({ name, server: await startServer('http-server', name, {}) })
  try {
    for (const { server } of sides) await client.ask('run', server.port, CONNECTIONS, WARM_UP)
    const { ebb, plain } = await interleave(sides, rounds, async ({ server }) => {
      const before = await server.ask('cpu')
      const { total, perSecond } = await client.ask('run', server.port, CONNECTIONS, seconds)
      return { perSecond, cpu: (((await server.ask('cpu')) - before) / total) * 1000 }
    })
    const difference = differenceOf(ebb, plain, ({ perSecond }) => perSecond)
    const cpu = ratioCells(differenceOf(ebb, plain, (round) => round.cpu))
    const of = (/** @type {typeof ebb} */ list, /** @type {'perSecond' | 'cpu'} */ key) =>
      median(list.map((round) => round[key]))
    return [
      {
        figure: `requests a second, ${CONNECTIONS} busy connections`,
        ebb: rate(of(ebb, 'perSecond')),
        plain: rate(of(plain, 'perSecond')),
        ...ratioCells(difference),
        aim: `at least ${AIM} x plain`,
        reached: difference.median >= AIM,
        notes: [
          `CPU of the server for a request: ebb ${of(ebb, 'cpu').toFixed(1)} us, ` +
            `plain Node ${of(plain, 'cpu').toFixed(1)} us, ratio ${cpu.ratio} (${cpu.ratioSpread})`
        ]
      }
    ]
  } finally {
    await client.end()
    for (const { server } of sides) await server.end()
  }
}

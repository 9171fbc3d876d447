/** Measures the echo of the handlers of `listen()` beside that of `node:net`, in messages per second. */
import { median, rate } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { startCrowd, startServer } from '../harness/plain-sides.mjs'

/** @import { Row } from './table.mjs' */

const CONNECTIONS = 100
/** Milliseconds of messages that are not counted. */
const WARM_UP = 1000
const AIM = 1.5

/**
 * @param {number} rounds
 * @param {number} ms of each round
 * @returns {Promise<Row[]>}
 */
export async function echo(rounds, ms) {
  const started = []
  try {
    const sides = []
    for (const name of /** @type {const} */ (['ebb', 'plain'])) {
      const server = await (name === 'ebb' ? startServer('listen-server') : startServer('net-server', 'plain', {}))
      started.push(server)
      const crowd = await startCrowd('tcp')
      started.push(crowd)
      sides.push({ name, server, crowd })
      await crowd.ask('connect', server.port, CONNECTIONS)
      await crowd.ask('pingPong', WARM_UP)
    }
    const { ebb, plain } = await interleave(sides, rounds, async ({ server, crowd }) => {
      const before = await server.ask('cpu')
      const { total, perSecond, cpu } = await crowd.ask('pingPong', ms)
      return { perSecond, server: ((await server.ask('cpu')) - before) / total, client: cpu / total }
    })
    const of = (/** @type {typeof ebb} */ list, /** @type {'perSecond' | 'server' | 'client'} */ key) =>
      median(list.map((round) => round[key]))
    const difference = differenceOf(ebb, plain, ({ perSecond }) => perSecond)
    const micro = (/** @type {typeof ebb} */ list, /** @type {'server' | 'client'} */ key) =>
      `${(of(list, key) * 1000).toFixed(1)} us`
    return [
      {
        figure: `echo of listen(), ${CONNECTIONS} connections`,
        ebb: rate(of(ebb, 'perSecond')),
        plain: rate(of(plain, 'perSecond')),
        ...ratioCells(difference),
        aim: `at least ${AIM} x plain`,
        reached: difference.median >= AIM,
        notes: [
          `CPU for a message: ebb ${micro(ebb, 'server')}, plain Node ${micro(plain, 'server')}; ` +
            `the client ${micro(ebb, 'client')} and ${micro(plain, 'client')}`
        ]
      }
    ]
  } finally {
    for (const child of started) await child.end()
  }
}

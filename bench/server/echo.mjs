/** Messages a second: the echo of `listen()`'s handlers beside that of `node:net`. */
import { Child } from '../harness/child.mjs'
import { median, rate } from '../harness/figures.mjs'
import { interleave } from './sides.mjs'

const CONNECTIONS = 100
const WARM_UP = 1000
const AIM = 1.5

export async function echo(rounds, ms) {
  const sides = []
  try {
    for (const [side, file, ...args] of [
      ['ebb', new URL('programs/listen-server.mjs', import.meta.url).href],
      ['plain', new URL('programs/net-server.mjs', import.meta.url).href, 'plain', {}]
    ]) {
      const server = await Child.start(file, ...args)
      const crowd = await Child.start(new URL('programs/crowd.mjs', import.meta.url).href, 'tcp')
      sides.push({ side, server, crowd })
      await crowd.ask('connect', server.ready, CONNECTIONS)
      await crowd.ask('pingPong', WARM_UP)
    }
    const { ebb, plain } = await interleave(sides, rounds, async ({ server, crowd }) => {
      const before = await server.ask('cpu')
      const { total, perSecond, cpu } = await crowd.ask('pingPong', ms)
      return { perSecond, server: ((await server.ask('cpu')) - before) / total, client: cpu / total }
    })
    const of = (list, key) => median(list.map((round) => round[key]))
    const ratio = median(ebb.map(({ perSecond }, round) => perSecond / plain[round].perSecond))
    const micro = (list, key) => `${(of(list, key) * 1000).toFixed(1)} us`
    return [
      {
        figure: `echo of listen(), ${CONNECTIONS} connections`,
        ebb: rate(of(ebb, 'perSecond')),
        plain: rate(of(plain, 'perSecond')),
        ratio,
        aim: `at least ${AIM} x plain`,
        reached: ratio >= AIM,
        notes: [
          `CPU for a message: ebb ${micro(ebb, 'server')}, plain Node ${micro(plain, 'server')}; ` +
            `the client ${micro(ebb, 'client')} and ${micro(plain, 'client')}`
        ]
      }
    ]
  } finally {
    for (const { server, crowd } of sides) {
      await server.end()
      await crowd.end()
    }
  }
}

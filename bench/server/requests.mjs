/** Requests a second over busy keep-alive connections. */
import { Child } from '../harness/child.mjs'
import { median, rate } from '../harness/figures.mjs'
import { interleave, SIDES } from './sides.mjs'

const CONNECTIONS = 100
const WARM_UP = 2
const AIM = 0.97

export async function requests(rounds, seconds) {
  const client = await Child.start(new URL('programs/autocannon.mjs', import.meta.url).href)
  const sides = []
  for (const side of SIDES)
    sides.push({ side, server: await Child.start(new URL('programs/http-server.mjs', import.meta.url).href, side, {}) })
  try {
    for (const { server } of sides) await client.ask('run', server.ready, CONNECTIONS, WARM_UP)
    const { ebb, plain } = await interleave(sides, rounds, async ({ server }) => {
      const before = await server.ask('cpu')
      const { total, perSecond } = await client.ask('run', server.ready, CONNECTIONS, seconds)
      return { perSecond, cpu: (((await server.ask('cpu')) - before) / total) * 1000 }
    })
    const ratio = median(ebb.map(({ perSecond }, round) => perSecond / plain[round].perSecond))
    const cpu = median(ebb.map(({ cpu }, round) => cpu / plain[round].cpu))
    const of = (list, key) => median(list.map((round) => round[key]))
    return [
      {
        figure: `requests a second, ${CONNECTIONS} busy connections`,
        ebb: rate(of(ebb, 'perSecond')),
        plain: rate(of(plain, 'perSecond')),
        ratio,
        aim: `at least ${AIM} x plain`,
        reached: ratio >= AIM,
        notes: [
          `ratios of ${rounds} paired rounds: ${list(ebb.map(({ perSecond }, i) => perSecond / plain[i].perSecond))}`,
          `CPU of the server for a request: ebb ${of(ebb, 'cpu').toFixed(1)} us, ` +
            `plain Node ${of(plain, 'cpu').toFixed(1)} us, ratio ${cpu.toFixed(3)}`
        ]
      }
    ]
  } finally {
    await client.end()
    for (const { server } of sides) await server.end()
  }
}

function list(ratios) {
  return ratios.map((ratio) => ratio.toFixed(3)).join(' ')
}

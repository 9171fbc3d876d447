/** All idle connections send at once: from the first byte sent to the last answer received. */
import { setTimeout as wait } from 'node:timers/promises'
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave, withSides } from './sides.mjs'

/** Longer than a storm takes. */
const IDLE = 2000

export async function storm(n, rounds) {
  const rows = []
  for (const protocol of ['http', 'tcp']) {
    const { ebb, plain } = await withSides(protocol, { idle: IDLE }, async (sides) => {
      for (const side of sides) await side.connect(n)
      return interleave(sides, rounds, async ({ idle, crowd, server }) => {
        await idle(n)
        await wait(500)
        const before = await server.ask('cpu')
        const ms = await crowd.ask('storm')
        return { ms, cpu: (await server.ask('cpu')) - before }
      })
    })
    const of = (list, key) => median(list.map((round) => round[key]))
    const ratio = median(ebb.map(({ ms }, round) => ms / plain[round].ms))
    rows.push({
      figure: `storm of ${n}, ${protocol}`,
      ebb: milliseconds(of(ebb, 'ms')),
      plain: milliseconds(of(plain, 'ms')),
      ratio,
      aim: 'at most plain',
      reached: ratio <= 1,
      notes: [
        `rounds: ebb ${ebb.map(({ ms }) => ms.toFixed(0)).join(' ')}; plain ${plain.map(({ ms }) => ms.toFixed(0)).join(' ')} ms`,
        `CPU of the server: ebb ${milliseconds(of(ebb, 'cpu'))}, plain Node ${milliseconds(of(plain, 'cpu'))}`
      ]
    })
  }
  return rows
}

/** The first byte after a sleep, beside that of an awake connection of the same server and of plain Node. */
import { setTimeout as wait } from 'node:timers/promises'
import { median, microseconds, quantile } from '../harness/figures.mjs'
import { withSides } from './sides.mjs'

/** Longer than a batch takes. */
const IDLE = 1000
/** Connections of a batch, and those before them that only warm the processes up. */
const BATCH = 500
const WARM = 50
/** The first batches are not counted: what a wake runs is compiled in them. */
const WARM_BATCHES = 3
/** A batch during which a connection went to sleep again is not counted. So many may be. */
const MOST_SPOILT = 10

export async function firstByte(samples) {
  const rows = []
  for (const protocol of ['http', 'tcp']) {
    const times = await measure(protocol, Math.ceil(samples / BATCH))
    for (const [name, of, aim] of [
      ['median', median, 2],
      ['p99', (list) => quantile(list, 0.99), 3]
    ]) {
      const asleep = of(times.asleep)
      const awake = of(times.awake)
      const plain = of(times.plain)
      rows.push({
        figure: `first byte after a sleep, ${protocol}, ${name}`,
        ebb: microseconds(asleep),
        plain: microseconds(plain),
        ratio: asleep / plain,
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

function measure(protocol, batches) {
  return withSides(protocol, { idle: IDLE }, async ([ebb, plain]) => {
    const times = { asleep: [], awake: [], plain: [] }
    const all = WARM + BATCH
    const turns = async ({ crowd }) => {
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
        if (++spoilt > MOST_SPOILT) throw new Error(`connections fell asleep within ${IDLE} ms, again and again`)
        await wait(IDLE)
        continue
      }
      if (batch++ < 0) continue
      times.asleep.push(...asleep)
      times.awake.push(...awake)
      times.plain.push(...plainTimes)
    }
    return times
  })
}

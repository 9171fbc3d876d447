/** Requests over busy connections behind `park()`, beside plain Node. */
import { cpuOf } from '../harness/cpu.mjs'
import { orderOfRound } from '../harness/interleave.mjs'
import { decide, Limit } from '../harness/limit.mjs'
import { withSides } from '../harness/plain-sides.mjs'

const CONNECTIONS = 100
/** How often the sides take turns in a round, milliseconds of a turn, and of requests that are not counted. */
const TURNS = 6
const TURN = 50
const WARM_UP = 1500

/** Returns the limits, decided. Both ratios grow if ebb gets slower. */
export function requests() {
  const limits = {
    perSecond: new Limit({ name: 'requests a second, plain / park()', usual: 1.04 }),
    cpu: new Limit({ name: 'CPU of a request, park() / plain', usual: 1.04 })
  }
  return withSides('http', {}, async (...sides) => {
    for (const { connect, crowd } of sides) {
      await connect(CONNECTIONS)
      await crowd.ask('pingPong', WARM_UP)
    }
    await decide(limits, async () => {
      const measured = { ebb: { total: 0, seconds: 0, cpu: 0 }, plain: { total: 0, seconds: 0, cpu: 0 } }
      for (let turn = 0; turn < TURNS; turn++) {
        for (const { name, server, crowd } of orderOfRound(sides, turn)) {
          const before = cpuOf(server.pid)
          const { total, perSecond } = await crowd.ask('pingPong', TURN)
          const sum = measured[name]
          sum.total += total
          sum.seconds += total / perSecond
          sum.cpu += cpuOf(server.pid) - before
        }
      }
      const { ebb, plain } = measured
      return {
        perSecond: plain.total / plain.seconds / (ebb.total / ebb.seconds),
        cpu: ebb.cpu / ebb.total / (plain.cpu / plain.total)
      }
    })
    return Object.values(limits)
  })
}

/** What it takes to wake a connection behind `park()` or of `ebb/net`, beside an awake connection of plain Node. */
import { mainThreadCpuOf } from '../harness/cpu.mjs'
import { quantile } from '../harness/figures.mjs'
import { decide, Limit } from '../harness/limit.mjs'
import { withSides } from '../harness/plain-sides.mjs'

/** @import { Protocol } from '../harness/programs/crowd.mjs' */
/** @import { Side } from '../harness/plain-sides.mjs' */

/** Connections of a round, and connections whose turns follow each other before those of the other side. */
const CONNECTIONS = 1000
const SLICE = 25
/** Milliseconds until an idle connection is parked: longer than a round takes. */
const IDLE = 600
/**
 * The quantile that is compared: other work on the machine makes turns longer, and a collection makes a slice longer.
 */
const SHARE = 0.1
/** Rounds that are not counted, because the code of a wake is compiled in them. */
const WARM_UP = 4

/**
 * Returns the limits, decided: us from a request to the first byte of its response, and CPU time of the server until
 * the response has come.
 *
 * @param {Protocol} protocol
 * @param {{ latency: number, cpu: number }} usual
 */
export function wakes(protocol, usual) {
  const limits = {
    latency: new Limit({ name: `first byte after a sleep, ${protocol}, of awake plain`, usual: usual.latency }),
    cpu: new Limit({ name: `CPU of wake and answer, ${protocol}, of awake plain`, usual: usual.cpu })
  }
  return withSides(protocol, { idle: IDLE }, async (ebb, plain) => {
    const sides = [ebb, plain]
    for (const { connect } of sides) await connect(CONNECTIONS)
    const round = async () => {
      await ebb.idle(CONNECTIONS)
      const { ebb: own, plain: other } = await turns(sides)
      return {
        latency: quantile(own.times, SHARE) / quantile(other.times, SHARE),
        cpu: quantile(own.cpu, SHARE) / quantile(other.cpu, SHARE)
      }
    }
    for (let i = 0; i < WARM_UP; i++) await round()
    await decide(limits, round)
    return Object.values(limits)
  })
}

/**
 * Has each connection of both sides send a request, in slices that take turns. Resolves with us to each first byte, and
 * with the CPU time (us) of the server's main thread for each slice.
 *
 * @param {readonly Side[]} sides
 */
async function turns(sides) {
  /** @type {Record<Side['name'], { times: number[], cpu: number[] }>} */
  const measured = { ebb: { times: [], cpu: [] }, plain: { times: [], cpu: [] } }
  for (let from = 0; from < CONNECTIONS; from += SLICE) {
    for (const { name, server, crowd } of sides) {
      const before = mainThreadCpuOf(server.pid)
      measured[name].times.push(...(await crowd.ask('turns', from, from + SLICE)))
      measured[name].cpu.push(mainThreadCpuOf(server.pid) - before)
    }
  }
  return measured
}

/** Memory of `ebb serve` over pulses, and of idle connections behind `park()`, beside plain Node. */
import { experiment } from 'ebb-lab'
import { idleMemory } from '../harness/idle-memory.mjs'
import { orderOfRound } from '../harness/interleave.mjs'
import { decide, Limit } from '../harness/limit.mjs'
import { MODES, startSide } from '../harness/plain-sides.mjs'
import { ebbServe, nodeNet } from '../harness/servers.mjs'

/** Pulses that {@link pulses} measures. */
const PLAN = {
  big: 5000,
  iterations: 3,
  bigSeparation: 1500,
  small: 500,
  smallSeparation: 300,
  linger: 600,
  pulses: 3
}
/** Idle connections, ms until they are parked, and ms until the server that was busy is quiet. */
const CONNECTIONS = 10_000
const IDLE = 500
const QUIET = 1000
/** Memory hardly varies from round to round. */
const LEAD = 2

/**
 * Returns the limits of `ebb serve`, decided. Memory is compared with the need of plain Node: it runs on the same
 * runtime, and its need hardly varies.
 */
export async function pulses() {
  const limits = {
    hold: new Limit({ name: 'hold, ebb / need of net', usual: 0.74, lead: LEAD }),
    footprint: new Limit({ name: 'footprint, ebb / net', limit: 0.05, lead: LEAD }),
    kept: new Limit({ name: 'kept, ebb / need of net', usual: 0.76, lead: LEAD }),
    retention: new Limit({ name: 'retention of ebb', limit: 1.05, lead: LEAD }),
    release: new Limit({ name: 'release time of ebb, s', limit: 2, lead: LEAD })
  }
  const targets = [
    { name: 'ebb', command: ebbServe(process.execPath) },
    { name: 'net', command: nodeNet(process.execPath) }
  ]
  await decide(limits, async (round) => {
    const { verdicts, failures } = await experiment(orderOfRound(targets, round), { plan: PLAN })
    if (failures > 0) console.error(`${failures} connections failed or were lost`)
    const of = (/** @type {string} */ server, /** @type {keyof typeof limits | 'need'} */ figure) =>
      verdicts.find(({ name }) => name === server)?.[figure] ?? Number.NaN
    return {
      hold: of('ebb', 'hold') / of('net', 'need'),
      footprint: of('ebb', 'footprint') / of('net', 'footprint'),
      kept: of('ebb', 'kept') / of('net', 'need'),
      retention: of('ebb', 'retention'),
      release: of('ebb', 'release') / 1000
    }
  })
  return Object.values(limits)
}

/** Returns the limits of idle HTTP connections behind `park()`, decided: before and after a release. */
export async function idle() {
  const limits = {
    released: new Limit({ name: 'idle HTTP connections, park() / plain', usual: 0.078, lead: LEAD }),
    left: new Limit({ name: 'the same without a release', usual: 0.107, lead: LEAD })
  }
  await decide(limits, async (round) => {
    const measured = {
      ebb: { released: Number.NaN, left: Number.NaN },
      plain: { released: Number.NaN, left: Number.NaN }
    }
    for (const name of orderOfRound(MODES, round)) {
      measured[name] = await idleMemory(await startSide(name, 'http', { idle: IDLE }), CONNECTIONS, QUIET)
    }
    const { ebb, plain } = measured
    return { released: ebb.released / plain.released, left: ebb.left / plain.left }
  })
  return Object.values(limits)
}

/**
 * Measures a real program with real clients, first in spikes and then in small pulses that do not end: the memory that
 * it keeps in a small pulse, compared with what a fresh process needs for one, and its speed in a spike.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { median, megabytes, rate } from '../harness/figures.mjs'
import { interleave, pairedRatios, together } from '../harness/interleave.mjs'
import { governorOf, Program } from './program.mjs'
import { SIDES } from './sides.mjs'

/** @import { Child } from '../harness/child.mjs' */
/** @import { Done } from './clients/start.mjs' */
/** @import { ProbeReport } from './probe.mjs' */
/** @import { Name, Setting } from './sides.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds that a program rests before its first spike. */
const REST = 1000
/** Milliseconds between two spikes. */
const AFTER_SPIKE = 1500
/** Milliseconds between two small pulses. */
const BETWEEN = 500
/** Milliseconds of a small pulse that are not sampled. */
const SETTLE = 500
/**
 * Small pulses that are not counted: half a minute, in which the governor releases memory. After several spikes in a
 * short time, V8 keeps memory for a while, because it expects another spike.
 */
const EARLY = 20
/** Small pulses that are counted: enough for the heap of a small load to grow and to be released once. */
const COUNTED = 15

const AIM_KEPT = 1.15
const AIM_SPEED = 0.97

/**
 * A program, its clients, and the loads that they make.
 *
 * @template L
 * @typedef {object} Pulsed
 * @property {string} name of the module in `programs/`, and in the table
 * @property {() => Promise<Child<{ run(port: number, load: L & { seconds: number }): Promise<Done> }>>} startClient
 * @property {string} unit what the clients count
 * @property {L} spike
 * @property {L} small
 */

/**
 * @typedef {object} Spikes
 * @property {number} spikes
 * @property {number} seconds of each spike
 */

/**
 * @typedef {object} Spike
 * @property {number} perSecond
 * @property {number} cpu of the program per request or message, ms
 * @property {number} peak highest anonymous memory, bytes
 */

/**
 * What was measured of a side in a round. `kept` and `need` in bytes.
 *
 * @typedef {{ kept: number, need: number, spikes: Spike[] } & ProbeReport} Round
 */

/**
 * Measures a program with and without the governor. Both run at the same time and have their spikes in turn.
 *
 * @template L
 * @param {Pulsed<L>} pulsed
 * @param {Setting & Spikes} setting
 * @returns {Promise<Row[]>}
 */
export async function pulsed(pulsed, setting) {
  /** @type {Record<Name, Round[]>} */
  const results = { with: [], without: [] }
  for (let round = 0; round < setting.rounds; round++) {
    const spiked = await measure(pulsed, setting)
    const fresh = await measure(pulsed, { ...setting, spikes: 0 })
    for (const { name } of SIDES) results[name].push({ ...spiked[name], need: fresh[name].kept })
  }
  return rowsOf(pulsed.name, pulsed.unit, results)
}

/**
 * Runs both sides once.
 *
 * @template L
 * @param {Pulsed<L>} pulsed
 * @param {Setting & Spikes} setting
 */
async function measure({ name: program, startClient, spike, small }, { node, spikes, seconds }) {
  const running = await together(SIDES, async ({ governed }) => ({
    program: await Program.start(program, { node, governed }),
    clients: await startClient()
  }))
  try {
    await wait(REST)
    const done = await interleave(SIDES, spikes, async ({ name }) => {
      const { program, clients } = running[name]
      const before = program.cpu()
      const work = clients.ask('run', program.port, { ...spike, seconds })
      const peak = Math.max(...(await program.sample(work, 0)))
      const { perSecond, total } = await work
      const cpu = (program.cpu() - before) / total
      await wait(AFTER_SPIKE)
      return { perSecond, cpu, peak }
    })
    return await together(SIDES, async ({ name }) => {
      const { program, clients } = running[name]
      const kept = []
      for (let i = 0; i < EARLY + COUNTED; i++) {
        const work = clients.ask('run', program.port, { ...small, seconds: 1 })
        const samples = await program.sample(work, SETTLE)
        if (i >= EARLY) kept.push(...samples)
        await wait(BETWEEN)
      }
      return { kept: median(kept), spikes: done[name], ...(await program.ask('report')) }
    })
  } finally {
    await together(SIDES, ({ name }) => Promise.all([running[name].program.end(), running[name].clients.end()]))
  }
}

/**
 * Returns the spikes that are counted: all but the first of a round, which only warms the programs up.
 *
 * @param {readonly Round[]} rounds
 */
const counted = (rounds) => rounds.flatMap(({ spikes }) => spikes.slice(1))

/**
 * @param {string} program
 * @param {string} unit
 * @param {Record<Name, Round[]>} results
 * @returns {Row[]}
 */
function rowsOf(program, unit, results) {
  const list = (/** @type {readonly number[]} */ ratios) => ratios.map((ratio) => ratio.toFixed(3)).join(' ')
  const ms = (/** @type {number} */ value) => `${value.toFixed(0)} ms`
  const medianOf = (/** @type {Name} */ side, /** @type {(round: Round) => number} */ figure) =>
    median(results[side].map(figure))
  const retention = (/** @type {Round} */ { kept, need }) => kept / need
  const kept = medianOf('with', retention)
  const spikes = { with: counted(results.with), without: counted(results.without) }
  const speeds = pairedRatios(spikes.with, spikes.without, ({ perSecond }) => perSecond)
  const costs = pairedRatios(spikes.with, spikes.without, ({ cpu }) => cpu)
  const speed = median(speeds)
  const sizes = (/** @type {Name} */ side) => {
    const highest = medianOf(side, (round) => Math.max(...round.spikes.map(({ peak }) => peak)))
    const [own, need] = [medianOf(side, (round) => round.kept), medianOf(side, (round) => round.need)]
    return `${side} kept ${megabytes(own)}, need ${megabytes(need)}, peak ${megabytes(highest)}`
  }
  const governors = results.with.map(governorOf)
  return [
    {
      program,
      figure: 'kept / need',
      with: kept.toFixed(2),
      without: medianOf('without', retention).toFixed(2),
      aim: `at most ${AIM_KEPT}`,
      reached: kept <= AIM_KEPT,
      notes: [
        sizes('with'),
        sizes('without'),
        `releases ${governors.map(({ releases }) => releases.spike).join(' ')}, ` +
          `longest pause ${ms(Math.max(...governors.map(({ longestPause }) => longestPause)))}, ` +
          `skipped because of their expected pause ${governors.map(({ tooLong }) => tooLong).join(' ')}, ` +
          `expected pause now ${ms(median(governors.map(({ expectedPause }) => expectedPause)))}`,
        `rounds: with ${list(results.with.map(retention))}; without ${list(results.without.map(retention))}`
      ]
    },
    {
      program,
      figure: `${unit} a second`,
      with: rate(median(spikes.with.map(({ perSecond }) => perSecond))),
      without: rate(median(spikes.without.map(({ perSecond }) => perSecond))),
      ratio: speed,
      aim: `at least ${AIM_SPEED}`,
      reached: speed >= AIM_SPEED,
      notes: [
        `ratios of paired spikes: ${list(speeds)}; median ratio of CPU time per unit: ${median(costs).toFixed(3)}`,
        `longest loop delay: with ${ms(medianOf('with', ({ delay }) => delay.max))}, ` +
          `without ${ms(medianOf('without', ({ delay }) => delay.max))}`
      ]
    }
  ]
}

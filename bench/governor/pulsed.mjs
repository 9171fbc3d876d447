/**
 * A real program with real clients: spikes, then small pulses that do not end. What it keeps while it serves a small one, against
 * what a fresh process of it needs for that; and how fast it is in a spike.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { Child } from '../harness/child.mjs'
import { median, megabytes, rate } from '../harness/figures.mjs'
import { interleave, ratios, together } from '../harness/interleave.mjs'
import { Program } from './program.mjs'

/** A program rests so long before its first pulse, ms. */
const REST = 1000
/** Between two spikes; between two small pulses, ms. */
const AFTER_SPIKE = 1500
const BETWEEN = 500
/** A small pulse counts from then on, ms. */
const SETTLED = 500
/**
 * A governor has so many small pulses to do its work in, half a minute: after spikes that followed each other at once, memory is kept for
 * the next one for a while. The pulses after them are the figure: as many as the heap of a small load takes to grow and be given back once.
 */
const EARLY = 20
const COUNTED = 15

const AIM_KEPT = 1.15
const AIM_SPEED = 0.97

/**
 * With and without the governor, both run at the same time and have their spikes in turn: a machine is not equally fast from one
 * minute to the next.
 *
 * @param name the program, and what it is called in the table
 * @param client of `clients/`
 * @param unit what a spike is counted in
 * @param spike what the client does in a spike; `small`: and in a small pulse. Without the time that it takes
 */
export async function pulsed({ name, client, unit, spike, small }, { node, rounds, spikes, seconds }) {
  const results = { with: [], without: [] }
  for (let round = 0; round < rounds; round++) {
    const spiked = await measure(spikes)
    const fresh = await measure(0)
    for (const side of ['with', 'without']) results[side].push({ ...spiked[side], need: fresh[side].kept })
  }
  return rowsOf(name, unit, results)

  async function measure(spikes) {
    const running = await together(async ({ governed }) => ({
      program: await Program.start(name, { node, governed }),
      clients: await Child.start(new URL(`clients/${client}.mjs`, import.meta.url).href)
    }))
    try {
      await wait(REST)
      const done = await interleave(spikes, async ({ side }) => {
        const { program, clients } = running[side]
        const before = program.cpu()
        const work = clients.ask('run', program.port, { ...spike, seconds })
        const peak = Math.max(...(await program.sample(work, 0)))
        const { perSecond, total } = await work
        const cpu = (program.cpu() - before) / total
        await wait(AFTER_SPIKE)
        return { perSecond, cpu, peak }
      })
      return await together(async ({ side }) => {
        const { program, clients } = running[side]
        const kept = []
        for (let i = 0; i < EARLY + COUNTED; i++) {
          const figures = await program.sample(clients.ask('run', program.port, { ...small, seconds: 1 }), SETTLED)
          if (i >= EARLY) kept.push(...figures)
          await wait(BETWEEN)
        }
        return { kept: median(kept), spikes: done[side], ...(await program.ask('report')) }
      })
    } finally {
      await together(({ side }) => Promise.all([running[side].program.end(), running[side].clients.end()]))
    }
  }
}

const counted = (rounds) => rounds.flatMap(({ spikes }) => spikes.slice(1))

function rowsOf(program, unit, results) {
  const of = (side, figure) => median(results[side].map(figure))
  const list = (figures) => figures.map((figure) => figure.toFixed(3)).join(' ')
  const share = (round) => round.kept / round.need
  const kept = of('with', share)
  // Of spikes that followed each other. The first only warms the programs up.
  const all = { with: counted(results.with), without: counted(results.without) }
  const speeds = ratios(all, ({ perSecond }) => perSecond)
  const costs = ratios(all, ({ cpu }) => cpu)
  const speed = median(speeds)
  const sizes = (side) =>
    `${side} kept ${megabytes(of(side, (round) => round.kept))}, need ${megabytes(of(side, (round) => round.need))}, ` +
    `peak ${megabytes(of(side, ({ spikes }) => Math.max(...spikes.map(({ peak }) => peak))))}`
  const acts = results.with.map(({ governor }) => governor.acts.spike)
  const ms = (value) => `${value.toFixed(0)} ms`
  return [
    {
      program,
      figure: 'kept / need',
      with: kept.toFixed(2),
      without: of('without', share).toFixed(2),
      aim: `at most ${AIM_KEPT}`,
      reached: kept <= AIM_KEPT,
      notes: [
        sizes('with'),
        sizes('without'),
        `give-backs ${acts.join(' ')}, longest pause ${ms(Math.max(...results.with.map((r) => r.governor.longestPause)))}, ` +
          `left undone for their length ${results.with.map((r) => r.governor.tooLong).join(' ')}, ` +
          `the next one's pause ${ms(of('with', (r) => r.governor.expectedPause))}`,
        `rounds: with ${list(results.with.map(share))}; without ${list(results.without.map(share))}`
      ]
    },
    {
      program,
      figure: `${unit} a second`,
      with: rate(median(all.with.map(({ perSecond }) => perSecond))),
      without: rate(median(all.without.map(({ perSecond }) => perSecond))),
      ratio: speed,
      aim: `at least ${AIM_SPEED}`,
      reached: speed >= AIM_SPEED,
      notes: [
        `ratios of paired spikes: ${list(speeds)}; of CPU for one, the median: ${median(costs).toFixed(3)}`,
        `loop delay maximum of a run: with ${ms(of('with', (r) => r.delay.max))}, without ${ms(of('without', (r) => r.delay.max))}`
      ]
    }
  ]
}

/** A program that leaks, with a load that goes up and down: the governor, who cannot help it, must not slow it. */
import { Child } from '../harness/child.mjs'
import { median } from '../harness/figures.mjs'
import { interleave, ratios, together } from '../harness/interleave.mjs'
import { Program } from './program.mjs'

/** The default of `budget`. */
const BUDGET = 0.01
const AIM = 1.03
const BIG = { path: '/leak', connections: 200, rate: 4000 }
const SMALL = { path: '/leak', connections: 10, rate: 200 }
const SECONDS = 4

export async function leak({ node, rounds, quick }) {
  const results = { with: [], without: [] }
  for (let round = 0; round < rounds; round++) {
    const one = await measure(node, quick ? 2 : 4)
    for (const side of ['with', 'without']) results[side].push(one[side])
  }
  const of = (side) => median(results[side].map(({ cpu }) => cpu))
  const cpu = median(ratios(results, (round) => round.cpu))
  const share = median(results.with.map(({ governor, ms }) => governor.ms / ms))
  const micro = (ms) => `${(ms * 1000).toFixed(0)} us`
  const { governor, anonymous } = results.with.at(-1)
  return [
    {
      program: 'leak',
      figure: 'CPU for a request',
      with: micro(of('with')),
      without: micro(of('without')),
      ratio: cpu,
      aim: `at most ${AIM}`,
      reached: cpu <= AIM,
      notes: [
        `rounds: ${ratios(results, (round) => round.cpu)
          .map((ratio) => ratio.toFixed(3))
          .join(' ')}`
      ]
    },
    {
      program: 'leak',
      figure: 'time in give-backs',
      with: `${(100 * share).toFixed(2)} %`,
      aim: `at most ${100 * BUDGET} %`,
      reached: share <= BUDGET,
      notes: [
        `acts ${JSON.stringify(governor.acts)}, left undone for their length ${governor.tooLong}; ` +
          `at the end ${(anonymous / 1e6).toFixed(0)} MB`
      ]
    }
  ]
}

/** With and without at the same time, the high loads in turn. */
async function measure(node, falls) {
  const flags = ['--max-old-space-size=4096']
  const start = performance.now()
  const running = await together(async ({ governed }) => ({
    program: await Program.start('leak', { node, governed, flags }),
    clients: await Child.start(new URL('clients/http.mjs', import.meta.url).href)
  }))
  try {
    const answers = { with: 0, without: 0 }
    const load = async (side, what) => {
      const { program, clients } = running[side]
      answers[side] += (await clients.ask('run', program.port, { ...what, seconds: SECONDS })).total
    }
    for (let i = 0; i < falls; i++) {
      await interleave(1, ({ side }) => load(side, BIG))
      await together(({ side }) => load(side, SMALL))
    }
    return await together(async ({ side }) => {
      const { program } = running[side]
      const { governor } = await program.ask('report')
      const cpu = program.cpu() / answers[side]
      return { cpu, ms: performance.now() - start, anonymous: program.anonymous(), governor }
    })
  } finally {
    await together(({ side }) => Promise.all([running[side].program.end(), running[side].clients.end()]))
  }
}

/**
 * Measures a program that leaks, under a load that rises and falls. The governor cannot help it and must not slow it
 * down.
 */
import { median } from '../harness/figures.mjs'
import { interleave, pairedRatios, together } from '../harness/interleave.mjs'
import { startHttpClient } from './clients/start.mjs'
import { governorOf, Program } from './program.mjs'
import { SIDES } from './sides.mjs'

/** @import { Name, Setting } from './sides.mjs' */
/** @import { Row } from './table.mjs' */

/** The default of `budget`: the share of CPU time that the governor may use. */
const BUDGET = 0.01
const AIM = 1.03
const BIG = { path: '/leak', connections: 200, rate: 4000 }
const SMALL = { path: '/leak', connections: 10, rate: 200 }
/** Seconds of each load. */
const SECONDS = 4
/** The program leaks more than Node's default limit. */
const FLAGS = ['--max-old-space-size=4096']

/**
 * @param {Setting} setting
 * @returns {Promise<Row[]>}
 */
export async function leak({ node, rounds, quick }) {
  const measured = []
  for (let round = 0; round < rounds; round++) measured.push(await measure(node, quick ? 2 : 4))
  const [governed, plain] = [measured.map((round) => round.with), measured.map((round) => round.without)]
  const ratios = pairedRatios(governed, plain, ({ cpu }) => cpu)
  const ratio = median(ratios)
  const share = median(governed.map(({ report, ms }) => governorOf(report).ms / ms))
  const micro = (/** @type {typeof plain} */ list) => `${(median(list.map(({ cpu }) => cpu)) * 1000).toFixed(0)} us`
  return [
    {
      program: 'leak',
      figure: 'CPU for a request',
      with: micro(governed),
      without: micro(plain),
      ratio,
      aim: `at most ${AIM}`,
      reached: ratio <= AIM,
      notes: [`rounds: ${ratios.map((one) => one.toFixed(3)).join(' ')}`]
    },
    {
      program: 'leak',
      figure: 'time in releases',
      with: `${(100 * share).toFixed(2)} %`,
      aim: `at most ${100 * BUDGET} %`,
      reached: share <= BUDGET,
      notes: governed.slice(-1).map(({ report, anonymous }) => {
        const { releases, tooLong } = governorOf(report)
        return (
          `releases ${JSON.stringify(releases)}, ${tooLong} skipped because of their expected pause; ` +
          `at the end ${(anonymous / 1e6).toFixed(0)} MB`
        )
      })
    }
  ]
}

/**
 * Runs the program with and without the governor at the same time, with the high loads in turn.
 *
 * @param {string} node
 * @param {number} falls how often the load falls
 */
async function measure(node, falls) {
  const start = performance.now()
  const running = await together(SIDES, async ({ governed }) => ({
    program: await Program.start('leak', { node, governed, flags: FLAGS }),
    clients: await startHttpClient(),
    requests: 0
  }))
  try {
    const load = async (/** @type {Name} */ name, /** @type {typeof BIG} */ what) => {
      const side = running[name]
      const { total } = await side.clients.ask('run', side.program.port, { ...what, seconds: SECONDS })
      side.requests += total
    }
    for (let i = 0; i < falls; i++) {
      await interleave(SIDES, 1, ({ name }) => load(name, BIG))
      await together(SIDES, ({ name }) => load(name, SMALL))
    }
    return await together(SIDES, async ({ name }) => {
      const { program, requests } = running[name]
      const report = await program.ask('report')
      return {
        cpu: program.cpu() / requests,
        ms: performance.now() - start,
        anonymous: program.anonymous(),
        report
      }
    })
  } finally {
    await together(SIDES, ({ name }) => Promise.all([running[name].program.end(), running[name].clients.end()]))
  }
}

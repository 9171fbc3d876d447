/**
 * Runs the experiment of the laboratory on a plain `net` server: retention, release time, CPU time, and the delay of
 * the event loop.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BENCH_PLAN, experiment, QUICK_PLAN } from 'ebb-lab'
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave, pairedRatios } from '../harness/interleave.mjs'
import { commandOf } from './program.mjs'
import { SIDES } from './sides.mjs'

/** @import { Verdict } from 'ebb-lab' */
/** @import { ProbeReport } from './probe.mjs' */
/** @import { Name, Setting } from './sides.mjs' */
/** @import { Row } from './table.mjs' */

const PROGRAM = 'net'

/** @typedef {Verdict & ProbeReport} Round */
/** @typedef {(round: Round) => number} Figure */

/**
 * @param {Setting} setting
 * @returns {Promise<Row[]>}
 */
export async function netExperiment({ node, quick, rounds }) {
  const plan = quick ? QUICK_PLAN : BENCH_PLAN
  const directory = mkdtempSync(join(tmpdir(), 'ebb-governor-'))
  process.env.EBB_BENCH_REPORTS = directory
  try {
    const results = await interleave(SIDES, rounds, async ({ name, governed }) => {
      /** @type {number | undefined} */
      let pid
      const target = { name, command: commandOf(PROGRAM, { node, governed }) }
      const { verdicts } = await experiment([target], {
        plan,
        onEvent: (event) => {
          if (event.event === 'start' && event.role === 'main') pid = event.running.pid
        }
      })
      const report = /** @type {ProbeReport} */ (JSON.parse(readFileSync(join(directory, `${pid}.json`), 'utf8')))
      return /** @type {Round} */ ({ ...verdicts[0], ...report })
    })
    return rowsOf(results, rounds)
  } finally {
    delete process.env.EBB_BENCH_REPORTS
    rmSync(directory, { recursive: true })
  }
}

/**
 * @param {Record<Name, Round[]>} results
 * @param {number} rounds
 * @returns {Row[]}
 */
function rowsOf(results, rounds) {
  const of = (/** @type {Name} */ side, /** @type {Figure} */ figure) => median(results[side].map(figure))
  /**
   * @param {string} figure
   * @param {Figure} get
   * @param {(value: number) => string} format
   * @param {string} aim
   * @param {boolean} reached
   * @param {number} [ratio]
   * @returns {Row}
   */
  const row = (figure, get, format, aim, reached, ratio) => {
    const all = (/** @type {Name} */ side) => results[side].map((round) => format(get(round))).join(' ')
    return {
      program: PROGRAM,
      figure,
      with: format(of('with', get)),
      without: format(of('without', get)),
      ...(ratio !== undefined && { ratio }),
      aim,
      reached,
      ...(rounds > 1 && { notes: [`rounds: with ${all('with')}; without ${all('without')}`] })
    }
  }
  /** @type {Record<'retention' | 'release' | 'cpu' | 'p99' | 'max', Figure>} */
  const figures = {
    retention: ({ retention }) => retention ?? Number.NaN,
    release: ({ release }) => release ?? Number.NaN,
    cpu: ({ cpuPerThousand }) => cpuPerThousand ?? Number.NaN,
    p99: ({ delay }) => delay.p99,
    max: ({ delay }) => delay.max
  }
  const cpu = median(pairedRatios(results.with, results.without, figures.cpu))
  const p99 = median(pairedRatios(results.with, results.without, figures.p99))
  const longer = of('with', figures.max) - of('without', figures.max)
  const ratio = (/** @type {number} */ value) => value.toFixed(2)
  const seconds = (/** @type {number} */ ms) =>
    ms === Number.POSITIVE_INFINITY ? 'never' : `${(ms / 1000).toFixed(1)} s`
  return [
    row('retention', figures.retention, ratio, 'at most 1.10', of('with', figures.retention) <= 1.1),
    row('release time', figures.release, seconds, 'at most 2 s', of('with', figures.release) <= 2000),
    row('CPU per 1,000', figures.cpu, milliseconds, 'at most 1.03', cpu <= 1.03, cpu),
    row('loop delay p99', figures.p99, milliseconds, 'at most 1.2', p99 <= 1.2, p99),
    row('loop delay maximum', figures.max, milliseconds, 'at most 50 ms more', longer <= 50)
  ]
}

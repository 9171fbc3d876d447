/** The laboratory's experiment on a plain `net` server: retention, release time, processor time, and how the event loop was held up. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BENCH_PLAN, experiment, QUICK_PLAN } from 'ebb-lab'
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave, ratios } from '../harness/interleave.mjs'
import { commandOf } from './program.mjs'

const PROGRAM = 'net'

export async function netExperiment({ node, quick, rounds }) {
  const plan = quick ? QUICK_PLAN : BENCH_PLAN
  const reports = mkdtempSync(join(tmpdir(), 'ebb-governor-'))
  process.env.EBB_BENCH_REPORTS = reports
  try {
    const results = await interleave(rounds, async ({ side, governed }) => {
      let pid
      const target = { name: side, command: commandOf(PROGRAM, { node, governed }) }
      const { verdicts } = await experiment([target], {
        plan,
        onEvent: (event) => {
          if (event.event === 'start' && event.role === 'main') pid = event.running.pid
        }
      })
      const [verdict] = verdicts
      return { ...verdict, ...JSON.parse(readFileSync(join(reports, `${pid}.json`), 'utf8')) }
    })
    return rowsOf(results, rounds)
  } finally {
    delete process.env.EBB_BENCH_REPORTS
    rmSync(reports, { recursive: true })
  }
}

function rowsOf(results, rounds) {
  const of = (side, figure) => median(results[side].map(figure))
  const all = (side, figure, show) => results[side].map((round) => show(figure(round))).join(' ')
  const row = (figure, get, show, aim, reached, ratio) => ({
    program: PROGRAM,
    figure,
    with: show(of('with', get)),
    without: show(of('without', get)),
    ...(ratio !== undefined && { ratio }),
    aim,
    reached,
    ...(rounds > 1 && { notes: [`rounds: with ${all('with', get, show)}; without ${all('without', get, show)}`] })
  })
  const retention = of('with', (round) => round.retention)
  const release = of('with', (round) => round.release)
  const cpu = median(ratios(results, (round) => round.cpuPerThousand))
  const p99 = median(ratios(results, (round) => round.delay.p99))
  const longer = of('with', (round) => round.delay.max) - of('without', (round) => round.delay.max)
  const seconds = (ms) => (ms === Number.POSITIVE_INFINITY ? 'never' : `${(ms / 1000).toFixed(1)} s`)
  return [
    row(
      'retention',
      (round) => round.retention,
      (value) => value.toFixed(2),
      'at most 1.10',
      retention <= 1.1
    ),
    row('release time', (round) => round.release, seconds, 'at most 2 s', release <= 2000),
    row('CPU per 1,000', (round) => round.cpuPerThousand, milliseconds, 'at most 1.03', cpu <= 1.03, cpu),
    row('loop delay p99', (round) => round.delay.p99, milliseconds, 'at most 1.2', p99 <= 1.2, p99),
    row('loop delay maximum', (round) => round.delay.max, milliseconds, 'at most 50 ms more', longer <= 50)
  ]
}

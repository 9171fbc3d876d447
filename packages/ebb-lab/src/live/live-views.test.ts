import { expect, test } from 'vitest'
import { BoxBuilder } from '../record/box/recording.js'
import { MOST_POINTS } from '../report/charts/parts.js'
import { BOX_HEADER, spikes } from '../report/testing/box.js'
import { HOSTILE } from '../report/testing/hostile.js'
import { BoxRuns } from './box-runs.js'
import { changesOf } from './changes.js'
import { LoadRun } from './load-run.js'
import { type LiveView, type SentView, sentView } from './view.js'

const quiet = { connected: 0, failed: 0, lost: 0, unanswered: 0, late: 0, replaced: 0 }
const causes = { failed: {}, lost: {}, unanswered: {} }
const latency = { p50: 0.3, p90: 1, p99: 12, max: 99 }

function loaded(
  seconds: number,
  answers: typeof latency | null = null,
  memory: { anonymous: number; resident: number } | null = null
): LoadRun {
  const run = new LoadRun('127.0.0.1:3033')
  for (let i = 1; i <= seconds; i++) {
    run.addStats({ ...quiet, t: i * 1000, open: i === 5 ? 9999 : 100, rate: 50, latency, answers, causes }, memory)
  }
  return run
}

function series(view: LiveView, chart: string): { name: string; data: [number, number][] }[] {
  const option = view.charts.find(({ id }) => id === chart)?.option as {
    series: { name: string; data: [number, number][] }[]
  }
  return option.series
}

test('a load has charts of what is known: latencies of answers and the memory of the server only if there are any', () => {
  expect(
    loaded(10)
      .view()
      .charts.map(({ id }) => id)
  ).toEqual(['connections', 'latency'])
  expect(series(loaded(10).view(), 'latency').map(({ name }) => name)).toEqual(['connect p99', 'connect p50'])
  const whole = loaded(10, latency, { anonymous: 9e6, resident: 50e6 }).view()
  expect(whole.charts.map(({ id }) => id)).toEqual(['connections', 'latency', 'server-memory'])
  expect(series(whole, 'latency').map(({ name }) => name)).toContain('answer p99')
  expect(whole.texts).toMatchObject({ 'now-open': '100', 'now-p99': '12.0 ms', 'now-server': '9.0 MB' })
  expect(whole.labels.latency).toBe('Latency. Connect: p50 0.3 ms, p99 12.0 ms. Answer: p50 0.3 ms, p99 12.0 ms.')
})

test('a load of days takes as much memory as one of an hour, and keeps its peak', () => {
  const [open] = series(loaded(100_000).view(), 'connections')
  expect(open?.data.length).toBeLessThan(MOST_POINTS)
  expect(Math.max(...(open?.data ?? []).map(([, value]) => value))).toBe(9999)
})

test('a load that has ended shows its result, and no text of it becomes an element', () => {
  const run = loaded(3)
  run.finish(HOSTILE.map((text) => [text, text]))
  const view = run.view()
  expect(view.state).toBe('finished')
  expect(view.body).not.toMatch(/<(img|script|svg|a)\b/i)
})

/** Returns views of a box: after each tenth of its lines. */
function boxViews(): { runs: BoxRuns; views: LiveView[] } {
  const lines = ['plain', 'ebb'].flatMap((variant, i) => spikes(variant, i * 20_000, i * 4, 1))
  const builder = new BoxBuilder(BOX_HEADER)
  const runs = new BoxRuns()
  const views: LiveView[] = []
  for (const [i, line] of lines.entries()) {
    builder.add(line)
    if (line.type === 'run') runs.begin(builder.box, 20_000)
    if (i % Math.ceil(lines.length / 10) === 0) views.push(runs.view())
  }
  views.push(runs.view())
  return { runs, views }
}

test('a box grows by its runs and by their samples', async () => {
  const { runs, views } = boxViews()
  expect(views.map(({ names }) => names.length)).toEqual([...views.map(({ names }) => names.length)].sort())
  expect(views.at(-1)?.names).toEqual(['plain', 'ebb'])
  const sent = views.map(sentView)
  const steps = sent.slice(1).map((view, i) => changesOf(sent[i] as SentView, view))
  expect(steps).toContainEqual(expect.objectContaining({ charts: { box: expect.anything() } }))
  await runs.finish(false)
  expect(runs.view()).toMatchObject({ state: 'finished', names: ['plain', 'ebb'] })
  expect(runs.view().labels.box).toMatch(/plain: peak of sums \d/)
})

test('before its first run, a box has no chart', () => {
  expect(new BoxRuns().view()).toMatchObject({ state: 'running', charts: [], names: ['box'] })
})

import { describe, expect, test } from 'vitest'
import { megabytes } from '../../units/format.js'
import type { Run } from '../run.js'
import { cutAfter, sideBySide, synthetic } from '../testing/synthetic.js'
import { judge } from '../verdict.js'
import { memoryChart } from './memory-chart.js'
import { type Chart, mb } from './parts.js'
import { relayout } from './picture.js'
import { runtimeChart } from './runtime-chart.js'

const [ebb, ebbControl, net, netControl] = sideBySide()
const runOf = (recording = ebb, control = ebbControl): Run => {
  if (!recording) throw new Error('no recording')
  return { recording, control: control ?? null, verdict: judge(recording, control) }
}
const two = [runOf(), runOf(net, netControl)]

interface Drawn {
  title: { text: string; subtext?: string }[]
  grid: object[]
  xAxis: { min: number; max: number; gridIndex: number }[]
  yAxis: { min: number; max: number; gridIndex: number; name: string }[]
  series: {
    id: string
    name: string
    xAxisIndex: number
    yAxisIndex: number
    data: [number, number][]
    markArea?: { data: { xAxis: number; name?: string }[][] }
    markLine?: { data: { yAxis: number }[] }
    label?: { formatter: string }
  }[]
  dataZoom?: object[]
}
const drawn = ({ option }: Chart): Drawn => option as unknown as Drawn
const seriesOf = (chart: Chart, id: string): Drawn['series'][number] => {
  const series = drawn(chart).series.find((one) => one.id === id)
  if (!series) throw new Error(`no series ${id}`)
  return series
}

test('shows the same figure as the table, however its digits fall', () => {
  const [run] = two as [Run]
  // 10,749,952 bytes are 10.7 MB, and 10.8 MB if they are rounded to 10.750 first.
  for (const need of [10_749_952, 1_049_999, 99_949_500, 250_049_999.5]) {
    const chart = memoryChart([{ ...run, verdict: { ...run.verdict, need } }])
    const { label } = seriesOf(chart, '0:need').markLine as unknown as { label: { formatter: string } }
    expect(label.formatter).toBe(`need ${megabytes(need)}`)
    // The tooltips of the page round what `mb()` returns.
    expect(`${mb(need).toFixed(1)} MB`).toBe(megabytes(need))
  }
})

describe.each([
  ['memory', memoryChart],
  ['runtime', runtimeChart]
])('the %s chart', (_, chart) => {
  test.each([1, 2, 3, 8])('has a panel for each of %i recordings, all with the same scales', (count) => {
    const { grid, xAxis, yAxis, series } = drawn(
      chart(Array.from({ length: count }, (_, index) => two[index % 2] as Run))
    )
    expect(grid).toHaveLength(count)
    expect(new Set(xAxis.map(({ min, max }) => `${min} ${max}`)).size).toBe(1)
    for (const name of new Set(yAxis.map((axis) => axis.name))) {
      expect(new Set(yAxis.filter((axis) => axis.name === name).map(({ min, max }) => `${min} ${max}`)).size).toBe(1)
    }
    for (const one of series) expect(yAxis[one.yAxisIndex]?.gridIndex).toBe(one.xAxisIndex)
  })
  test('is plain JSON, as the page needs it', () => {
    const { option } = chart(two, { interactive: true })
    expect(JSON.parse(JSON.stringify(option))).toEqual(option)
  })
  test('has a zoom only in the page', () => {
    expect(drawn(chart(two)).dataZoom).toBeUndefined()
    expect(drawn(chart(two, { interactive: true })).dataZoom).toHaveLength(2)
  })
  test('keeps every curve within its axes', () => {
    const { xAxis, yAxis, series } = drawn(chart(two))
    for (const one of series) {
      for (const [x, y] of one.data) {
        expect(x).toBeLessThanOrEqual(xAxis[one.xAxisIndex]?.max ?? 0)
        expect(y).toBeLessThanOrEqual(yAxis[one.yAxisIndex]?.max ?? 0)
      }
    }
  })
  test('draws a recording that was cut off anywhere', () => {
    for (let lines = 0; lines < 300; lines += 7) {
      const main = cutAfter(ebb ?? synthetic(), lines)
      expect(() => chart([{ recording: main, control: null, verdict: judge(main) }])).not.toThrow()
    }
  })
  test('escapes a name in its title', () => {
    const recording = synthetic({ name: 'a\u2028\x1b[2J' })
    const titles = drawn(chart([runOf(recording)])).title.map((title) => title.text)
    expect(titles).toContain('a\\u2028\\x1b[2J')
  })
})

describe('the memory chart', () => {
  test('shows memory in MB and time in s', () => {
    const sample = two[1]?.recording.samples[200]
    const { data } = seriesOf(memoryChart(two), '1:anonymous')
    const point = data.find(([t]) => t === (sample?.t ?? 0) / 1000)
    expect(point?.[1]).toBeCloseTo((sample?.anonymous ?? 0) / 1e6, 2)
  })
  test('shades every pulse, lighter while it connects and closes', () => {
    const areas = seriesOf(memoryChart(two), '0:pulse held').markArea?.data ?? []
    expect(areas).toHaveLength(3 * 7)
    expect(areas.map(([from]) => from?.name).filter(Boolean)).toEqual(['10k', '10k', '10k', '1k', '1k', '1k', '1k'])
    for (const [from, until] of areas) expect(until?.xAxis).toBeGreaterThanOrEqual(from?.xAxis ?? Infinity)
  })
  test('has a line at need only with a control', () => {
    expect(seriesOf(memoryChart(two), '1:need').markLine?.data[0]?.yAxis).toBeCloseTo(
      (two[1]?.verdict.need ?? 0) / 1e6,
      2
    )
    const [run] = two as [Run]
    const without = memoryChart([{ ...run, control: null, verdict: judge(run.recording) }])
    expect(seriesOf(without, '0:need').markLine?.data).toEqual([])
  })
  test('marks where memory was back, or that it never was', () => {
    const slow = synthetic({ releasesAfter: 700, perConnection: 4000 })
    const run = runOf(slow, synthetic({ role: 'control', perConnection: 200 }))
    const closedAt = slow.events.findLast((event) => event.event === 'closed' && event.index === 2)?.t ?? 0
    const mark = seriesOf(memoryChart([run]), '0:back to need')
    expect(run.verdict.release).toBeGreaterThan(0)
    expect(mark.data[0]?.[0]).toBeCloseTo((closedAt + (run.verdict.release ?? 0)) / 1000, 2)
    expect(seriesOf(memoryChart(two), '1:back to need').label?.formatter).toBe('never back')
  })
  test('has at most 2,000 points per curve, and keeps the peak', () => {
    const long = synthetic({ pulses: 60, keeps: 0.5, perConnection: 3000 })
    const spike = long.samples[1234]
    if (!spike || long.samples.length <= 2000) throw new Error('not long enough')
    spike.anonymous = 200e6
    const { data } = seriesOf(memoryChart([runOf(long)]), '0:anonymous')
    expect(data.length).toBeLessThanOrEqual(2000)
    expect(data.length).toBeGreaterThan(900)
    expect(data).toContainEqual([spike.t / 1000, 200])
  })
})

test('the memory chart in three columns has panels side by side, without the runtime in their subtitles', () => {
  const { grid, title } = drawn(memoryChart([...two, ...two], { columns: 3 })) as unknown as {
    grid: { left: string; right: string; top: number }[]
    title: { subtext?: string }[]
  }
  const percent = (text: string | undefined): number => Number(text?.replace('%', ''))
  for (const next of [1, 2]) expect(percent(grid[next]?.left)).toBeGreaterThan(100 - percent(grid[next - 1]?.right))
  expect(new Set(grid.map(({ left, right }) => percent(left) + percent(right))).size).toBe(1)
  expect(grid[3]).toMatchObject({ left: grid[0]?.left })
  expect(grid[3]?.top).toBeGreaterThan(grid[0]?.top ?? Infinity)
  expect(title.at(-1)?.subtext).toMatch(/^retention/)
})

test('the memory chart in three columns is logarithmic, so that a server of 0.1 MB can be seen beside one of 100 MB', () => {
  const tiny = runOf(
    synthetic({ rest: 85_000, perConnection: 0, file: 1e6 }),
    synthetic({ role: 'control', rest: 85_000, perConnection: 0, file: 1e6 })
  )
  const chart = memoryChart([...two, tiny], { columns: 3 })
  const { yAxis } = drawn(chart) as unknown as { yAxis: { type: string; min: number; max: number }[] }
  expect(yAxis[0]).toMatchObject({ type: 'log', max: 1000 })
  for (const { name, data } of drawn(chart).series.filter(({ name }) => name !== 'need')) {
    for (const [, size] of data) expect(size, name).toBeGreaterThanOrEqual(yAxis[0]?.min ?? Infinity)
  }
})

describe('the runtime chart', () => {
  test('shows clients from the Cycle lines', () => {
    const { data } = seriesOf(runtimeChart(two), '0:clients')
    expect(Math.max(...data.map(([, clients]) => clients))).toBe(10_000)
  })
  test('takes clients from the pulses if the server prints no Cycle lines, and says so', () => {
    const silent = runtimeChart([runOf(synthetic({ cycles: false }))])
    expect(Math.max(...seriesOf(silent, '0:clients').data.map(([, clients]) => clients))).toBe(10_000)
    expect(seriesOf(silent, '0:system').data).toEqual([])
    expect(drawn(silent).title.at(-1)?.subtext).toContain('no Cycle lines')
  })
})

test('relayout() moves the panels of the chart and adds nothing', () => {
  const { grid, title } = drawn(memoryChart(two, { interactive: true }))
  for (const columns of [1, 2] as const) {
    const { option, height } = relayout(2, columns)
    expect(option.grid).toHaveLength(grid.length)
    expect(option.title).toHaveLength(title.length)
    expect(height).toBeGreaterThan(0)
  }
  expect(relayout(2, 1).height).toBeGreaterThan(relayout(2, 2).height)
})

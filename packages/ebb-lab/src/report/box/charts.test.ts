import { expect, test } from 'vitest'
import { renderSvg } from '../charts/svg.js'
import {
  boxOf,
  end,
  inOrder,
  listening,
  pulse,
  type Rest,
  run,
  sample,
  server,
  spikes,
  twoVariants
} from '../testing/box.js'
import { HOSTILE } from '../testing/hostile.js'
import { boxChart, relayoutBoxes } from './charts.js'
import type { JudgedBox } from './judged-box.js'
import { judgeBox } from './verdict.js'

interface Series {
  id: string
  name?: string
  stack?: string
  data: [number, number][]
  xAxisIndex: number
  areaStyle?: { origin?: number; opacity?: number }
  markLine?: { data: { yAxis: number; label: { formatter: string } }[] }
  markArea?: { data: [{ coord: [number, number] }, { coord: [number, number] }][] }
  markPoint?: { data: { coord: [number, number]; label: { formatter: string } }[] }
}

function judged(box = twoVariants()): JudgedBox[] {
  const runs = box.runs.filter(({ role }) => role === 'main')
  return judgeBox(box).map((verdict, i) => ({ run: runs[i] as JudgedBox['run'], verdict }))
}

const seriesOf = (boxes: readonly JudgedBox[]): Series[] => boxChart(boxes).option.series as unknown as Series[]

test('stacks an area for each server, which add up to the memory of all servers', () => {
  const boxes = judged()
  const areas = seriesOf(boxes).filter(({ id }) => id.includes(':memory'))
  expect(areas.map(({ id, stack }) => [id, stack])).toEqual(
    [0, 1].flatMap((panel) => [0, 1, 2, 3].map((i) => [`${panel}:memory ${i}`, `box ${panel}`]))
  )
  for (const [panel, { verdict }] of boxes.entries()) {
    const own = areas.slice(4 * panel, 4 * panel + 4)
    // ECharts stacks point by point, so all areas need the same times.
    for (const { data } of own) expect(data.map(([t]) => t)).toEqual(own[0]?.data.map(([t]) => t))
    const sums = own[0]?.data.map((_, i) => own.reduce((sum, { data }) => sum + (data[i]?.[1] ?? 0), 0)) ?? []
    expect(Math.max(...sums)).toBeCloseTo((verdict.peakOfSums ?? 0) / 1e6, 3)
  }
})

test('labels lines that are close together side by side, above both', () => {
  const labels = seriesOf(judged())
    .filter(({ id }) => id.endsWith(':lines'))
    .map(({ markLine }) => markLine?.data.map(({ label }) => (label as unknown as { position: string }).position))
  // The first variant releases nothing, so that both lines are at 320 MB.
  expect(labels).toEqual([
    ['insideEndTop', 'insideStartTop'],
    ['insideStartTop', 'insideStartTop']
  ])
})

test('draws lines at the peak of sums, the sum of peaks and the limit', () => {
  const boxes = judged()
  const lines = seriesOf(boxes).filter(({ id }) => id.endsWith(':lines'))
  expect(lines.map(({ markLine }) => markLine?.data.map(({ yAxis, label }) => [yAxis, label.formatter]))).toEqual([
    [
      [320, 'sum of peaks 320.0 MB'],
      [320, 'peak of sums 320.0 MB']
    ],
    [
      [320, 'sum of peaks 320.0 MB'],
      [140, 'peak of sums 140.0 MB']
    ]
  ])
  const [limited] = judged(boxOf([run(0, 'x', 'main', 600e6), ...spikes('x', 0, 0, 1, 1).slice(1)]))
  expect(
    seriesOf([limited as JudgedBox])
      .find(({ id }) => id === '0:lines')
      ?.markLine?.data.at(-1)?.yAxis
  ).toBe(600)
})

test('draws a lane for each server with its connections, and a label at each big pulse', () => {
  const lanes = seriesOf(judged()).filter(({ id }) => id.startsWith('1:lane'))
  expect(lanes.map(({ areaStyle }) => areaStyle?.origin)).toEqual([0, 1, 2, 3])
  expect(lanes.map(({ markPoint }) => markPoint?.data.map(({ coord, label }) => [...coord, label.formatter]))).toEqual(
    [0, 1, 2, 3].map((i) => [[1 + 3 * i, i, '10k']])
  )
  for (const [i, { data }] of lanes.entries()) {
    const heights = data.map(([, y]) => y)
    expect([Math.min(...heights), Math.max(...heights)]).toEqual([i, i + 0.82])
  }
})

test('draws pulses as rectangles, which are no wedges however narrow they are', () => {
  const [lane] = seriesOf(judged()).filter(({ id }) => id === '1:lane 0')
  const [[from, to] = []] = lane?.markArea?.data ?? []
  expect(from?.coord[1]).toBe(0)
  expect(to?.coord[1]).toBe(0.82)
  expect(to?.coord[0]).toBeGreaterThan(from?.coord[0] as number)
  expect(lane?.areaStyle?.opacity).toBe(0)
})

test('draws a cross where a server ended', () => {
  const lines = inOrder([
    run(0, 'x'),
    ...[0, 1].flatMap((id) => [server(0, id, `s${id}`), listening(0, id)]),
    ...[0, 100, 200].flatMap((t) => [sample(t, 0, 10e6, 20e6), ...(t < 150 ? [sample(t, 1, 10e6, 20e6)] : [])]),
    end(150, 1, null, 'SIGKILL'),
    end(300, 0),
    { type: 'end', t: 300, reason: 'done' }
  ])
  const ends = seriesOf(judged(boxOf(lines))).find(({ id }) => id === '0:ends')
  expect(ends?.data).toMatchObject([{ value: [0.15, 40], label: { formatter: 's1 ended' } }])
})

test('escapes hostile names, and draws the same picture for the same box', () => {
  const lines = (name: string, id: number): Rest[] => [
    server(0, id, name),
    listening(0, id),
    ...pulse(500, id, 0, 'big', 10, 500),
    ...Array.from({ length: 20 }, (_, i) => sample(i * 100, id, 1e7, 2e7)),
    end(2000, id, 1)
  ]
  const box = boxOf([run(0, HOSTILE[0] ?? ''), ...inOrder(HOSTILE.flatMap(lines))])
  const svg = renderSvg(boxChart(judged(box)))
  expect(svg).not.toMatch(/<script|<img|<svg[^>]* onload/)
  for (const character of '\0\x1b\u202e\u2028') expect(svg).not.toContain(character)
  expect(renderSvg(boxChart(judged(box)))).toBe(svg)
})

test('draws many servers without a legend and with lower lanes', () => {
  const box = boxOf([run(0, 'x'), ...spikes('x', 0, 0, 0, 40).slice(1)])
  const chart = boxChart(judged(box))
  expect((chart.option.legend as { data: unknown[] }).data).toEqual([])
  expect(chart.height).toBeLessThan(900)
  expect(renderSvg(chart).length).toBeGreaterThan(1000)
})

test('draws three boxes side by side in a file, and in one or two columns in a page', () => {
  const [one, two] = judged() as [JudgedBox, JudgedBox]
  const three = boxChart([one, two, one])
  expect(three.height).toBe(boxChart([one, two]).height)
  const grids = relayoutBoxes([one, two, one], 1).option.grid as { top: number }[]
  expect(grids).toHaveLength(6)
  expect(grids.map(({ top }) => top)).toEqual(grids.map(({ top }) => top).sort((a, b) => a - b))
})

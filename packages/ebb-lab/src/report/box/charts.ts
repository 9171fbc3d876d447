/** The chart of boxes as an ECharts option: memory stacked by server, and below it the load of each server. */
import type { EChartsOption, SeriesOption } from 'echarts'
import type { BoxRun, BoxServer } from '../../record/box/recording.js'
import { megabytes, ratio, short, size } from '../../units/format.js'
import { clean, fit } from '../../units/text.js'
import { type Columns, type Layout, layoutOf } from '../charts/layout.js'
import { LIGHT, type Palette, SERVERS } from '../charts/palette.js'
import {
  type Chart,
  endOf,
  FONT,
  gridOf,
  HEADROOM,
  halo,
  headingOf,
  highest,
  interaction,
  legendOf,
  mb,
  panelTitle,
  seconds,
  timeAxis,
  valueAxis
} from '../charts/parts.js'
import { scaleTo } from '../charts/scale.js'
import { thin } from '../charts/thin.js'
import { pulsesOf } from '../phases.js'
import type { SummedBox } from './judged-box.js'
import { goneAt, type Moment, stackOf } from './stack.js'
import type { BoxSums } from './verdict.js'

/** Options of {@link boxChart}. */
export interface BoxChartOptions {
  /** Panels side by side. Default: 2, and 3 for three boxes or more. */
  columns?: Columns
  /** Adds a zoom slider and tooltips, for the page. Default: false. */
  interactive?: boolean
}

/** Points of a curve. Each panel has a curve for each server. */
const MOST_POINTS = 500
const NAME_COLUMNS = 40
const NARROW_NAME_COLUMNS = 30
/** Height of a server's lane, pixels. */
const LANE_HEIGHT = 17
/** Height of the gap between the memory and the lanes, pixels. */
const LANES_GAP = 10
/** Maximum height of all lanes together, pixels. */
const MOST_LANES_HEIGHT = 260
/** Share of a lane's height that its highest load takes. */
const LANE_FILL = 0.82
/** Share of the height of a lane that any number of connections gets, so that it can be seen. */
const LEAST_FILL = 0.13
/** Pulses of a lane that are drawn as rectangles. More are drawn as one line. */
const MOST_RECTANGLES = 500
/** Servers in one line of the legend. */
const NAMES_PER_LINE = 8
/** With more servers than this, there is no legend. */
const MOST_NAMES = 24
/** Height of each further line of the legend, pixels. */
const LEGEND_LINE_HEIGHT = 22
/** Curves that are thinned out each by its own lows and highs; the others only by those of the sum. */
const MOST_THINNED = 8

/**
 * Draws memory over time, stacked by server from the bottom up in the order of the file, with lines at the peak of sums
 * and the sum of peaks. Below it, each server has a lane with its connections, to a scale of its own.
 */
export function boxChart(boxes: readonly SummedBox[], options: BoxChartOptions = {}): Chart {
  const { interactive = false } = options
  const palette = LIGHT
  const columns = options.columns ?? (boxes.length >= 3 ? 3 : 2)
  const layout = layoutFor(boxes, columns, interactive)
  const stacks = boxes.map(({ run }) => stackOf(run))
  const memory = scaleTo(
    mb(
      Math.max(
        highest(boxes, ({ verdict }) => verdict.sumOfPeaks ?? 0),
        highest(boxes, ({ verdict }) => verdict.peakOfSums ?? 0)
      )
    ) * HEADROOM
  )
  const pixelsPerMb = (layout.panels[0]?.height ?? 0) / memory.max
  const end = scaleTo(seconds(highest(boxes, ({ run }) => lengthOf(run))), 6)
  const titles = boxes.map(({ verdict }, panel) => {
    const box = layout.panels[panel] as Layout['panels'][number]
    const name = fit(clean(verdict.name), columns === 3 ? NARROW_NAME_COLUMNS : NAME_COLUMNS)
    return panelTitle(box, name, summary(verdict, columns === 3), palette)
  })
  const title = 'Memory of the box, stacked by server'
  const option = {
    animation: false,
    backgroundColor: palette.background,
    textStyle: { fontFamily: FONT, color: palette.text },
    title: interactive ? titles : [headingOf(title, palette), ...titles],
    legend: legendOf(
      namesOf(boxes).map((name) => ({ name, icon: 'rect' })),
      interactive,
      palette
    ),
    grid: gridsOf(boxes, layout),
    // Each panel has two axes of time: one for memory, and one for the lanes, which has the labels.
    xAxis: boxes.flatMap((_, panel) => [
      { ...timeAxis(2 * panel, end, palette), axisLabel: { show: false }, axisTick: { show: false } },
      timeAxis(2 * panel + 1, end, palette)
    ]),
    yAxis: boxes.flatMap(({ run }, panel) => [
      valueAxis(2 * panel, 'MB', memory, palette, 'left'),
      lanesAxis(2 * panel + 1, run.servers.length)
    ]),
    series: boxes.flatMap((box, panel) => [
      ...areas(box.run, stacks[panel] ?? [], panel),
      lines(box.verdict, panel, palette, columns === 3, pixelsPerMb),
      ends(box, stacks[panel] ?? [], panel, palette),
      ...lanes(box.run, panel, palette)
    ]),
    ...(interactive ? interaction(2 * boxes.length, palette) : {})
  } as EChartsOption
  return { title, option, height: layout.height }
}

/**
 * Returns what changes in the option of an interactive chart when its panels move to `columns` columns, and the new
 * height.
 */
export function relayoutBoxes(boxes: readonly SummedBox[], columns: 1 | 2): Pick<Chart, 'option' | 'height'> {
  const layout = layoutFor(boxes, columns, true)
  return {
    option: {
      grid: gridsOf(boxes, layout),
      title: layout.panels.map(({ left, titleTop }) => ({ left, top: titleTop }))
    },
    height: layout.height
  }
}

function layoutFor(boxes: readonly SummedBox[], columns: Columns, interactive: boolean): Layout {
  const names = namesOf(boxes).length
  const lanes = highest(boxes, ({ run }) => lanesHeight(run))
  return layoutOf(boxes.length, columns, interactive, {
    below: lanes + LANES_GAP,
    head: names === 0 ? 0 : (Math.ceil(names / NAMES_PER_LINE) - 1) * LEGEND_LINE_HEIGHT
  })
}

/** Returns the names of the legend, or none if there are too many servers. */
function namesOf(boxes: readonly SummedBox[]): string[] {
  const names = [...new Set(boxes.flatMap(({ run }) => run.servers.map(labelOf)))]
  return names.length > MOST_NAMES ? [] : names
}

function labelOf({ name }: BoxServer): string {
  return fit(clean(name), 18)
}

function lanesHeight({ servers }: BoxRun): number {
  return Math.min(MOST_LANES_HEIGHT, servers.length * LANE_HEIGHT)
}

function gridsOf(boxes: readonly SummedBox[], layout: Layout) {
  return layout.panels.flatMap((box, panel) => {
    const height = lanesHeight(boxes[panel]?.run as BoxRun)
    return [gridOf(box), gridOf({ ...box, top: box.top + box.height + LANES_GAP, height })]
  })
}

function lanesAxis(gridIndex: number, servers: number): EChartsOption['yAxis'] {
  return {
    type: 'value',
    gridIndex,
    min: 0,
    max: servers,
    interval: 1,
    axisLabel: { show: false },
    axisTick: { show: false },
    axisLine: { show: false },
    splitLine: { show: false }
  }
}

function colourOf(server: number): string {
  return SERVERS[server % SERVERS.length]?.[0] ?? ''
}

/** Returns the stacked areas of memory, one per server. */
function areas(run: BoxRun, stack: readonly Moment[], panel: number): SeriesOption[] {
  const figures = [
    (moment: Moment) => moment.sum,
    ...run.servers.slice(0, MOST_THINNED).map((_, i) => (moment: Moment) => moment.parts[i] ?? 0)
  ]
  const points = thin(stack, MOST_POINTS, figures)
  return run.servers.map((server, i) => ({
    type: 'line',
    id: `${panel}:memory ${i}`,
    name: labelOf(server),
    stack: `box ${panel}`,
    data: points.map(({ t, parts }) => [seconds(t), mb(parts[i] ?? 0)]),
    xAxisIndex: 2 * panel,
    yAxisIndex: 2 * panel,
    showSymbol: false,
    symbol: 'circle',
    symbolSize: 4,
    color: colourOf(i),
    lineStyle: { width: 0 },
    areaStyle: { color: colourOf(i), opacity: 0.85 },
    emphasis: { disabled: true },
    z: 2
  }))
}

/** Lines that are closer together than this have their labels side by side, pixels. */
const LABEL_HEIGHT = 20

/** Returns the lines at the peak of sums, the sum of peaks, and the limit of the box's cgroup, with their labels. */
function lines(
  { peakOfSums, sumOfPeaks, limit }: BoxSums,
  panel: number,
  palette: Palette,
  narrow: boolean,
  pixelsPerMb: number
): SeriesOption {
  const pixelsBetween = (a: number | null, b: number | null): number =>
    a === null || b === null ? Number.POSITIVE_INFINITY : Math.abs(mb(a) - mb(b)) * pixelsPerMb
  // The label of the lower line is raised above the upper one.
  const gap = pixelsBetween(peakOfSums, sumOfPeaks)
  // Side by side, labels of the usual size would overlap on a phone.
  const near = gap < LABEL_HEIGHT
  const line = (bytes: number, name: string, color: string, type: string, position: string, raised = 0) => ({
    yAxis: mb(bytes),
    lineStyle: { color, width: 1.5, type },
    label: {
      ...halo(palette, color),
      position,
      padding: [0, 0, raised, 0],
      ...(near && { fontSize: 10 }),
      formatter: narrow ? `${name} ${mb(bytes).toFixed(0)}` : `${name} ${megabytes(bytes)}`
    }
  })
  // Below its line, the label of the limit may cover an area, but no other label.
  const limitNear = Math.min(pixelsBetween(limit, sumOfPeaks), pixelsBetween(limit, peakOfSums)) < LABEL_HEIGHT
  const data = [
    ...(sumOfPeaks === null
      ? []
      : [line(sumOfPeaks, 'sum of peaks', palette.faint, 'dashed', near ? 'insideEndTop' : 'insideStartTop')]),
    ...(peakOfSums === null
      ? []
      : [line(peakOfSums, 'peak of sums', palette.text, 'solid', 'insideStartTop', near ? gap : 0)]),
    ...(limit === null
      ? []
      : [line(limit, 'limit', palette.need, 'dotted', limitNear ? 'insideEndBottom' : 'insideEndTop')])
  ]
  return {
    type: 'line',
    id: `${panel}:lines`,
    data: [],
    xAxisIndex: 2 * panel,
    yAxisIndex: 2 * panel,
    z: 4,
    markLine: { silent: true, symbol: 'none', data }
  } as SeriesOption
}

/** Returns a cross where each server ended. */
function ends({ run, verdict }: SummedBox, stack: readonly Moment[], panel: number, palette: Palette): SeriesOption {
  const data = run.servers.flatMap((server, i) => {
    const { name } = server
    const state = verdict.servers[i]?.state
    const gone = goneAt(server, run)
    if (gone === null || (state !== 'killed' && state !== 'ended')) return []
    const before = stack.findLast(({ t }) => t < gone)
    const height = before?.parts.slice(0, i + 1).reduce((sum, part) => sum + part, 0) ?? 0
    const left = gone > lengthOf(run) * 0.6
    return {
      value: [seconds(gone), mb(height)],
      label: {
        ...halo(palette, palette.need),
        show: true,
        position: left ? 'left' : 'right',
        formatter: `${fit(clean(name), 18)} ${state}`.replace(/[{}]/g, ' ')
      }
    }
  })
  return {
    type: 'scatter',
    id: `${panel}:ends`,
    data,
    xAxisIndex: 2 * panel,
    yAxisIndex: 2 * panel,
    symbol: 'path://M0,1L1,0L5,4L9,0L10,1L6,5L10,9L9,10L5,6L1,10L0,9L4,5Z',
    symbolSize: 10,
    itemStyle: { color: palette.need, opacity: 1 },
    tooltip: { show: false },
    silent: true,
    z: 6
  } as SeriesOption
}

/** Returns the lanes. The lane of the first server is the lowest, as its area of memory is. */
function lanes({ servers }: BoxRun, panel: number, palette: Palette): SeriesOption[] {
  return servers.map((server, i) => {
    const points = loadOf(server)
    const most = highest(points, ({ connections }) => connections)
    const at = (connections: number): number =>
      connections === 0 ? i : i + Math.max(LEAST_FILL, (LANE_FILL * connections) / most)
    const data = thin(points, MOST_POINTS, [(point) => point.connections])
    // A label with the number of connections where a big pulse begins, because the lane has no scale.
    const pulses = pulsesOf({ events: server.recording?.events ?? [] })
    const marks = pulses.filter(({ size }) => size === 'big')
    // A canvas leaves out steps of less than 2 pixels of a line, which makes a wedge of a narrow pulse, but no
    // rectangle.
    const isDrawn = server.levels.length === 0 && pulses.length <= MOST_RECTANGLES
    const rectangles = isDrawn ? points.flatMap((point, j) => rectangle(point, points[j + 1])) : []
    return {
      type: 'line',
      id: `${panel}:lane ${i}`,
      name: labelOf(server),
      data: data.map(({ t, connections }) => [seconds(t), at(connections)]),
      markArea: {
        silent: true,
        itemStyle: { color: colourOf(i), opacity: 0.85, borderColor: colourOf(i), borderWidth: 0.5 },
        data: rectangles.map(({ from, to, connections }) => [
          { coord: [seconds(from), i] },
          { coord: [seconds(to), at(connections)] }
        ])
      },
      xAxisIndex: 2 * panel + 1,
      yAxisIndex: 2 * panel + 1,
      step: 'end',
      showSymbol: false,
      color: colourOf(i),
      // Under rectangles, the line is there for programs that read the option, but cannot be seen.
      lineStyle: { width: 0.5, opacity: isDrawn ? 0 : 1 },
      areaStyle: { color: colourOf(i), opacity: isDrawn ? 0 : 0.85, origin: i },
      emphasis: { disabled: true },
      tooltip: { show: false },
      silent: true,
      z: 2,
      markPoint: {
        silent: true,
        symbolSize: 0.01,
        data: marks.map(({ startsAt, n, connectedAt, connected }) => ({
          coord: [seconds(startsAt), i],
          label: {
            show: true,
            position: 'insideBottomRight',
            formatter: short(connectedAt === null ? n : connected),
            color: palette.faint,
            fontSize: 10
          }
        }))
      }
    } as SeriesOption
  })
}

/** Returns the time between two points at which there are connections, or nothing. */
function rectangle(
  { t, connections }: { t: number; connections: number },
  next: { t: number } | undefined
): { from: number; to: number; connections: number }[] {
  return next === undefined || connections === 0 ? [] : [{ from: t, to: next.t, connections }]
}

/** Returns the connections of a server over time, as if they were opened and closed at once. */
function loadOf({ recording, levels }: BoxServer): { t: number; connections: number }[] {
  const pulses = pulsesOf({ events: recording?.events ?? [] }).flatMap((pulse) => {
    const closed = pulse.closedAt ?? pulse.closingAt
    return [
      { t: pulse.startsAt, connections: 0 },
      ...(pulse.connectedAt === null ? [] : [{ t: pulse.connectedAt, connections: pulse.connected }]),
      ...(closed === null ? [] : [{ t: closed, connections: 0 }])
    ]
  })
  return [...pulses, ...levels.map(({ t, open }) => ({ t, connections: open }))]
}

function lengthOf({ servers, machine }: BoxRun): number {
  return Math.max(
    machine.at(-1)?.t ?? 0,
    highest(servers, ({ recording }) => (recording === null ? 0 : endOf(recording)))
  )
}

function summary({ gain, peakOfSums, limit, servers }: BoxSums, narrow: boolean): string {
  const endedEarly = servers.filter(({ state }) => state !== 'ran').length
  const parts = [
    narrow || peakOfSums === null ? '' : `peak of sums ${megabytes(peakOfSums)}`,
    gain === null ? '' : `multiplexing gain ${ratio(gain)}`,
    narrow || limit === null ? '' : `limit ${size(limit)}`,
    endedEarly === 0 ? '' : `${endedEarly} of ${servers.length} ended early`
  ]
  return parts.filter((part) => part !== '').join(' · ')
}

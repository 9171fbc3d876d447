/**
 * The two pictures as ECharts options: pure functions of the runs, in JSON (no functions inside), so that the same
 * options make the SVG files and the page. Curves are in MB and s: a person reads them.
 */
import type { EChartsOption, GridComponentOption, SeriesOption, TitleComponentOption } from 'echarts'
import type { Recording, Sample } from '../record/recording.js'
import { bytes, duration, integer, ratio, short } from './format.js'
import { type Layout, layoutOf } from './layout.js'
import { LIGHT, type Palette } from './palette.js'
import { pulsesOf } from './phases.js'
import type { Run } from './run.js'
import { type Scale, scaleTo } from './scale.js'
import { clean, fit } from './text.js'
import { thin } from './thin.js'
import type { Verdict } from './verdict.js'

export interface ChartOptions {
  /** Panels side by side. Default 2. */
  columns?: 1 | 2
  /** With a zoom slider and tooltips, for the page. Default false. */
  interactive?: boolean
  palette?: Palette
}

export interface Chart {
  /** Also drawn above the panels, except in an interactive chart: the page has headings of its own. */
  title: string
  option: EChartsOption
  /** The height that the panels need, in pixels. The width is free. */
  height: number
}

/** Points of a curve; more are thinned, lows and highs kept. */
const MOST_POINTS = 2000
const NAME_COLUMNS = 40
const HEADROOM = 1.04

/** No quotes: ECharts writes the name into an SVG attribute as it is. */
const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif'

/**
 * The runtime's view (system, in use, released) against the number of clients, over time; from the server's Cycle
 * lines or Go's expvar. A server that tells no number of clients is drawn with that of the pulses.
 */
export function runtimeChart(runs: readonly Run[], options: ChartOptions = {}): Chart {
  const palette = options.palette ?? LIGHT
  const views = runs.map((run) => thin(viewsOf(run.recording), MOST_POINTS, VIEW_FIGURES))
  const crowds = runs.map((run) => thin(crowdOf(run.recording), MOST_POINTS, [(point) => point.clients]))
  const memory = memoryScale(highest(views.flat(), (view) => Math.max(view.system, view.inuse, view.released)))
  const clients = scaleTo(highest(crowds.flat(), (point) => point.clients) * HEADROOM)
  const end = secondsOf(runs)

  const series = runs.flatMap((run, panel): SeriesOption[] => {
    const view = views[panel] ?? []
    // A step holds its value until the next line: the last one until the recording's end.
    const until = seconds(endOf(run.recording))
    const steps = (figure: (view: View) => number): [number, number][] =>
      held(
        view.map((v) => [seconds(v.t), mb(figure(v))]),
        until
      )
    const line = (
      name: string,
      data: [number, number][],
      color: string,
      width: number,
      type: LineType
    ): SeriesOption => ({
      ...curve(panel, name, data, color, width, type),
      step: 'end'
    })
    return [
      {
        ...curve(
          panel,
          'clients',
          held(
            (crowds[panel] ?? []).map((p) => [seconds(p.t), p.clients]),
            until
          ),
          palette.clients,
          1,
          'solid'
        ),
        yAxisIndex: panel * 2 + 1,
        step: 'end',
        areaStyle: { color: palette.clientsArea },
        z: 1
      },
      line(
        'system',
        steps((v) => v.system),
        palette.system,
        1.5,
        'solid'
      ),
      line(
        'in use',
        steps((v) => v.inuse),
        palette.anonymous,
        2,
        'solid'
      ),
      line(
        'released',
        steps((v) => v.released),
        palette.released,
        1.5,
        'dashed'
      )
    ]
  })

  return picture(runs, options, {
    title: 'What the runtime says of its memory, and the number of clients',
    subtitle: (run, panel) =>
      (views[panel] ?? []).length > 0
        ? `${integer(run.verdict.connects)} connections in all`
        : 'tells nothing of its runtime: no Cycle lines, no expvar',
    legend: [
      lineItem('system'),
      lineItem('in use'),
      lineItem('released'),
      {
        name: 'clients',
        icon: 'rect',
        itemStyle: { color: palette.clientsArea, borderColor: palette.clients, borderWidth: 1 }
      }
    ],
    series,
    end,
    axes: (panel) => [
      valueAxis(panel, 'MB', memory, palette, 'left'),
      valueAxis(panel, 'clients', clients, palette, 'right')
    ]
  })
}

/**
 * Resident and anonymous memory over time, the pulses shaded (lighter while they connect and close), with the line of
 * need and the moment at which memory was back.
 */
export function memoryChart(runs: readonly Run[], options: ChartOptions = {}): Chart {
  const palette = options.palette ?? LIGHT
  const samples = runs.map((run) => thin(run.recording.samples, MOST_POINTS, SAMPLE_FIGURES))
  const memory = memoryScale(
    Math.max(
      highest(samples.flat(), (sample) => Math.max(sample.resident, sample.anonymous)),
      highest(runs, (run) => run.verdict.need ?? 0)
    )
  )
  const end = secondsOf(runs)

  const series = runs.flatMap((run, panel): SeriesOption[] => {
    const points = samples[panel] ?? []
    const data = (figure: (sample: Sample) => number): [number, number][] =>
      points.map((sample) => [seconds(sample.t), mb(figure(sample))])
    return [
      shades(run, panel, palette),
      curve(
        panel,
        'resident',
        data((s) => s.resident),
        palette.resident,
        1,
        'solid'
      ),
      curve(
        panel,
        'anonymous',
        data((s) => s.anonymous),
        palette.anonymous,
        2,
        'solid'
      ),
      needLine(run, panel, palette),
      releaseMark(run, panel, palette)
    ]
  })

  return picture(runs, options, {
    title: headline(runs),
    subtitle: (run) => summary(run.verdict),
    legend: [
      lineItem('anonymous'),
      lineItem('resident'),
      lineItem('need'),
      { name: 'pulse held', icon: 'rect' },
      { name: 'back to need' }
    ],
    series,
    end,
    axes: (panel) => [valueAxis(panel, 'MB', memory, palette, 'left')]
  })
}

/** The change to an interactive chart's option that puts its panels in so many columns, and the height it then needs. */
export function relayout(count: number, columns: 1 | 2): Pick<Chart, 'option' | 'height'> {
  const layout = layoutOf(count, columns, true)
  return {
    option: {
      grid: layout.panels.map(gridOf),
      title: layout.panels.map(({ left, titleTop }) => ({ left, top: titleTop }))
    },
    height: layout.height
  }
}

interface LegendItem {
  name: string
  icon?: string
  itemStyle?: { opacity?: number; color?: string; borderColor?: string; borderWidth?: number }
}

/** The legend shows the line as it is drawn, without the dot that marks a value under the pointer. */
function lineItem(name: string): LegendItem {
  return { name, itemStyle: { opacity: 0 } }
}

interface Parts {
  title: string
  subtitle: (run: Run, panel: number) => string
  legend: LegendItem[]
  series: SeriesOption[]
  /** The end of the axis of time, s. */
  end: Scale
  axes: (panel: number) => EChartsOption['yAxis'][]
}

function picture(runs: readonly Run[], options: ChartOptions, parts: Parts): Chart {
  const { columns = 2, interactive = false, palette = LIGHT } = options
  const layout: Layout = layoutOf(runs.length, columns, interactive)
  const perPanel = parts.axes(0).length
  const heading: TitleComponentOption = {
    text: parts.title,
    left: 12,
    top: 8,
    padding: 0,
    textStyle: { color: palette.text, fontSize: 16, lineHeight: 20, fontWeight: 600 }
  }
  const titles = runs.map(
    (run, panel): TitleComponentOption => ({
      text: fit(clean(run.verdict.name), NAME_COLUMNS),
      subtext: parts.subtitle(run, panel),
      left: layout.panels[panel]?.left ?? 0,
      top: layout.panels[panel]?.titleTop ?? 0,
      padding: 0,
      itemGap: 2,
      textStyle: { color: palette.text, fontSize: 14, lineHeight: 18, fontWeight: 600 },
      subtextStyle: { color: palette.faint, fontSize: 12, lineHeight: 16 }
    })
  )
  const option = {
    animation: false,
    backgroundColor: palette.background,
    textStyle: { fontFamily: FONT, color: palette.text },
    title: interactive ? titles : [heading, ...titles],
    legend: {
      data: parts.legend,
      left: interactive ? 0 : 12,
      top: interactive ? 4 : 36,
      padding: 0,
      itemWidth: 26,
      itemHeight: 10,
      itemGap: 18,
      inactiveColor: palette.grid,
      textStyle: { color: palette.text, fontSize: 12 }
    },
    grid: layout.panels.map(gridOf),
    xAxis: layout.panels.map((_, index) => ({
      type: 'value' as const,
      gridIndex: index,
      min: 0,
      max: parts.end.max,
      splitNumber: Math.round(parts.end.max / parts.end.step),
      axisLine: { show: true, onZero: false, lineStyle: { color: palette.faint } },
      axisTick: { show: true, lineStyle: { color: palette.faint } },
      axisLabel: { color: palette.faint, fontSize: 12, hideOverlap: true, formatter: '{value} s' },
      splitLine: { show: false }
    })),
    yAxis: runs.flatMap((_, panel) => parts.axes(panel)),
    series: parts.series.map((one) => ('yAxisIndex' in one ? one : { ...one, yAxisIndex: panelOf(one) * perPanel })),
    ...(interactive ? interaction(runs.length, palette) : {})
  } as EChartsOption
  return { title: parts.title, option, height: layout.height }
}

function interaction(count: number, palette: Palette): EChartsOption {
  const xAxisIndex = Array.from({ length: count }, (_, index) => index)
  return {
    axisPointer: { link: [{ xAxisIndex: 'all' }] },
    tooltip: {
      trigger: 'axis',
      confine: true,
      // The page replaces this by a formatter that builds text nodes; without it, text is drawn, not parsed.
      renderMode: 'richText',
      backgroundColor: palette.background,
      borderColor: palette.grid,
      textStyle: { color: palette.text, fontSize: 12 },
      axisPointer: { type: 'line', lineStyle: { color: palette.faint }, label: { show: false } }
    },
    dataZoom: [
      { type: 'inside', xAxisIndex, filterMode: 'none', zoomOnMouseWheel: 'ctrl', moveOnMouseWheel: false },
      {
        type: 'slider',
        xAxisIndex,
        filterMode: 'none',
        bottom: 10,
        height: 22,
        left: 46,
        right: 60,
        showDataShadow: false,
        brushSelect: false,
        borderColor: palette.grid,
        fillerColor: palette.held,
        handleStyle: { color: palette.background, borderColor: palette.faint },
        moveHandleStyle: { color: palette.faint, opacity: 0.35 },
        textStyle: { color: palette.faint, fontSize: 11 },
        labelPrecision: 1
      }
    ]
  }
}

function gridOf({ left, right, top, height }: Layout['panels'][number]): GridComponentOption {
  // The box is the curve's alone, labels outside, so that all panels measure the same.
  return { left, right, top, height, containLabel: false, outerBoundsMode: 'none' }
}

function valueAxis(
  panel: number,
  name: string,
  { max, step }: Scale,
  palette: Palette,
  position: 'left' | 'right'
): EChartsOption['yAxis'] {
  return {
    type: 'value',
    gridIndex: panel,
    position,
    min: 0,
    max,
    interval: step,
    name,
    nameGap: 8,
    nameTextStyle: {
      color: palette.faint,
      fontSize: 12,
      align: position === 'left' ? 'right' : 'left',
      padding: position === 'left' ? [0, 6, 0, 0] : [0, 0, 0, 6]
    },
    axisLabel: { color: palette.faint, fontSize: 12 },
    splitLine: { show: position === 'left', lineStyle: { color: palette.grid } }
  }
}

type LineType = 'solid' | 'dashed' | 'dotted'

/** A series is called by its panel and its figure: the page reads the panel from the id. */
function curve(
  panel: number,
  name: string,
  data: [number, number][],
  color: string,
  width: number,
  type: LineType
): SeriesOption {
  return {
    type: 'line',
    id: `${panel}:${name}`,
    name,
    data,
    xAxisIndex: panel,
    showSymbol: false,
    symbol: 'circle',
    symbolSize: 5,
    color,
    lineStyle: { color, width, type },
    emphasis: { disabled: true },
    z: 3
  }
}

function panelOf(series: SeriesOption): number {
  return Number.parseInt(String(series.id), 10)
}

function shades(run: Run, panel: number, palette: Palette): SeriesOption {
  const end = endOf(run.recording)
  const areas = pulsesOf(run.recording).flatMap((pulse) => {
    const area = (from: number, until: number, color: string, name: string) => [
      {
        name,
        xAxis: seconds(from),
        itemStyle: { color },
        label: { show: name !== '', position: 'insideTop', color: palette.faint, fontSize: 11, distance: 4 }
      },
      { xAxis: seconds(until) }
    ]
    const connected = pulse.connectedAt ?? pulse.closingAt ?? pulse.closedAt ?? end
    const closing = Math.max(connected, Math.min(pulse.holdsUntil, end))
    const closed = Math.max(closing, pulse.closedAt ?? closing)
    return [
      area(pulse.startsAt, connected, palette.moving, ''),
      area(connected, closing, palette.held, short(pulse.connectedAt === null ? pulse.n : pulse.connected)),
      area(closing, closed, palette.moving, '')
    ]
  })
  return {
    type: 'line',
    id: `${panel}:pulse held`,
    name: 'pulse held',
    data: [],
    xAxisIndex: panel,
    color: palette.held,
    markArea: { silent: true, data: areas as never, z: 0 }
  } as SeriesOption
}

function needLine({ verdict }: Run, panel: number, palette: Palette): SeriesOption {
  return {
    ...curve(panel, 'need', [], palette.need, 1.5, 'dashed'),
    markLine: {
      silent: true,
      symbol: 'none',
      lineStyle: { color: palette.need, width: 1.5, type: 'dashed' },
      label: {
        ...halo(palette, palette.need),
        position: 'insideStartTop',
        formatter: `need ${verdict.need === null ? '' : mb(verdict.need).toFixed(1)}`
      },
      data: verdict.need === null ? [] : [{ yAxis: mb(verdict.need) }]
    }
  } as SeriesOption
}

/** A diamond where memory is back for good, or, at the end of the curve, the word that it never was. */
function releaseMark({ recording, verdict }: Run, panel: number, palette: Palette): SeriesOption {
  const closedAt = pulsesOf(recording).findLast((pulse) => pulse.size === 'big')?.closedAt ?? null
  const never = verdict.release === Infinity
  const point =
    verdict.release === null || closedAt === null
      ? undefined
      : never
        ? recording.samples.at(-1)
        : recording.samples.find((sample) => sample.t >= closedAt + (verdict.release ?? 0))
  return {
    type: 'scatter',
    id: `${panel}:back to need`,
    name: 'back to need',
    xAxisIndex: panel,
    color: palette.released,
    symbol: 'diamond',
    symbolSize: 11,
    itemStyle: never
      ? { color: palette.background, borderColor: palette.need, borderWidth: 2, opacity: 1 }
      : { color: palette.released, borderColor: palette.background, borderWidth: 1, opacity: 1 },
    tooltip: { show: false },
    silent: true,
    z: 6,
    data: point ? [[seconds(point.t), mb(point.anonymous)]] : [],
    label: {
      ...halo(palette, never ? palette.need : palette.released),
      show: true,
      position: never ? 'left' : 'right',
      distance: 6,
      offset: [0, never ? -12 : -10],
      formatter: never
        ? 'never back'
        : verdict.release === 0
          ? 'back at once'
          : `back after ${duration(verdict.release)}`
    }
  } as SeriesOption
}

function halo(palette: Palette, color: string): object {
  return { color, fontSize: 12, fontWeight: 600, textBorderColor: palette.background, textBorderWidth: 3 }
}

function headline(runs: readonly Run[]): string {
  const verdict = runs[0]?.verdict
  const pulses = verdict && verdict.big > 0 ? `: ${integer(verdict.big)} connections × ${verdict.iterations}` : ''
  const small = pulses !== '' && verdict && verdict.small > 0 ? `, then ${integer(verdict.small)}` : ''
  const alike = runs.every(
    ({ verdict: v }) => v.big === verdict?.big && v.small === verdict.small && v.iterations === verdict.iterations
  )
  return `Memory of the server${alike ? pulses + small : ''}`
}

function summary(verdict: Verdict): string {
  const parts = [
    verdict.runtime === null ? '' : fit(clean(verdict.runtime), 16),
    verdict.retention === null ? '' : `retention ${ratio(verdict.retention)}`,
    verdict.footprint === null ? '' : `${bytes(verdict.footprint)} per connection`
  ]
  return parts.filter((part) => part !== '').join(' · ')
}

interface View {
  t: number
  system: number
  inuse: number
  released: number
}

const VIEW_FIGURES: ((view: View) => number)[] = [(v) => v.system, (v) => v.inuse, (v) => v.released]
const SAMPLE_FIGURES: ((sample: Sample) => number)[] = [(s) => s.resident, (s) => s.anonymous]

function viewsOf({ events }: Recording): View[] {
  return events.filter((event) => event.event === 'cycle' || event.event === 'runtime')
}

/** The number of clients as the server tells it, or, where it does not, as the pulses have it. */
function crowdOf(recording: Recording): { t: number; clients: number }[] {
  const told = recording.events.filter((event) => event.event === 'cycle')
  if (told.length > 0) return told
  return pulsesOf(recording).flatMap((pulse) => [
    { t: pulse.startsAt, clients: 0 },
    ...(pulse.connectedAt === null ? [] : [{ t: pulse.connectedAt, clients: pulse.connected }]),
    ...(pulse.closedAt === null ? [] : [{ t: pulse.closedAt, clients: 0 }])
  ])
}

function held(points: [number, number][], until: number): [number, number][] {
  const last = points.at(-1)
  return last && last[0] < until ? [...points, [until, last[1]]] : points
}

function endOf({ samples, events }: Recording): number {
  return Math.max(samples.at(-1)?.t ?? 0, events.at(-1)?.t ?? 0)
}

/** A little above the highest curve, where the pulses are labelled. */
function memoryScale(size: number): Scale {
  return scaleTo(mb(size) * HEADROOM)
}

function secondsOf(runs: readonly Run[]): Scale {
  return scaleTo(seconds(highest(runs, (run) => endOf(run.recording))), 6)
}

function highest<T>(points: readonly T[], figure: (point: T) => number): number {
  let most = 0
  for (const point of points) most = Math.max(most, figure(point))
  return most
}

function seconds(ms: number): number {
  return Math.round(ms) / 1000
}

function mb(size: number): number {
  return Math.round(size / 1e3) / 1e3
}

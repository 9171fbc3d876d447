/**
 * The two pictures as ECharts options: pure functions of the runs, in JSON (no functions inside), so that the same
 * options make the SVG files and the page. Curves are in MB and s: a person reads them.
 */
import type { EChartsOption, SeriesOption } from 'echarts'
import type { Recording, Sample } from '../../record/recording.js'
import { bytes, duration, integer, ratio, short } from '../../units/format.js'
import { clean, fit } from '../../units/text.js'
import { pulsesOf } from '../phases.js'
import type { Run } from '../run.js'
import type { Verdict } from '../verdict.js'
import { type Columns, type Layout, layoutOf } from './layout.js'
import { LIGHT, type Palette } from './palette.js'
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
  type LegendItem,
  legendOf,
  MOST_POINTS,
  mb,
  panelTitle,
  seconds,
  timeAxis,
  valueAxis
} from './parts.js'
import { decadesOf, type Scale, scaleTo } from './scale.js'
import { thin } from './thin.js'

export interface ChartOptions {
  /**
   * Panels side by side. Default 2. Three are for many servers, and for memory alone: it is drawn on a logarithmic
   * scale then, for servers of a megabyte beside servers of a hundred.
   */
  columns?: Columns
  /** With a zoom slider and tooltips, for the page. Default false. */
  interactive?: boolean
  palette?: Palette
}

const NAME_COLUMNS = 40
const NARROW_NAME_COLUMNS = 32

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
  const most = Math.max(
    highest(samples.flat(), (sample) => Math.max(sample.resident, sample.anonymous)),
    highest(runs, (run) => run.verdict.need ?? 0)
  )
  const narrow = options.columns === 3
  const decades = narrow ? decadesOf(mb(lowestOf(samples.flat())), mb(most)) : null
  const shown = (size: number): number => Math.max(mb(size), decades?.min ?? 0)
  const end = secondsOf(runs)

  const series = runs.flatMap((run, panel): SeriesOption[] => {
    const points = samples[panel] ?? []
    const data = (figure: (sample: Sample) => number): [number, number][] =>
      points.map((sample) => [seconds(sample.t), shown(figure(sample))])
    return [
      shades(run, panel, palette, narrow),
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
      needLine(run, panel, palette, narrow, shown),
      releaseMark(run, panel, palette, end, shown)
    ]
  })

  return picture(runs, options, {
    title: `${headline(runs)}${narrow ? ' (logarithmic)' : ''}`,
    subtitle: (run) => summary(run.verdict, narrow),
    legend: [
      lineItem('anonymous'),
      lineItem('resident'),
      lineItem('need'),
      { name: 'pulse held', icon: 'rect' },
      { name: 'back to need' }
    ],
    series,
    end,
    axes: (panel) => [
      decades === null
        ? valueAxis(panel, 'MB', memoryScale(most), palette, 'left')
        : logarithmicAxis(panel, 'MB', decades, palette)
    ]
  })
}

/**
 * The change to an interactive chart's option that puts its panels in so many columns, and the height it then needs.
 */
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
  const titles = layout.panels.map((place, panel) => {
    const run = runs[panel] as Run
    const name = fit(clean(run.verdict.name), columns === 3 ? NARROW_NAME_COLUMNS : NAME_COLUMNS)
    return panelTitle(place, name, parts.subtitle(run, panel), palette)
  })
  const option = {
    animation: false,
    backgroundColor: palette.background,
    textStyle: { fontFamily: FONT, color: palette.text },
    title: interactive ? titles : [headingOf(parts.title, palette), ...titles],
    legend: legendOf(parts.legend, interactive, palette),
    grid: layout.panels.map(gridOf),
    xAxis: layout.panels.map((_, index) => timeAxis(index, parts.end, palette)),
    yAxis: runs.flatMap((_, panel) => parts.axes(panel)),
    series: parts.series.map((one) => ('yAxisIndex' in one ? one : { ...one, yAxisIndex: panelOf(one) * perPanel })),
    ...(interactive ? interaction(runs.length, palette) : {})
  } as EChartsOption
  return { title: parts.title, option, height: layout.height }
}

function logarithmicAxis(
  panel: number,
  name: string,
  { min, max }: { min: number; max: number },
  palette: Palette
): EChartsOption['yAxis'] {
  return { ...valueAxis(panel, name, { max, step: 1 }, palette, 'left'), type: 'log', min } as EChartsOption['yAxis']
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

/** `narrow`: with the numbers of the big pulses alone. */
function shades(run: Run, panel: number, palette: Palette, narrow: boolean): SeriesOption {
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
    const number = short(pulse.connectedAt === null ? pulse.n : pulse.connected)
    const closing = Math.max(connected, Math.min(pulse.holdsUntil, end))
    const closed = Math.max(closing, pulse.closedAt ?? closing)
    return [
      area(pulse.startsAt, connected, palette.moving, ''),
      area(connected, closing, palette.held, narrow && pulse.size === 'small' ? '' : number),
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

/** `narrow`: without its number, which would hide the curve. */
function needLine(
  { verdict }: Run,
  panel: number,
  palette: Palette,
  narrow: boolean,
  shown: (size: number) => number
): SeriesOption {
  return {
    ...curve(panel, 'need', [], palette.need, 1.5, 'dashed'),
    markLine: {
      silent: true,
      symbol: 'none',
      lineStyle: { color: palette.need, width: 1.5, type: 'dashed' },
      label: {
        ...halo(palette, palette.need),
        show: !narrow,
        position: 'insideStartTop',
        formatter: `need ${verdict.need === null ? '' : mb(verdict.need).toFixed(1)}`
      },
      data: verdict.need === null ? [] : [{ yAxis: shown(verdict.need) }]
    }
  } as SeriesOption
}

/** A diamond where memory is back for good, or, at the end of the curve, the word that it never was. */
function releaseMark(
  { recording, verdict }: Run,
  panel: number,
  palette: Palette,
  end: Scale,
  shown: (size: number) => number
): SeriesOption {
  const closedAt = pulsesOf(recording).findLast((pulse) => pulse.size === 'big')?.closedAt ?? null
  const never = verdict.release === Infinity
  const point =
    verdict.release === null || closedAt === null
      ? undefined
      : never
        ? recording.samples.at(-1)
        : recording.samples.find((sample) => sample.t >= closedAt + (verdict.release ?? 0))
  // Where there is no room on its right.
  const left = point !== undefined && seconds(point.t) > end.max * 0.6
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
    data: point ? [[seconds(point.t), shown(point.anonymous)]] : [],
    label: {
      ...halo(palette, never ? palette.need : palette.released),
      show: true,
      position: left ? 'left' : 'right',
      distance: 6,
      offset: [0, left ? -15 : -10],
      formatter: never
        ? 'never back'
        : verdict.release === 0
          ? 'back at once'
          : `back after ${duration(verdict.release)}`
    }
  } as SeriesOption
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

function summary(verdict: Verdict, narrow: boolean): string {
  const parts = [
    narrow || verdict.runtime === null ? '' : fit(clean(verdict.runtime), 16),
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

/** A little above the highest curve, where the pulses are labelled. */
function memoryScale(size: number): Scale {
  return scaleTo(mb(size) * HEADROOM)
}

function secondsOf(runs: readonly Run[]): Scale {
  return scaleTo(seconds(highest(runs, (run) => endOf(run.recording))), 6)
}

/** Of those above nothing; 0 where there is none. */
function lowestOf(samples: readonly Sample[]): number {
  let least = Infinity
  for (const { anonymous } of samples) if (anonymous > 0) least = Math.min(least, anonymous)
  return least === Infinity ? 0 : least
}

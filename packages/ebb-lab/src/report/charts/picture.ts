/** What the charts of servers have in common: a panel per server, each with curves over time. */
import type { EChartsOption, SeriesOption } from 'echarts'
import { clean, fit } from '../../units/text.js'
import type { Run } from '../run.js'
import { type Columns, type Layout, layoutOf } from './layout.js'
import { LIGHT, type Palette } from './palette.js'
import {
  type Chart,
  endOf,
  FONT,
  gridOf,
  HEADROOM,
  headingOf,
  highest,
  interaction,
  type LegendItem,
  legendOf,
  mb,
  panelTitle,
  seconds,
  timeAxis
} from './parts.js'
import { type Scale, scaleTo } from './scale.js'

/** Options of the charts of servers. */
export interface ChartOptions {
  /**
   * Panels side by side. Default: 2. Three are for many servers and for the memory chart only. Its scale is logarithmic
   * then, so that a server of 1 MB can be compared with one of 100 MB.
   */
  columns?: Columns
  /** Adds a zoom slider and tooltips, for the page. Default: false. */
  interactive?: boolean
  /** Default: `LIGHT`. */
  palette?: Palette
}

const NAME_COLUMNS = 40
const NARROW_NAME_COLUMNS = 32

/**
 * Returns what changes in the option of an interactive chart when its panels move to `columns` columns, and the new
 * height.
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

/** Returns a legend item that shows the line without the dot that marks a value under the pointer. */
export function lineItem(name: string): LegendItem {
  return { name, itemStyle: { opacity: 0 } }
}

/** What differs from one chart to the other. */
export interface PictureParts {
  title: string
  subtitle: (run: Run, panel: number) => string
  legend: LegendItem[]
  series: SeriesOption[]
  /** The axis of time, s. */
  end: Scale
  axes: (panel: number) => EChartsOption['yAxis'][]
}

/** Returns the chart of servers: titles, legend, axes and series. */
export function picture(runs: readonly Run[], options: ChartOptions, parts: PictureParts): Chart {
  const { columns = 2, interactive = false, palette = LIGHT } = options
  const layout: Layout = layoutOf(runs.length, columns, interactive)
  const perPanel = parts.axes(0).length
  const titles = layout.panels.map((box, panel) => {
    const run = runs[panel] as Run
    const name = fit(clean(run.verdict.name), columns === 3 ? NARROW_NAME_COLUMNS : NAME_COLUMNS)
    return panelTitle(box, name, parts.subtitle(run, panel), palette)
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

export type LineType = 'solid' | 'dashed' | 'dotted'

/** Returns a curve. Its id has the panel and the name, and the page reads the panel from the id. */
export function curve(
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

/** Returns a scale that ends a little above the highest curve, to leave room for the labels of pulses. */
export function memoryScale(size: number): Scale {
  return scaleTo(mb(size) * HEADROOM)
}

/** Returns the scale of time, s, that all recordings fit into. */
export function timeScale(runs: readonly Run[]): Scale {
  return scaleTo(seconds(highest(runs, (run) => endOf(run.recording))), 6)
}

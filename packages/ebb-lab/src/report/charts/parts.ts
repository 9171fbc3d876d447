/** Parts that all charts have, as ECharts options. */
import type { EChartsOption, GridComponentOption, LegendComponentOption, TitleComponentOption } from 'echarts'
import type { Recording } from '../../record/recording.js'
import type { Layout } from './layout.js'
import type { Palette } from './palette.js'
import type { Scale } from './scale.js'

/** A chart that can be drawn in a page or as an SVG file. */
export interface Chart {
  /**
   * Heading. It is drawn above the panels unless the chart is interactive, because the page has headings of its own.
   */
  title: string
  option: EChartsOption
  /** Height that the panels need, pixels. The width is free. */
  height: number
}

/** Maximum points of a curve. More points are thinned out; lows and highs are kept. */
export const MOST_POINTS = 2000
/** Factor of room above the highest curve. */
export const HEADROOM = 1.04
/** Without quotes, because ECharts writes the names into an SVG attribute without escaping them. */
export const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif'

/** Returns the heading of a chart in a file of its own. */
export function headingOf(text: string, palette: Palette): TitleComponentOption {
  return {
    text,
    left: 12,
    top: 8,
    padding: 0,
    textStyle: { color: palette.text, fontSize: 16, lineHeight: 20, fontWeight: 600 }
  }
}

/** Returns the title of a panel, with its subtitle below. */
export function panelTitle(
  { left, titleTop }: Layout['panels'][number],
  text: string,
  subtext: string,
  palette: Palette
): TitleComponentOption {
  return {
    text,
    subtext,
    left,
    top: titleTop,
    padding: 0,
    itemGap: 2,
    textStyle: { color: palette.text, fontSize: 14, lineHeight: 18, fontWeight: 600 },
    subtextStyle: { color: palette.faint, fontSize: 12, lineHeight: 16 }
  }
}

/** A name in the legend, and how it is marked. */
export interface LegendItem {
  name: string
  icon?: string
  itemStyle?: { opacity?: number; color?: string; borderColor?: string; borderWidth?: number }
}

/** Returns the legend. In a file it is below the heading; the page has a heading of its own. */
export function legendOf(data: LegendItem[], interactive: boolean, palette: Palette): LegendComponentOption {
  return {
    data,
    left: interactive ? 0 : 12,
    top: interactive ? 4 : 36,
    padding: 0,
    itemWidth: 26,
    itemHeight: 10,
    itemGap: 18,
    inactiveColor: palette.grid,
    textStyle: { color: palette.text, fontSize: 12 }
  }
}

/** Returns the axis of time of a panel, in seconds from 0 on. */
export function timeAxis(gridIndex: number, { max, step }: Scale, palette: Palette) {
  return {
    type: 'value' as const,
    gridIndex,
    min: 0,
    max,
    splitNumber: Math.round(max / step),
    axisLine: { show: true, onZero: false, lineStyle: { color: palette.faint } },
    axisTick: { show: true, lineStyle: { color: palette.faint } },
    axisLabel: { color: palette.faint, fontSize: 12, hideOverlap: true, formatter: '{value} s' },
    splitLine: { show: false }
  }
}

/** Returns a vertical axis of a panel, from 0 on. */
export function valueAxis(
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

/** Returns the box that the curves of a panel are drawn in. */
export function gridOf({ left, right, top, height }: Layout['panels'][number]): GridComponentOption {
  // The box has only the curves, without labels, so that all panels have the same size.
  return { left, right, top, height, containLabel: false, outerBoundsMode: 'none' }
}

/**
 * Returns the tooltips and the zoom of an interactive chart. All axes of time zoom together.
 *
 * @param count number of axes of time
 */
export function interaction(count: number, palette: Palette): EChartsOption {
  const xAxisIndex = Array.from({ length: count }, (_, index) => index)
  return {
    axisPointer: { link: [{ xAxisIndex: 'all' }] },
    tooltip: {
      trigger: 'axis',
      confine: true,
      // The page replaces this by a formatter that builds text nodes. Without it, text is drawn, not parsed as HTML.
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

/** Returns the style of a label that can be read on top of a curve. */
export function halo(palette: Palette, color: string): object {
  return { color, fontSize: 12, fontWeight: 600, textBorderColor: palette.background, textBorderWidth: 3 }
}

/** Returns the time of the last line of a recording, ms. */
export function endOf({ samples, events }: Recording): number {
  return Math.max(samples.at(-1)?.t ?? 0, events.at(-1)?.t ?? 0)
}

/** Returns the highest figure of all points, or 0 if there is no point. */
export function highest<T>(points: readonly T[], figure: (point: T) => number): number {
  let most = 0
  for (const point of points) most = Math.max(most, figure(point))
  return most
}

/** Returns milliseconds as seconds, to the microsecond, which is as fine as recordings are. */
export function seconds(ms: number): number {
  return Math.round(ms * 1000) / 1e6
}

/**
 * Returns bytes as MB, to the byte. A label or a tooltip rounds the result once, so that it shows the same figure as
 * the table.
 */
export function mb(size: number): number {
  return size / 1e6
}

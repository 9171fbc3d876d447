/** A chart of one panel with curves over time, made of the parts that the charts of a report have. */
import type { EChartsOption, SeriesOption } from 'echarts'
import { layoutOf } from '../report/charts/layout.js'
import { LIGHT } from '../report/charts/palette.js'
import {
  FONT,
  gridOf,
  HEADROOM,
  highest,
  interaction,
  legendOf,
  panelTitle,
  timeAxis,
  valueAxis
} from '../report/charts/parts.js'
import { curve, type LineType, lineItem } from '../report/charts/picture.js'
import { type Scale, scaleTo } from '../report/charts/scale.js'
import type { Picture } from '../report/page/page.js'
import { clean, fit } from '../units/text.js'

/** A point of a curve: seconds since the beginning, and the value. */
export type Point = [seconds: number, value: number]

/** A curve and how it looks. */
export interface Curve {
  /** Differs from the names of the other curves. */
  name: string
  points: Point[]
  color: string
  type?: LineType
  width?: number
  /** Whether it belongs to the axis on the right. */
  isRight?: boolean
  /** Colour of the area below it. */
  area?: string
}

/** A chart of one panel. */
export interface Panel {
  id: string
  title: string
  caption: string
  /** Names of the axes, left and right, and units of their values in tooltips. */
  axes: { name: string; unit: string }[]
  curves: Curve[]
}

const NAME_COLUMNS = 40

/**
 * Returns the chart.
 *
 * @param subject what the panel is about, as its title
 * @param end where the axis of time ends at the earliest, s
 */
export function panelChart({ id, title, caption, axes, curves }: Panel, subject: string, end: number): Picture {
  const palette = LIGHT
  const layout = layoutOf(1, 2, true)
  const [box] = layout.panels as [(typeof layout.panels)[number]]
  const scales = axes.map((_, side) => {
    const own = curves.filter(({ isRight = false }) => isRight === (side === 1))
    return scaleTo(HEADROOM * highest(own, ({ points }) => highest(points, ([, value]) => value)))
  })
  const option = {
    animation: false,
    backgroundColor: palette.background,
    textStyle: { fontFamily: FONT, color: palette.text },
    title: [panelTitle(box, fit(clean(subject), NAME_COLUMNS), '', palette)],
    legend: legendOf(
      curves.map(({ name, area }) => (area === undefined ? lineItem(name) : { name, icon: 'rect' })),
      true,
      palette
    ),
    grid: [gridOf(box)],
    xAxis: [timeAxis(0, scaleTo(end, 6), palette)],
    yAxis: axes.map(({ name }, side) =>
      valueAxis(0, name, scales[side] as Scale, palette, side === 0 ? 'left' : 'right')
    ),
    series: curves.map(seriesOf),
    ...interaction(1, palette)
  } as EChartsOption
  const units = Object.fromEntries(
    curves.map(({ name, isRight = false }) => [name, axes[isRight ? 1 : 0]?.unit ?? 'count'])
  )
  return { id, title, caption, option, height: layout.height, units }
}

function seriesOf({ name, points, color, type = 'solid', width = 2, isRight = false, area }: Curve): SeriesOption {
  return {
    ...curve(0, name, points, color, width, type),
    yAxisIndex: isRight ? 1 : 0,
    ...(area !== undefined && { areaStyle: { color: area }, z: 1 })
  } as SeriesOption
}

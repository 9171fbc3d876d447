/** Charts of the load that `ebb pulse` makes: connections, latencies, and the memory of the server if it is here. */
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
  mb,
  panelTitle,
  seconds,
  timeAxis,
  valueAxis
} from '../report/charts/parts.js'
import { curve, type LineType, lineItem } from '../report/charts/picture.js'
import { type Scale, scaleTo } from '../report/charts/scale.js'
import type { Picture } from '../report/page/page.js'
import { clean, fit } from '../units/text.js'

/** The load at one time. Latencies are milliseconds, sizes are bytes; null if they are not known. */
export interface LoadPoint {
  /** ms since the run began. */
  t: number
  open: number
  /** Connects per second. */
  rate: number
  /** Quantiles of connect times since the run began. */
  connect: { p50: number; p99: number } | null
  /** Quantiles of times to answers since the run began. */
  answer: { p50: number; p99: number } | null
  memory: { anonymous: number; resident: number } | null
}

/** A curve: its name, its value at a point, and how it looks. */
interface Curve {
  name: string
  value: (point: LoadPoint) => number | null
  color: string
  type?: LineType
  width?: number
  /** Whether it belongs to the axis on the right. */
  isRight?: boolean
  area?: string
}

/** What differs from one chart to another. */
interface Parts {
  id: string
  title: string
  caption: string
  /** Names of the axes, left and right, and units of their values in tooltips. */
  axes: { name: string; unit: string }[]
  curves: Curve[]
}

const NAME_COLUMNS = 40

/** Returns the charts of a load on a server. */
export function loadCharts(points: readonly LoadPoint[], server: string): Picture[] {
  const palette = LIGHT
  const hasAnswers = points.some(({ answer }) => answer !== null)
  const charts: Parts[] = [
    {
      id: 'connections',
      title: 'Connections',
      caption: 'Open: connections that are open now. Connects/s: connections that were opened in the last second.',
      axes: [
        { name: 'open', unit: 'count' },
        { name: '/s', unit: '/s' }
      ],
      curves: [
        { name: 'open', value: ({ open }) => open, color: palette.clients, area: palette.clientsArea },
        { name: 'connects/s', value: ({ rate }) => rate, color: palette.anonymous, isRight: true }
      ]
    },
    {
      id: 'latency',
      title: 'Latency since the run began',
      caption:
        'Quantiles over all connections since the run began. Connect: until a connection is open. Answer: until its ' +
        'answer is complete.',
      axes: [{ name: 'ms', unit: 'ms' }],
      curves: [
        { name: 'connect p99', value: ({ connect }) => connect?.p99 ?? null, color: palette.need },
        { name: 'connect p50', value: ({ connect }) => connect?.p50 ?? null, color: palette.need, type: 'dashed' },
        ...(hasAnswers
          ? ([
              { name: 'answer p99', value: ({ answer }) => answer?.p99 ?? null, color: palette.anonymous },
              {
                name: 'answer p50',
                value: ({ answer }) => answer?.p50 ?? null,
                color: palette.anonymous,
                type: 'dashed'
              }
            ] satisfies Curve[])
          : [])
      ]
    }
  ]
  if (points.some(({ memory }) => memory !== null)) {
    charts.push({
      id: 'server-memory',
      title: 'Memory of the server',
      caption: 'Anonymous memory is what a spike costs; the rest of resident memory is backed by files.',
      axes: [{ name: 'MB', unit: 'MB' }],
      curves: [
        { name: 'anonymous', value: ({ memory }) => bytes(memory?.anonymous), color: palette.anonymous },
        { name: 'resident', value: ({ memory }) => bytes(memory?.resident), color: palette.resident, width: 1 }
      ]
    })
  }
  return charts.map((parts) => chartOf(parts, points, server))
}

function bytes(size: number | undefined): number | null {
  return size === undefined ? null : mb(size)
}

function chartOf({ id, title, caption, axes, curves }: Parts, points: readonly LoadPoint[], server: string): Picture {
  const palette = LIGHT
  const layout = layoutOf(1, 2, true)
  const [box] = layout.panels as [(typeof layout.panels)[number]]
  const end = scaleTo(seconds(points.at(-1)?.t ?? 0), 6)
  const scales = axes.map((_, side) => {
    const own = curves.filter(({ isRight = false }) => isRight === (side === 1))
    return scaleTo(HEADROOM * Math.max(0, ...own.map(({ value }) => highest(points, (point) => value(point) ?? 0))))
  })
  const option = {
    animation: false,
    backgroundColor: palette.background,
    textStyle: { fontFamily: FONT, color: palette.text },
    title: [panelTitle(box, fit(clean(server), NAME_COLUMNS), '', palette)],
    legend: legendOf(
      curves.map(({ name, area }) => (area === undefined ? lineItem(name) : { name, icon: 'rect' })),
      true,
      palette
    ),
    grid: [gridOf(box)],
    xAxis: [timeAxis(0, end, palette)],
    yAxis: axes.map(({ name }, side) =>
      valueAxis(0, name, scales[side] as Scale, palette, side === 0 ? 'left' : 'right')
    ),
    series: curves.map((one) => seriesOf(one, points)),
    ...interaction(1, palette)
  } as EChartsOption
  const units = Object.fromEntries(
    curves.map(({ name, isRight = false }) => [name, axes[isRight ? 1 : 0]?.unit ?? 'count'])
  )
  return { id, title, caption, option, height: layout.height, units }
}

function seriesOf(
  { name, value, color, type = 'solid', width = 2, isRight = false, area }: Curve,
  points: readonly LoadPoint[]
): SeriesOption {
  const data = points.flatMap((point): [number, number][] => {
    const at = value(point)
    return at === null ? [] : [[seconds(point.t), at]]
  })
  return {
    ...curve(0, name, data, color, width, type),
    yAxisIndex: isRight ? 1 : 0,
    ...(area !== undefined && { areaStyle: { color: area }, z: 1 })
  } as SeriesOption
}

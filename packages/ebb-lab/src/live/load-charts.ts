/** Charts of the load that `ebb pulse` makes: connections, latencies, and the memory of the server if it is here. */
import { LIGHT } from '../report/charts/palette.js'
import { mb, seconds } from '../report/charts/parts.js'
import type { Picture } from '../report/page/page.js'
import { type Curve, type Panel, type Point, panelChart } from './panel.js'

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

/** Returns the charts of a load on a server. */
export function loadCharts(points: readonly LoadPoint[], server: string): Picture[] {
  const palette = LIGHT
  const pointsOf = (value: (point: LoadPoint) => number | null): Point[] =>
    points.flatMap((point): Point[] => {
      const at = value(point)
      return at === null ? [] : [[seconds(point.t), at]]
    })
  const hasAnswers = points.some(({ answer }) => answer !== null)
  const charts: Panel[] = [
    {
      id: 'connections',
      title: 'Connections',
      caption: 'Open: connections that are open now. Connects/s: connections that were opened in the last second.',
      axes: [
        { name: 'open', unit: 'count' },
        { name: '/s', unit: '/s' }
      ],
      curves: [
        { name: 'open', points: pointsOf(({ open }) => open), color: palette.clients, area: palette.clientsArea },
        { name: 'connects/s', points: pointsOf(({ rate }) => rate), color: palette.anonymous, isRight: true }
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
        { name: 'connect p99', points: pointsOf(({ connect }) => connect?.p99 ?? null), color: palette.need },
        {
          name: 'connect p50',
          points: pointsOf(({ connect }) => connect?.p50 ?? null),
          color: palette.need,
          type: 'dashed'
        },
        ...(hasAnswers
          ? ([
              { name: 'answer p99', points: pointsOf(({ answer }) => answer?.p99 ?? null), color: palette.anonymous },
              {
                name: 'answer p50',
                points: pointsOf(({ answer }) => answer?.p50 ?? null),
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
        { name: 'anonymous', points: pointsOf(({ memory }) => bytes(memory?.anonymous)), color: palette.anonymous },
        {
          name: 'resident',
          points: pointsOf(({ memory }) => bytes(memory?.resident)),
          color: palette.resident,
          width: 1
        }
      ]
    })
  }
  return charts.map((panel) => panelChart(panel, server, seconds(points.at(-1)?.t ?? 0)))
}

function bytes(size: number | undefined): number | null {
  return size === undefined ? null : mb(size)
}

/** The chart of the runtime's view of memory: a pure function of the runs. Sizes are in MB, times in s. */
import type { SeriesOption } from 'echarts'
import type { Recording } from '../../record/recording.js'
import { integer } from '../../units/format.js'
import { pulsesOf } from '../phases.js'
import type { Run } from '../run.js'
import { LIGHT, type Palette } from './palette.js'
import { type Chart, endOf, HEADROOM, highest, MOST_POINTS, mb, seconds, valueAxis } from './parts.js'
import { type ChartOptions, curve, type LineType, lineItem, memoryScale, picture, timeScale } from './picture.js'
import { scaleTo } from './scale.js'
import { thin } from './thin.js'

/** The runtime's view of its memory at one time. */
interface View {
  t: number
  system: number
  inuse: number
  released: number
}

/** The number of clients from a time on. */
interface Clients {
  t: number
  clients: number
}

const VIEW_FIGURES: ((view: View) => number)[] = [(v) => v.system, (v) => v.inuse, (v) => v.released]

/**
 * Draws the runtime's view of memory (system, in use, released) and the number of clients over time, from the server's
 * Cycle lines or Go's expvar. If a server reports no number of clients, takes it from the pulses.
 */
export function runtimeChart(runs: readonly Run[], options: ChartOptions = {}): Chart {
  const palette = options.palette ?? LIGHT
  const views = runs.map((run) => thin(viewsOf(run.recording), MOST_POINTS, VIEW_FIGURES))
  const crowds = runs.map((run) => thin(crowdOf(run.recording), MOST_POINTS, [(point) => point.clients]))
  const memory = memoryScale(highest(views.flat(), (view) => Math.max(view.system, view.inuse, view.released)))
  const clients = scaleTo(highest(crowds.flat(), (point) => point.clients) * HEADROOM)
  const end = timeScale(runs)

  const series = runs.flatMap((run, panel) => seriesOf(run, panel, views[panel] ?? [], crowds[panel] ?? [], palette))

  return picture(runs, options, {
    title: 'Memory as the runtime reports it, and the number of clients',
    subtitle: (run, panel) =>
      (views[panel] ?? []).length > 0
        ? `${integer(run.verdict.connects)} connections in total`
        : 'reports nothing about its runtime: no Cycle lines, no expvar',
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

/** Returns the curves of a panel. Each is a step that holds its value until the next line of the server. */
function seriesOf(
  run: Run,
  panel: number,
  views: readonly View[],
  crowd: readonly Clients[],
  palette: Palette
): SeriesOption[] {
  // The last value holds until the end of the recording.
  const until = seconds(endOf(run.recording))
  const step = { step: 'end' as const }
  const memory = (name: string, figure: (view: View) => number, color: string, width: number, type: LineType) => {
    const points = views.map((view): [number, number] => [seconds(view.t), mb(figure(view))])
    return { ...curve(panel, name, extended(points, until), color, width, type), ...step }
  }
  const clients = crowd.map(({ t, clients }): [number, number] => [seconds(t), clients])
  return [
    {
      ...curve(panel, 'clients', extended(clients, until), palette.clients, 1, 'solid'),
      ...step,
      yAxisIndex: panel * 2 + 1,
      areaStyle: { color: palette.clientsArea },
      z: 1
    },
    memory('system', ({ system }) => system, palette.system, 1.5, 'solid'),
    memory('in use', ({ inuse }) => inuse, palette.anonymous, 2, 'solid'),
    memory('released', ({ released }) => released, palette.released, 1.5, 'dashed')
  ] as SeriesOption[]
}

/** Returns the runtime's view of memory over time. */
function viewsOf({ events }: Recording): View[] {
  return events.filter((event) => event.event === 'cycle' || event.event === 'runtime')
}

/** Returns the number of clients over time, as the server reports it, else as the pulses have it. */
function crowdOf(recording: Recording): Clients[] {
  const reported = recording.events.filter((event) => event.event === 'cycle')
  if (reported.length > 0) return reported
  return pulsesOf(recording).flatMap((pulse) => [
    { t: pulse.startsAt, clients: 0 },
    ...(pulse.connectedAt === null ? [] : [{ t: pulse.connectedAt, clients: pulse.connected }]),
    ...(pulse.closedAt === null ? [] : [{ t: pulse.closedAt, clients: 0 }])
  ])
}

/** Returns the points, the last value continued until a time. */
function extended(points: [number, number][], until: number): [number, number][] {
  const last = points.at(-1)
  return last && last[0] < until ? [...points, [until, last[1]]] : points
}

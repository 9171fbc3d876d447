/** The chart of memory over time: a pure function of the runs. Sizes are in MB, times in s. */
import type { EChartsOption, SeriesOption } from 'echarts'
import type { Sample } from '../../record/recording.js'
import { duration, footprint, integer, megabytes, ratio, short } from '../../units/format.js'
import { clean, fit } from '../../units/text.js'
import { clientWord } from '../clients.js'
import { pulsesOf } from '../phases.js'
import type { Run } from '../run.js'
import type { Verdict } from '../verdict.js'
import { LIGHT, type Palette } from './palette.js'
import { type Chart, endOf, halo, highest, MOST_POINTS, mb, seconds, valueAxis } from './parts.js'
import { type ChartOptions, curve, lineItem, memoryScale, picture, timeScale } from './picture.js'
import { decadesOf, type Scale } from './scale.js'
import { thin } from './thin.js'

const SAMPLE_FIGURES: ((sample: Sample) => number)[] = [(s) => s.resident, (s) => s.anonymous]

/**
 * Draws resident and anonymous memory over time, with a line at need and a mark where memory was back. Pulses are
 * shaded, lighter while they connect and close.
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
  const end = timeScale(runs)

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

function logarithmicAxis(
  panel: number,
  name: string,
  { min, max }: { min: number; max: number },
  palette: Palette
): EChartsOption['yAxis'] {
  return { ...valueAxis(panel, name, { max, step: 1 }, palette, 'left'), type: 'log', min } as EChartsOption['yAxis']
}

/** Returns the shaded pulses. In a narrow chart, only big pulses have a label with their number of connections. */
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

/** Returns the line at need. In a narrow chart it has no label, which would cover the curve. */
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
        formatter: `need ${megabytes(verdict.need)}`
      },
      data: verdict.need === null ? [] : [{ yAxis: shown(verdict.need) }]
    }
  } as SeriesOption
}

/** Returns a diamond where memory is back for good; if it never is, at the end of the curve, with a label. */
function releaseMark(
  { recording, verdict }: Run,
  panel: number,
  palette: Palette,
  end: Scale,
  shown: (size: number) => number
): SeriesOption {
  const closedAt = pulsesOf(recording).findLast((pulse) => pulse.size === 'big')?.closedAt ?? null
  const never = verdict.release === Infinity
  let point: Sample | undefined
  if (verdict.release !== null && closedAt !== null) {
    const backAt = closedAt + verdict.release
    point = never ? recording.samples.at(-1) : recording.samples.find((sample) => sample.t >= backAt)
  }
  // Near the right edge, the label is on the left.
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
      formatter: releaseLabel(verdict.release)
    }
  } as SeriesOption
}

function releaseLabel(release: number | null): string {
  if (release === Infinity) return 'never back'
  return release === 0 ? 'back at once' : `back after ${duration(release)}`
}

/** Returns the title: what the pulses were, if all runs had the same pulses. */
function headline(runs: readonly Run[]): string {
  const verdict = runs[0]?.verdict
  const pulses =
    verdict && verdict.big > 0
      ? `: ${integer(verdict.big)} ${clientWord(verdict.protocol)}s × ${verdict.iterations}`
      : ''
  const small = pulses !== '' && verdict && verdict.small > 0 ? `, then ${integer(verdict.small)}` : ''
  const alike = runs.every(
    ({ verdict: v }) => v.big === verdict?.big && v.small === verdict.small && v.iterations === verdict.iterations
  )
  return `Memory of the server${alike ? pulses + small : ''}`
}

function summary(verdict: Verdict, narrow: boolean): string {
  const parts = [
    // With the number of runs, there is no room for the runtime on a phone.
    narrow || verdict.runtime === null || verdict.runs !== undefined ? '' : fit(clean(verdict.runtime), 16),
    verdict.retention === null ? '' : `retention ${ratio(verdict.retention)}`,
    verdict.footprint === null ? '' : `${footprint(verdict.footprint)} per ${clientWord(verdict.protocol)}`,
    verdict.runs === undefined ? '' : `${verdict.runs} runs`
  ]
  return parts.filter((part) => part !== '').join(' · ')
}

/** Returns the lowest anonymous memory above 0, or 0 if there is none. */
function lowestOf(samples: readonly Sample[]): number {
  let least = Infinity
  for (const { anonymous } of samples) if (anonymous > 0) least = Math.min(least, anonymous)
  return least === Infinity ? 0 : least
}

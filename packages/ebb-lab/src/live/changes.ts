/** Finds what has changed from one view to the next, so that only this is sent. */
import type { SentView } from './view.js'

/** What has changed in a chart. */
interface ChartChange {
  /** Parts of the option that differ, except the series. */
  option?: Record<string, unknown>
  /** Series that differ in more than their points, without the points. */
  series?: Record<string, unknown>[]
  /** Points of series: those from the index `from` on are replaced by `add`. */
  points?: { id: string; from: number; add: unknown[] }[]
}

/** What has changed in a view. */
export interface Changes {
  status?: string
  texts?: Record<string, string>
  labels?: Record<string, string>
  /** By the chart's id. */
  charts?: Record<string, ChartChange>
}

/**
 * Returns what turns `before` into `after`; `null` if nothing has changed, and `'all'` if the page has to be built
 * anew, because it has other elements or other curves.
 */
export function changesOf(before: SentView, after: SentView): Changes | null | 'all' {
  if (frameOf(before) !== frameOf(after)) return 'all'
  const changes: Changes = {}
  if (before.status !== after.status) changes.status = after.status
  const texts = changed(before.texts, after.texts)
  if (texts !== null) changes.texts = texts
  const labels = changed(before.labels, after.labels)
  if (labels !== null) changes.labels = labels
  const charts: Record<string, ChartChange> = {}
  for (const [i, chart] of after.charts.entries()) {
    const change = chartChange(optionOf(before.charts[i]), optionOf(chart))
    if (change !== null) charts[chart.id] = change
  }
  if (Object.keys(charts).length > 0) changes.charts = charts
  return Object.keys(changes).length > 0 ? changes : null
}

/** An option as far as it matters here. */
interface Option {
  series: Series[]
  rest: Record<string, unknown>
}

interface Series extends Record<string, unknown> {
  id: string
  data: unknown[]
}

function optionOf(chart: SentView['charts'][number] | undefined): Option {
  const { series, ...rest } = (chart?.option ?? {}) as Record<string, unknown> & { series?: Series[] }
  return { series: series ?? [], rest }
}

/** Returns everything that can only be changed by building the page anew, as text to compare. */
function frameOf(view: SentView): string {
  const { title, html, state, names, layouts, charts } = view
  const curves = charts.map((chart) => [chart.id, chart.units, optionOf(chart).series.map(({ id }) => id)])
  return JSON.stringify([title, html, state, names, layouts, curves])
}

function chartChange(before: Option, after: Option): ChartChange | null {
  const change: ChartChange = {}
  const option = changed(before.rest, after.rest)
  if (option !== null) change.option = option
  const series: Record<string, unknown>[] = []
  const points: NonNullable<ChartChange['points']> = []
  for (const [i, { data, ...look }] of after.series.entries()) {
    const { data: old = [], ...oldLook } = before.series[i] ?? {}
    if (JSON.stringify(oldLook) !== JSON.stringify(look)) series.push(look)
    const from = commonPoints(old, data)
    if (from < old.length || from < data.length) points.push({ id: look.id, from, add: data.slice(from) })
  }
  if (series.length > 0) change.series = series
  if (points.length > 0) change.points = points
  return Object.keys(change).length > 0 ? change : null
}

/** Returns how many points at the beginning are the same. */
function commonPoints(before: readonly unknown[], after: readonly unknown[]): number {
  const most = Math.min(before.length, after.length)
  let count = 0
  while (count < most && isSame(before[count], after[count])) count++
  return count
}

/** Compares two points: pairs of numbers, or objects. */
function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true
  if (Array.isArray(one) && Array.isArray(other)) return one[0] === other[0] && one[1] === other[1]
  return JSON.stringify(one) === JSON.stringify(other)
}

/** Returns the values of `after` that differ; null if there are none. The keys stay the same while the frame does. */
function changed<T>(before: Readonly<Record<string, T>>, after: Readonly<Record<string, T>>): Record<string, T> | null {
  const entries = Object.entries(after).filter(([key, value]) => {
    const old = before[key]
    return old !== value && JSON.stringify(old) !== JSON.stringify(value)
  })
  return entries.length > 0 ? Object.fromEntries(entries) : null
}

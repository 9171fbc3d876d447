/**
 * Metrics: how they are defined, and how their values are written as OpenMetrics text
 * (https://prometheus.io/docs/specs/om/open_metrics_spec/).
 */

/** Labels of a value, by name. */
type Labels = Readonly<Record<string, string>>

/** What a metric is. Its name follows OpenTelemetry, with dots. */
export interface Metric {
  readonly name: string
  /** `updown`: a sum that also falls, which Prometheus calls a gauge. */
  readonly kind: 'counter' | 'updown' | 'gauge' | 'histogram'
  /** In UCUM, as OpenTelemetry has it: bytes, seconds, a share, or what is counted. */
  readonly unit: 'By' | 's' | '1' | `{${string}}`
  readonly help: string
  /** Names of its labels. */
  readonly labels?: readonly string[]
  /** Upper bounds of the buckets of a histogram, without infinity. */
  readonly bounds?: readonly number[]
}

/** One value of a metric. */
export interface Point {
  readonly labels?: Labels
  readonly value: number
}

/** One histogram of a metric. */
interface Distribution {
  readonly labels?: Labels
  /** Number of values in each bucket, and at the end, of those above all bounds. */
  readonly counts: readonly number[]
  readonly sum: number
}

/** A metric with its values. */
export type Reading =
  | { readonly metric: Metric & { kind: 'counter' | 'updown' | 'gauge' }; readonly points: readonly Point[] }
  | { readonly metric: Metric & { kind: 'histogram' }; readonly points: readonly Distribution[] }

/** A value as Prometheus has it. */
export interface Sample {
  /** What follows the name of the metric, after an underscore. */
  suffix: '' | 'bucket' | 'count' | 'sum'
  labels: Labels
  value: number
}

const UNITS: Record<string, string> = { By: 'bytes', s: 'seconds' }

/** Returns a name with what follows it, if anything does. */
export function joined(name: string, suffix: string): string {
  return suffix === '' ? name : `${name}_${suffix}`
}

/** Returns a name as Prometheus has it: `v8js.heap.space.name` is `v8js_heap_space_name`. */
function prometheusLabel(name: string): string {
  return name.replace(/\W/g, '_')
}

/** Returns the name of a metric as Prometheus has it, with its unit, without the `_total` of a counter. */
export function prometheusName({ name, unit, kind }: Metric): string {
  const suffix = unit === '1' && kind === 'gauge' ? 'ratio' : (UNITS[unit] ?? '')
  return joined(prometheusLabel(name), suffix)
}

/** Returns the type of a metric as Prometheus has it. */
export function prometheusType({ kind }: Metric): 'counter' | 'gauge' | 'histogram' {
  return kind === 'updown' ? 'gauge' : kind
}

/** Returns the samples of a metric. Its values that are not numbers are left out. */
export function samplesOf(reading: Reading): Sample[] {
  const { metric, points } = reading
  if (metric.kind !== 'histogram') {
    const finite = (points as readonly Point[]).filter(({ value }) => Number.isFinite(value))
    return finite.map(({ labels, value }) => ({ suffix: '', labels: prometheusLabels(labels), value }))
  }
  return (points as readonly Distribution[]).flatMap(({ labels, counts, sum }) => {
    const own = prometheusLabels(labels)
    const bounds = [...(metric.bounds ?? []).map(String), '+Inf']
    let count = 0
    const buckets = bounds.map((le, at): Sample => {
      count += counts[at] ?? 0
      return { suffix: 'bucket', labels: { ...own, le }, value: count }
    })
    return [
      ...buckets,
      { suffix: 'count', labels: own, value: count },
      { suffix: 'sum', labels: own, value: sum }
    ] satisfies Sample[]
  })
}

function prometheusLabels(labels: Labels = {}): Labels {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [prometheusLabel(name), value]))
}

/** Returns OpenMetrics text without the closing `# EOF`, so that other metrics can follow it. */
export function openMetrics(readings: readonly Reading[]): string {
  const lines = readings.flatMap((reading) => {
    const { metric } = reading
    const name = prometheusName(metric)
    return [
      `# HELP ${name} ${metric.help}`,
      `# TYPE ${name} ${prometheusType(metric)}`,
      ...samplesOf(reading).map(
        ({ suffix, labels, value }) =>
          `${joined(name, metric.kind === 'counter' ? 'total' : suffix)}${labelText(labels)} ${value}`
      )
    ]
  })
  return `${lines.join('\n')}\n`
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** Returns a value as it stands between quotation marks. */
function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`))
}

/** Metrics as a registry of prom-client has them. It takes any such object, so nothing of prom-client is loaded. */
import { joined, type Metric, prometheusName, prometheusType, type Reading, samplesOf } from '../govern/open-metrics.js'
import { checkMethods } from '../sys/arguments.js'
import { invalidArgument } from '../sys/errors.js'

/** What is used of a `Registry` of prom-client. */
export interface PromRegistry {
  /** Adds a metric. */
  registerMetric(metric: never): void
  /** Returns the metric of this name. */
  getSingleMetric(name: string): unknown
  /** Removes the metric of this name. */
  removeSingleMetric(name: string): void
}

const METHODS: (keyof PromRegistry)[] = ['registerMetric', 'getSingleMetric', 'removeSingleMetric']

/** What a registry asks a metric for. */
interface PromValues {
  name: string
  help: string
  type: string
  aggregator: string
  values: { metricName?: string; labels: Record<string, string>; value: number }[]
}

/** A metric of a registry. Its values are read when the registry asks for them. */
class PromMetric {
  /** A registry takes `_total` from it when it writes OpenMetrics. */
  name: string
  readonly help: string
  readonly type: string
  /** How a registry of a cluster puts the values of processes together. */
  readonly aggregator: string
  readonly #read: () => Reading

  constructor(name: string, metric: Metric, read: () => Reading) {
    this.name = name
    this.help = metric.help
    this.type = prometheusType(metric)
    this.aggregator = metric.kind === 'gauge' ? 'max' : 'sum'
    this.#read = read
  }

  async get(): Promise<PromValues> {
    const { name, help, type, aggregator } = this
    const values = samplesOf(this.#read()).map(({ suffix, labels, value }) => ({
      ...(suffix !== '' && { metricName: joined(name, suffix) }),
      labels: { ...labels },
      value
    }))
    return { name, help, type, aggregator, values }
  }

  /** `registry.resetMetrics()` leaves the values alone: they are those of the process. */
  reset(): void {}
}

/**
 * Registers metrics. @returns a function that removes them
 *
 * @param read returns the values of a metric
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `registry` is none, or has a metric of that name; then it gets none
 */
export function registerAt(
  registry: PromRegistry,
  metrics: readonly Metric[],
  read: (metric: Metric) => Reading
): () => void {
  checkMethods(registry, METHODS, 'register() takes a registry of prom-client, such as its export "register"')
  const all = metrics.map((metric) => {
    const name = joined(prometheusName(metric), metric.kind === 'counter' ? 'total' : '')
    return { name, promMetric: new PromMetric(name, metric, () => read(metric)) }
  })
  for (const { name } of all) {
    if (registry.getSingleMetric(name) === undefined) continue
    throw invalidArgument(`the registry has a metric ${name} already: call register() once for each registry`)
  }
  for (const { promMetric } of all) registry.registerMetric(promMetric as never)
  return () => {
    for (const { name, promMetric } of all) {
      if (registry.getSingleMetric(name) === promMetric) registry.removeSingleMetric(name)
    }
  }
}

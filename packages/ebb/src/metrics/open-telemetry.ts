/** Metrics as observable instruments of OpenTelemetry. Nothing of `@opentelemetry/api` is loaded. */
import type { Metric, Reading } from '../govern/open-metrics.js'
import { checkMethods } from '../sys/arguments.js'
import { GC_DURATION, type Runtime } from './runtime.js'

/** What an instrument measures. */
export interface InstrumentOptions {
  /** What its values mean. */
  description: string
  /** Its unit, in UCUM. */
  unit: string
}

/** A histogram of OpenTelemetry. */
export interface Histogram {
  /** Adds a value. */
  record(value: number, attributes?: Record<string, string>): void
}

/** Gets the values of instruments in a collection. */
export interface Observer {
  /** Sets the value of an instrument. */
  observe(instrument: never, value: number, attributes?: Record<string, string>): void
}

/** Options of a histogram. */
export interface HistogramOptions extends InstrumentOptions {
  /** Hints for how its values are kept. */
  advice?: {
    /** Upper bounds of its buckets. */
    explicitBucketBoundaries?: number[]
  }
}

/** What is used of a `Meter` of `@opentelemetry/api`. */
export interface Meter {
  /** Makes a counter. */
  createObservableCounter(name: string, options?: InstrumentOptions): unknown
  /** Makes a sum that may fall. */
  createObservableUpDownCounter(name: string, options?: InstrumentOptions): unknown
  /** Makes a gauge. */
  createObservableGauge(name: string, options?: InstrumentOptions): unknown
  /** Makes a histogram. */
  createHistogram(name: string, options?: HistogramOptions): Histogram
  /** Has a function called in each collection. */
  addBatchObservableCallback(callback: (observer: Observer) => void, instruments: never[]): void
  /** Undoes {@link addBatchObservableCallback}. */
  removeBatchObservableCallback(callback: (observer: Observer) => void, instruments: never[]): void
}

const METHODS: (keyof Meter)[] = [
  'createObservableCounter',
  'createObservableUpDownCounter',
  'createObservableGauge',
  'createHistogram',
  'addBatchObservableCallback',
  'removeBatchObservableCallback'
]

/**
 * Makes instruments for metrics. @returns a function that removes their values
 *
 * @param read returns the values of all metrics
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `meter` is none
 */
export function observeWith(
  meter: Meter,
  metrics: readonly Metric[],
  read: () => readonly Reading[],
  runtime: Runtime | undefined
): () => void {
  checkMethods(meter, METHODS, 'observe() takes a Meter of @opentelemetry/api, such as metrics.getMeter("app")')
  const instruments = new Map<string, never>()
  for (const metric of metrics)
    if (metric.kind !== 'histogram') instruments.set(metric.name, make(meter, metric) as never)
  const callback = (observer: Observer): void => {
    for (const { metric, points } of read()) {
      const instrument = instruments.get(metric.name)
      if (instrument === undefined || metric.kind === 'histogram') continue
      for (const point of points) {
        if ('value' in point && Number.isFinite(point.value))
          observer.observe(instrument, point.value, { ...point.labels })
      }
    }
  }
  const all = [...instruments.values()]
  meter.addBatchObservableCallback(callback, all)
  const stopRecording = runtime === undefined ? undefined : recordCollections(meter, runtime)
  return () => {
    meter.removeBatchObservableCallback(callback, all)
    stopRecording?.()
  }
}

function make(meter: Meter, { name, kind, unit, help }: Metric): unknown {
  const options = { description: help, unit }
  if (kind === 'counter') return meter.createObservableCounter(name, options)
  if (kind === 'updown') return meter.createObservableUpDownCounter(name, options)
  return meter.createObservableGauge(name, options)
}

/** OpenTelemetry has no observable histogram, so each collection is recorded. */
function recordCollections(meter: Meter, runtime: Runtime): () => void {
  const { name, unit, help, bounds, labels } = GC_DURATION
  const advice = { explicitBucketBoundaries: [...bounds] }
  const histogram = meter.createHistogram(name, { description: help, unit, advice })
  const listener = (seconds: number, type: string): void => histogram.record(seconds, { [labels[0]]: type })
  runtime.gcListeners.add(listener)
  return () => void runtime.gcListeners.delete(listener)
}

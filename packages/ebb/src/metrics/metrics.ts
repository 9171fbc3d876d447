/** `metrics()`: the figures of servers, governor, handovers and runtime, for collectors of metrics. */
import { type Metric, openMetrics, type Reading } from '../govern/open-metrics.js'
import type { ProcessGovernor } from '../govern/process-governor.js'
import { checkBoolean, checkObject } from '../sys/arguments.js'
import { invalidArgument, shown } from '../sys/errors.js'
import { warnOfUnknown } from '../sys/unknown.js'
import { readHandovers } from './handovers.js'
import { type Meter, observeWith } from './open-telemetry.js'
import { type PromRegistry, registerAt } from './prom-client.js'
import { Releases } from './releases.js'
import { Runtime } from './runtime.js'
import { type MeteredServers, ServersReader } from './servers.js'

/** Options of {@link metrics}. All are optional. */
export interface MetricsOptions {
  /**
   * Servers whose connections are counted: one, a list, or an object with a name for each, which is the label `server`.
   * In a list, the names are numbers from 0 on. Default: none.
   */
  servers?: MeteredServers
  /** Governor that `govern()` returned. Default: the governor that runs in this thread, for example by `ebb/auto`. */
  governor?: ProcessGovernor
  /**
   * Whether there are metrics of V8, the event loop and the process. The delay of the event loop is measured every 10
   * ms, by a timer of Node. Default: true.
   */
  runtime?: boolean
}

const OPTIONS = Object.keys({ servers: 0, governor: 0, runtime: 0 } satisfies Record<keyof MetricsOptions, 0>)

/** The metrics of this thread. Made by {@link metrics}. */
export interface Metrics {
  /** Content type of {@link text}. */
  readonly contentType: string
  /** Reads all metrics, and returns them as OpenMetrics text with the closing `# EOF`. */
  text(): string
  /**
   * Registers all metrics at a registry of `prom-client`, which reads them at each collection.
   *
   * @returns a function that removes them
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for anything but a registry, and if the registry has a metric of the
   *   same name; then it gets none
   */
  register(registry: PromRegistry): () => void
  /**
   * Makes instruments of all metrics with a `Meter` of `@opentelemetry/api`, which reads them at each collection.
   *
   * @returns a function that stops it
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for anything but a `Meter`
   */
  observe(meter: Meter): () => void
  /** Stops measuring garbage collections and the event loop, and counting releases. May be called again. */
  stop(): void
}

const CONTENT_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/**
 * Returns the metrics of this thread. Values are read when they are collected: between two collections, they cost
 * nothing per connection.
 *
 * ```ts
 * const all = metrics({ servers: { web: server } })
 * http.createServer((_request, response) => {
 *   response.setHeader('content-type', all.contentType).end(all.text())
 * }).listen(9464)
 * ```
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid
 */
export function metrics(options: MetricsOptions = {}): Metrics {
  checkObject(options, 'options of metrics()')
  warnOfUnknown(options, OPTIONS, 'metrics()')
  const { servers, governor, runtime = true } = options
  checkBoolean(runtime, 'runtime')
  if (governor !== undefined && typeof governor?.stats !== 'function') {
    throw invalidArgument(`governor of metrics() must be what govern() has returned, not ${shown(governor)}`)
  }
  return new ThreadMetrics(servers === undefined ? undefined : new ServersReader(servers), governor, runtime)
}

class ThreadMetrics implements Metrics {
  readonly contentType = CONTENT_TYPE
  readonly #servers: ServersReader | undefined
  readonly #releases: Releases
  readonly #runtime: Runtime | undefined
  /** What was read in this turn: a registry asks for each metric on its own. */
  #latest: Reading[] | undefined

  constructor(servers: ServersReader | undefined, governor: ProcessGovernor | undefined, runtime: boolean) {
    this.#servers = servers
    this.#releases = new Releases(governor)
    this.#runtime = runtime ? new Runtime() : undefined
  }

  #read(): Reading[] {
    const servers = this.#servers?.read() ?? []
    return [...this.#releases.read(), ...servers, ...readHandovers(), ...(this.#runtime?.read() ?? [])]
  }

  /** Reads all metrics at the first call in a turn. */
  readonly #readOnce = (): Reading[] => {
    if (this.#latest === undefined) {
      this.#latest = this.#read()
      queueMicrotask(() => {
        this.#latest = undefined
      })
    }
    return this.#latest
  }

  text(): string {
    return `${openMetrics(this.#read().filter(({ points }) => points.length > 0))}# EOF\n`
  }

  register(registry: PromRegistry): () => void {
    const known = this.#readOnce()
    const read = (metric: Metric): Reading =>
      this.#readOnce().find((reading) => reading.metric.name === metric.name) as Reading
    return registerAt(
      registry,
      known.map(({ metric }) => metric),
      read
    )
  }

  observe(meter: Meter): () => void {
    const known = this.#readOnce().map(({ metric }) => metric)
    return observeWith(meter, known, this.#readOnce, this.#runtime)
  }

  stop(): void {
    this.#releases.stop()
    this.#runtime?.stop()
  }
}

/** Shows a run while it lasts: on the terminal, as a stream of JSON, and to Prometheus. */
import type { Latencies } from '../../pulse/latencies.js'
import type { ServerMemory } from '../../pulse/open-metrics.js'
import type { RunStats } from '../../pulse/watched-crowd.js'
import type { WatchFlags } from '../options/watch.js'
import { Live } from './live.js'
import { type MetricsServer, serveMetrics } from './metrics-server.js'
import type { Terminal } from './terminal.js'

/** Everything that shows a run. */
export class Watch {
  readonly live: Live
  readonly #begin = performance.now()
  readonly #isStream: boolean
  readonly #metrics: MetricsServer | undefined

  private constructor(live: Live, isStream: boolean, metrics: MetricsServer | undefined) {
    this.live = live
    this.#isStream = isStream
    this.#metrics = metrics
  }

  /** @throws LabError (the errno) if `--metrics` cannot be served */
  static async open({ jsonStream = false, metrics }: WatchFlags, terminal: Terminal): Promise<Watch> {
    const server = metrics === undefined ? undefined : await serveMetrics(metrics)
    if (server !== undefined) terminal.line(`Metrics at ${server.url}`)
    return new Watch(new Live(terminal), jsonStream, server)
  }

  /** Shows statistics. `about` says in the stream which run they belong to. */
  stats(stats: RunStats, latencies: Latencies, server: ServerMemory | null, about: object = {}): void {
    this.live.stats(stats, server)
    this.#metrics?.update(stats, latencies, server)
    const { t: _, ...counts } = stats
    this.stream('stats', { ...about, ...counts, server })
  }

  /** Writes an object to the stream of JSON, if there is one, with the milliseconds since the beginning. */
  stream(type: string, value: object): void {
    if (!this.#isStream) return
    process.stdout.write(`${JSON.stringify({ type, t: performance.now() - this.#begin, ...value })}\n`)
  }
}

/** An HTTP endpoint for Prometheus: the statistics of a run as OpenMetrics. */
import { createServer } from 'node:http'
import type { Latencies } from '../../pulse/latencies.js'
import { CONTENT_TYPE, openMetrics, type ServerMemory } from '../../pulse/open-metrics.js'
import type { RunStats } from '../../pulse/watched-crowd.js'
import { codeOf, LabError } from '../../units/errors.js'

/** An endpoint that answers until the process ends, and does not keep the process running. */
export interface MetricsServer {
  /** URL of the metrics. */
  url: string
  /** Sets what is answered from now on. */
  update(stats: RunStats, latencies: Latencies, server: ServerMemory | null): void
}

/**
 * Listens for Prometheus. Before the first statistics, the answer has no metrics.
 *
 * @throws LabError (the errno) if the address cannot be used
 */
export async function serveMetrics({ host, port }: { host: string; port: number }): Promise<MetricsServer> {
  let text = (): string => '# EOF\n'
  const server = createServer((request, response) => {
    const isMetrics = request.url === '/metrics' || request.url === '/'
    response.writeHead(isMetrics ? 200 : 404, { 'content-type': isMetrics ? CONTENT_TYPE : 'text/plain' })
    response.end(isMetrics ? text() : 'the metrics are at /metrics\n')
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new LabError(
          `cannot listen on ${host}:${port} for --metrics: give another port, or 0 for a free one`,
          codeOf(error),
          error.syscall,
          error
        )
      )
    )
    server.listen(port, host, resolve)
  })
  server.unref()
  const bound = (server.address() as { port: number }).port
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}/metrics`,
    update: (stats, latencies, memory) => {
      text = () => openMetrics(stats, latencies, memory)
    }
  }
}

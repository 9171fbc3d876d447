/** `metrics()` of a governor and metrics of prom-client on one endpoint form one valid text, in both formats. */
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { govern, release } from 'ebb'
import { Counter, collectDefaultMetrics, Histogram, Registry, type RegistryContentType } from 'prom-client'
import { expect, onTestFinished, test } from 'vitest'
import { families } from './support/metrics.js'

test.each([
  ['Prometheus text', Registry.PROMETHEUS_CONTENT_TYPE],
  ['OpenMetrics', Registry.OPENMETRICS_CONTENT_TYPE]
])('%s', async (_, format) => {
  const register = new Registry<RegistryContentType>()
  register.setContentType(format)
  collectDefaultMetrics({ register })
  new Counter({ name: 'requests_total', help: 'Requests.', registers: [register] }).inc()
  new Histogram({ name: 'request_seconds', help: 'Time of a request.', registers: [register] }).observe(0.1)
  const governing = govern({ pressure: false })
  const server = http.createServer(async (_request, response) => {
    response.setHeader('content-type', register.contentType)
    response.end(governing.metrics() + (await register.metrics()))
  })
  onTestFinished(() => {
    governing.stop()
    server.close()
    register.clear()
  })
  await release()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`)
  expect(answer.headers.get('content-type')).toBe(format)
  const text = await answer.text()
  expect(text.split('\n').filter((line) => line === '# EOF')).toHaveLength(format.includes('openmetrics') ? 1 : 0)
  if (format.includes('openmetrics')) expect(text.endsWith('\n# EOF\n')).toBe(true)
  const all = families(text)
  expect(all.get('ebb_releases')).toEqual({ type: 'counter', samples: Array(5).fill('ebb_releases_total') })
  expect(text).toContain('ebb_releases_total{reason="asked"} 1\n')
  expect(all.get('process_resident_memory_bytes')?.type).toBe('gauge')
  expect(all.get('request_seconds')?.type).toBe('histogram')
})

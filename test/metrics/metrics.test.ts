/** `ebb/metrics`: the text, `prom-client`, OpenTelemetry and the table of the documentation say the same. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { type CollectionResult, DataPointType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import * as conventions from '@opentelemetry/semantic-conventions/incubating'
import { govern, listen, type Parked, park, release } from 'ebb'
import { type Metrics, type MetricsOptions, metrics } from 'ebb/metrics'
import { createServer } from 'ebb/net'
import { hibernate } from 'ebb/websocket'
import { parkWebSockets } from 'ebb/ws'
import { collectDefaultMetrics, Gauge, Registry, type RegistryContentType } from 'prom-client'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { ROOT } from '../support/cli.js'
import { families } from '../support/metrics.js'

const SOON = { timeout: 30_000, interval: 10 }

/** Metrics that are stopped after the test. */
function metered(options?: MetricsOptions): Metrics {
  const all = metrics(options)
  onTestFinished(() => all.stop())
  return all
}

/** Returns the value of a sample, such as `ebb_connections{server="a"}`: of the one that has these labels. */
function sample(text: string, name: string, labels: Record<string, string> = {}): number | undefined {
  const quoted = (value: string): string => value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${quoted(value)}"`)
  const line = text
    .split('\n')
    .find((line) => /^[^{ ]+/.exec(line)?.[0] === name && pairs.every((pair) => line.includes(pair)))
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1))
}

interface Documented {
  name: string
  prometheus: string
  kind: string
  labels: string[]
}

/** The table of docs/reference/metrics.md. */
const DOCUMENTED = readFileSync(join(ROOT, 'docs/reference/metrics.md'), 'utf8')
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter((cells) => cells.length === 7 && /^`[a-z0-9_]+(?:\.[a-z0-9_]+)+`$/.test(cells[1] ?? ''))
  .map(([, name = '', prometheus = '', kind = '', labels = '']): Documented => {
    const bare = (cell: string): string => cell.replaceAll('`', '')
    return {
      name: bare(name),
      prometheus: bare(prometheus),
      kind,
      labels: bare(labels).split(', ').filter(Boolean).sort()
    }
  })

async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A server of each kind that there is. */
async function servers(): Promise<MetricsOptions['servers']> {
  const web = park(http.createServer((_, response) => response.end()))
  await listening(web)
  const raw = createServer((socket) => socket.pipe(socket))
  await listening(raw)
  const bare = listen({ port: 0 })
  const hub = hibernate({ port: 0 })
  const sockets = new WebSocketServer({ port: 0 })
  parkWebSockets(sockets)
  onTestFinished(async () => {
    sockets.close()
    await Promise.all([bare.close(), hub.close()])
  })
  return { web, raw, bare, hub, sockets }
}

/** Collects what an SDK of OpenTelemetry has. */
class Reader extends MetricReader {
  protected async onForceFlush(): Promise<void> {}
  protected async onShutdown(): Promise<void> {}
}

interface Instrument {
  kind: string
  unit: string
  points: { attributes: Record<string, unknown>; value: unknown }[]
}

function instruments({ resourceMetrics }: CollectionResult): Map<string, Instrument> {
  const all = resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics)
  return new Map(
    all.map((data) => {
      const isSum = data.dataPointType === DataPointType.SUM
      const kind =
        isSum && data.isMonotonic ? 'counter' : data.dataPointType === DataPointType.HISTOGRAM ? 'histogram' : 'gauge'
      return [
        data.descriptor.name,
        { kind, unit: data.descriptor.unit, points: data.dataPoints as Instrument['points'] }
      ]
    })
  )
}

describe('the table of the documentation', () => {
  test('has what the text has: names, kinds and labels', async () => {
    const all = metered({ servers: (await servers()) ?? [] })
    await release()
    let text = all.text()
    // The event loop's delay is there after its first measurement.
    while (!text.includes('nodejs_eventloop_delay_min_seconds')) {
      await wait(50)
      text = all.text()
    }
    expect(text.endsWith('\n# EOF\n')).toBe(true)
    const found = [...families(text)].map(([name, { type }]) => ({
      prometheus: type === 'counter' ? `${name}_total` : name,
      kind: type,
      labels: [
        ...new Set(
          [...text.matchAll(new RegExp(`^${name}(?:_total|_bucket)?\\{(.*)\\}`, 'gm'))].flatMap(([, pairs = '']) =>
            [...pairs.matchAll(/(\w+)="/g)].map(([, label]) => label)
          )
        )
      ]
        .filter((label) => label !== 'le')
        .sort()
    }))
    expect(found).toEqual(
      DOCUMENTED.map(({ prometheus, kind, labels }) => ({
        prometheus,
        kind,
        labels: labels.map((label) => label.replaceAll('.', '_')).sort()
      }))
    )
  })

  test('has what an SDK of OpenTelemetry collects, with the units of the Prometheus names', async () => {
    const reader = new Reader()
    const provider = new MeterProvider({ readers: [reader] })
    onTestFinished(() => provider.shutdown())
    const all = metered({ servers: (await servers()) ?? [] })
    const stop = all.observe(provider.getMeter('ebb'))
    await release()
    let found = instruments(await reader.collect())
    // The event loop's delay is there after its first measurement.
    while (!found.has('nodejs.eventloop.delay.min')) {
      await wait(50)
      found = instruments(await reader.collect())
    }
    for (const { name, prometheus, kind, labels } of DOCUMENTED) {
      const instrument = found.get(name)
      expect([name, instrument?.kind]).toEqual([name, kind])
      const attributes = [...new Set(instrument?.points.flatMap((point) => Object.keys(point.attributes)))].sort()
      expect([name, ...attributes]).toEqual([name, ...labels])
      const { unit } = instrument as Instrument
      const suffix = { By: '_bytes', s: '_seconds', 1: '_ratio' }[unit] ?? ''
      expect(prometheus).toBe(`${name.replaceAll('.', '_')}${suffix}${kind === 'counter' ? '_total' : ''}`)
    }
    expect(found.size).toBe(DOCUMENTED.length)
    stop()
    // An SDK reports the last value of what it no longer observes.
    const uptime = async (): Promise<unknown> =>
      instruments(await reader.collect()).get('process.uptime')?.points[0]?.value
    expect(await uptime()).toBe(await uptime())
  })

  test('names and labels outside of ebb are those of the semantic conventions', () => {
    const known = new Set<unknown>(Object.values(conventions))
    const foreign = DOCUMENTED.filter(({ name }) => !name.startsWith('ebb.'))
    expect(foreign.length).toBeGreaterThan(15)
    expect(foreign.flatMap(({ name, labels }) => [name, ...labels]).filter((name) => !known.has(name))).toEqual([])
  })
})

test('a Prometheus exporter of OpenTelemetry writes the values that the text has', async () => {
  const reader = new Reader()
  const provider = new MeterProvider({ readers: [reader] })
  onTestFinished(() => provider.shutdown())
  const hostile = 'a "name"\\with\nall'
  const server = park(http.createServer((_, response) => response.end()))
  const port = await listening(server)
  const all = metered({ servers: { [hostile]: server }, runtime: false })
  all.observe(provider.getMeter('ebb'))
  const agent = new http.Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  const [response] = (await once(http.get({ port, agent }), 'response')) as [http.IncomingMessage]
  await once(response.resume(), 'end')
  const exported = new PrometheusSerializer().serialize((await reader.collect()).resourceMetrics)
  const labels = { server: hostile, protocol: 'http' }
  for (const text of [exported, all.text()]) {
    expect(sample(text, 'ebb_connection_accepted_total', labels)).toBe(1)
    expect(sample(text, 'ebb_connections', { ...labels, state: 'awake' })).toBe(1)
  }
  families(all.text())
})

describe.each([
  ['Prometheus text', Registry.PROMETHEUS_CONTENT_TYPE],
  ['OpenMetrics', Registry.OPENMETRICS_CONTENT_TYPE]
])('prom-client, %s', (_, format) => {
  test('has all metrics beside its default ones, and reads them at each collection', async () => {
    const registry = new Registry<RegistryContentType>()
    registry.setContentType(format)
    onTestFinished(() => registry.clear())
    collectDefaultMetrics({ register: registry })
    const server = createServer((socket) => socket.pipe(socket))
    const port = await listening(server)
    const all = metered({ servers: { echo: server } })
    const remove = all.register(registry)
    const before = await registry.metrics()
    expect(sample(before, 'ebb_connection_accepted_total', { server: 'echo' })).toBe(0)
    const client = net.connect(port, '127.0.0.1').on('error', () => {})
    onTestFinished(() => void client.destroy())
    client.write('x')
    await once(client, 'data')
    const text = await registry.metrics()
    const found = families(text)
    for (const { prometheus, kind } of DOCUMENTED) {
      const name = format === Registry.OPENMETRICS_CONTENT_TYPE ? prometheus.replace(/_total$/, '') : prometheus
      expect([name, found.get(name)?.type]).toEqual([name, kind])
    }
    expect(found.get('process_resident_memory_bytes')?.type).toBe('gauge')
    expect(sample(text, 'ebb_connection_accepted_total', { server: 'echo', protocol: 'tcp' })).toBe(1)
    expect(sample(text, 'ebb_connections', { server: 'echo', state: 'awake' })).toBe(1)
    expect(sample(text, 'v8js_gc_duration_seconds_bucket', { v8js_gc_type: 'minor', le: '+Inf' })).toBe(
      sample(text, 'v8js_gc_duration_seconds_count', { v8js_gc_type: 'minor' })
    )
    expect(() => all.register(registry)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
    registry.resetMetrics()
    expect(sample(await registry.metrics(), 'ebb_connection_accepted_total', { server: 'echo' })).toBe(1)
    remove()
    expect([...families(await registry.metrics()).keys()].filter((name) => name.startsWith('ebb_'))).toEqual([])
    all.register(registry)()
  })
})

test('a registry that has a metric of the same name gets none', () => {
  const registry = new Registry()
  onTestFinished(() => registry.clear())
  new Gauge({ name: 'process_uptime_seconds', help: 'Other.', registers: [registry] })
  expect(() => metered().register(registry)).toThrow(/process_uptime_seconds/)
  expect(registry.getMetricsAsArray()).toHaveLength(1)
})

/** The counters of a text, by sample. */
function counters(text: string): Map<string, number> {
  const names = [...families(text)].filter(([, { type }]) => type === 'counter').map(([name]) => `${name}_total`)
  const lines = text
    .split('\n')
    .filter((line) => names.some((name) => line.startsWith(`${name} `) || line.startsWith(`${name}{`)))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))])
  )
}

test('no counter falls when servers close and listen again, governors end, and memory is released', async () => {
  const web = park(http.createServer((_, response) => response.end('x')))
  const plain = http.createServer()
  const sockets = new WebSocketServer({ server: plain })
  parkWebSockets(sockets)
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
  const all = metered({ servers: { web, sockets } })
  let last = counters(all.text())
  const step = async (act: () => unknown): Promise<void> => {
    await act()
    const now = counters(all.text())
    for (const [name, value] of last) expect([name, (now.get(name) ?? -1) >= value]).toEqual([name, true])
    last = now
  }
  const ask = async (): Promise<void> => {
    const { port } = web.address() as AddressInfo
    await (await fetch(`http://127.0.0.1:${port}/`)).text()
  }
  const open = async (): Promise<WebSocket> => {
    const socket = new WebSocket(`ws://127.0.0.1:${(plain.address() as AddressInfo).port}`)
    await once(socket, 'open')
    socket.send('x')
    await once(socket, 'message')
    return socket
  }
  for (let round = 0; round < 2; round++) {
    await step(async () => {
      web.listen(0, '127.0.0.1')
      await once(web, 'listening')
      await ask()
    })
    const governor = govern({ pressure: false })
    await step(() => release())
    await step(() => governor.stop())
    await step(async () => {
      web.close()
      web.closeAllConnections()
      await once(web, 'close')
    })
  }
  await listening(plain)
  await step(open)
  // From now on, something else holds the connections of this server.
  const parked = park(plain)
  await step(open)
  expect(last.get('ebb_connection_accepted_total{server="sockets",protocol="http"}')).toBe(2)
  expect(last.get('ebb_releases_total{reason="asked"}')).toBeGreaterThanOrEqual(2)
  for (const client of sockets.clients) client.terminate()
  await step(() => vi.waitFor(() => expect(parked.stats().awake + parked.stats().parked).toBe(0), SOON))
})

test('WebSockets count as such, and listen() has its connections', async () => {
  const hub = hibernate({ port: 0 })
  const bare = listen({ port: 0 })
  onTestFinished(async () => {
    await Promise.all([hub.close(), bare.close()])
  })
  const all = metered({ servers: { hub, bare }, runtime: false })
  const { port } = hub.server.address() as AddressInfo
  const socket = new WebSocket(`ws://127.0.0.1:${port}`)
  await once(socket, 'open')
  const client = net.connect((bare.address as AddressInfo).port, '127.0.0.1')
  await vi.waitFor(() => expect(bare.clients).toBe(1), SOON)
  const text = all.text()
  const count = (labels: Record<string, string>): number | undefined => sample(text, 'ebb_connections', labels)
  expect(count({ server: 'hub', protocol: 'websocket', state: 'parked' })).toBe(1)
  expect(count({ server: 'hub', protocol: 'http', state: 'parked' })).toBe(0)
  expect(count({ server: 'bare', protocol: 'tcp', state: 'open' })).toBe(1)
  expect(sample(text, 'ebb_connection_accepted_total', { server: 'bare' })).toBe(1)
  expect(text).not.toContain('v8js')
  socket.terminate()
  client.destroy()
})

test('without servers there are none, a single server is 0, and a list has numbers', () => {
  expect(metered({ runtime: false }).text()).not.toContain('ebb_connection')
  const server = park(net.createServer()) as net.Server & Parked
  expect(sample(metered({ servers: server }).text(), 'ebb_connection_accepted_total', { server: '0' })).toBe(0)
  expect(sample(metered({ servers: [server] }).text(), 'ebb_connection_accepted_total', { server: '0' })).toBe(0)
})

test.each([
  [{ servers: 1 }, /servers of metrics\(\) must be/],
  [{ servers: { a: {} } }, /server a of metrics\(\) must be a server/],
  [{ servers: [null] }, /server 0 of metrics\(\) must be a server/],
  [{ servers: new WebSocketServer({ noServer: true }) }, /give its HTTP server/],
  [{ governor: {} }, /governor of metrics\(\)/],
  [{ governor: null }, /governor of metrics\(\)/],
  [{ runtime: 1 }, /runtime must be true or false/]
])('refuses %o', (options, sentence) => {
  expect(() => metrics(options as MetricsOptions)).toThrow(sentence)
  expect(() => metrics(options as MetricsOptions)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
})

/**
 * The examples of metrics, scraped by a real Prometheus: each expression of the dashboard has data, and the rules hold.
 */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { metrics } from 'ebb/metrics'
import { Registry } from 'prom-client'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { Cli, ROOT } from '../support/cli.js'
import { families } from '../support/metrics.js'
import { startPrometheus } from '../support/prometheus.js'

const SOON = { timeout: 30_000, interval: 100 }
const EXAMPLES = join(ROOT, 'examples/prometheus')

interface Panel {
  id: number
  type: string
  title: string
  description?: string
  datasource?: { uid: string }
  gridPos: { h: number; w: number; x: number; y: number }
  fieldConfig?: { defaults: { unit: string } }
  targets?: { refId: string; expr: string; datasource: { uid: string } }[]
}

const DASHBOARD = JSON.parse(readFileSync(join(EXAMPLES, 'grafana-dashboard.json'), 'utf8')) as {
  uid: string
  schemaVersion: number
  panels: Panel[]
  templating: { list: { name: string; type: string; datasource?: { uid: string }; definition?: string }[] }
}
const CHARTS = DASHBOARD.panels.filter(({ type }) => type !== 'row')
const DATASOURCE = `\${datasource}`

/** Starts an example, and returns its URL. */
async function example(name: string): Promise<{ cli: Cli; url: string }> {
  const cli = new Cli([process.execPath, join(ROOT, 'examples', name)], { env: { PORT: '0' } })
  const [, url = ''] = await cli.said(/^Listening on (http:\/\/127\.0\.0\.1:\d+)\n/m)
  return { cli, url }
}

const hasPrometheus = ['prometheus', 'promtool'].every((name) => spawnSync(name, ['--version']).status === 0)

describe('the dashboard', () => {
  test('has panels that Grafana can show: ids, places, units, descriptions, and a variable as data source', () => {
    const { panels, templating } = DASHBOARD
    expect(DASHBOARD.schemaVersion).toBeGreaterThanOrEqual(36)
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    const taken = new Set<string>()
    for (const { gridPos, title } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x} ${y}`), title).toBe(false)
          taken.add(`${x} ${y}`)
        }
      }
    }
    expect(CHARTS.length).toBeGreaterThan(10)
    for (const { title, description, datasource, fieldConfig, targets = [] } of CHARTS) {
      expect(description?.length, title).toBeGreaterThan(20)
      expect(fieldConfig?.defaults.unit, title).toMatch(/^(?:short|ops|bytes|Bps|s|percentunit)$/)
      expect(datasource?.uid, title).toBe(DATASOURCE)
      expect(targets.length, title).toBeGreaterThan(0)
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length)
      for (const target of targets) expect(target.datasource.uid, title).toBe(DATASOURCE)
    }
    expect(templating.list.map(({ name, type }) => [name, type])).toEqual([
      ['datasource', 'datasource'],
      ['job', 'query'],
      ['instance', 'query']
    ])
  })
})

describe.skipIf(!hasPrometheus)('Prometheus', () => {
  test('the rules are valid, and promtool test rules passes', () => {
    for (const args of [
      ['check', 'rules', 'ebb.rules.yml'],
      ['test', 'rules', 'ebb.rules.test.yml'],
      ['check', 'config', 'prometheus.yml']
    ]) {
      const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: EXAMPLES, encoding: 'utf8' })
      expect([args.join(' '), status, status === 0 ? '' : stdout + stderr]).toEqual([args.join(' '), 0, ''])
    }
  })

  test('promtool check metrics finds nothing in the names of ebb', async () => {
    const all = metrics({ servers: { web: http.createServer() } })
    const registry = new Registry()
    all.register(registry)
    onTestFinished(() => {
      all.stop()
      registry.clear()
    })
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: await registry.metrics(), encoding: 'utf8' })
    // OpenTelemetry's conventions have names that end with `count`.
    const problems = checked.stderr
      .split('\n')
      .filter((line) => !/^(?:process_\w+_count .*"_count" suffix)?$/.test(line))
    expect(problems).toEqual([])
    expect(checked.stdout).toBe('')
  })

  test('scrapes the examples, and each expression of dashboard and rules has data', async () => {
    const [fastify, express] = await Promise.all([example('fastify-metrics.mjs'), example('express-metrics.mjs')])
    for (const { url } of [fastify, express]) {
      expect(await (await fetch(`${url}/`)).json()).toEqual({ hello: 'world' })
      const answer = await fetch(`${url}/metrics`)
      expect(answer.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
      expect(families(await answer.text()).get('ebb_connections')?.type).toBe('gauge')
    }
    const socket = new WebSocket(`${express.url.replace('http', 'ws')}/hub`)
    onTestFinished(() => socket.terminate())
    await once(socket, 'open')

    const targets = [fastify, express].map(({ url }) => new URL(url).host)
    const prometheus = await startPrometheus({
      global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
      rule_files: [join(EXAMPLES, 'ebb.rules.yml')],
      scrape_configs: [{ job_name: 'ebb', static_configs: [{ targets }] }]
    })
    const { ask, query } = prometheus
    const expressions = CHARTS.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const))
    const plain = (expression: string): string =>
      expression.replaceAll('$__rate_interval', '1m').replaceAll(/\$(?:job|instance)/g, '.+')
    for (const [title, expr] of expressions) {
      await vi.waitFor(
        async () => expect([title, expr, (await query(plain(expr))).length > 0]).toEqual([title, expr, true]),
        SOON
      )
    }
    const count = async (labels: string): Promise<number> =>
      Number((await query(`sum(ebb_connections{${labels}})`))[0]?.value[1])
    await vi.waitFor(async () => expect(await count('protocol="websocket",state="parked"')).toBe(1), SOON)
    await vi.waitFor(
      async () => expect(await query('job_instance_server:ebb_connection_parked:ratio')).not.toEqual([]),
      SOON
    )
    // A scrape of a busy machine may time out.
    await vi.waitFor(async () => expect((await query('up == 1')).length).toBe(2), SOON)
    await vi.waitFor(async () => {
      const { groups } = (await ask('rules')) as { groups: { rules: { name: string; health: string }[] }[] }
      const rules = groups.flatMap(({ rules }) => rules)
      expect(rules.map(({ name, health }) => [name, health])).toEqual(rules.map(({ name }) => [name, 'ok']))
    }, SOON)
    // Variables of the dashboard: label_values(metric, label).
    for (const { definition } of DASHBOARD.templating.list) {
      const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition ?? '') ?? []
      if (definition === undefined) continue
      const values = label === 'job' ? ['ebb'] : targets.toSorted()
      await vi.waitFor(async () => {
        const found = await query(`count by (${label}) (${plain(selector)})`)
        expect([label, found.map(({ metric }) => metric[label]).sort()]).toEqual([label, values])
      }, SOON)
    }
    await prometheus.end()
    socket.terminate()
    for (const { cli } of [fastify, express]) {
      expect(await cli.end('SIGTERM')).toMatchObject({ code: 0, signal: null, stderr: '' })
    }
  })
})

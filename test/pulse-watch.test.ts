/** Watching a run: the table on a terminal, the stream of JSON, and metrics, which a real Prometheus scrapes. */
import { spawnSync } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Cli, ebb, MAIN, run, server } from './support/cli.js'
import { families } from './support/metrics.js'
import { startPrometheus } from './support/prometheus.js'

interface Line {
  type: string
  t: number
  [field: string]: unknown
}

test('--json-stream ends with its reader', async () => {
  const cli = await server()
  const plan = ['--big', '10', '--small', '10', '--pulses', 'forever', '-l', '50ms', '-bs=50ms', '-ss=50ms']
  const pulse = ebb(['pulse', `127.0.0.1:${cli.port}`, ...plan, '--json-stream'])
  await pulse.said(/"closed"/)
  pulse.process.stdout?.destroy()
  expect(await pulse.ended).toMatchObject({ code: 0, signal: null })
})

test.each([1, 2])('--json-stream prints events and statistics, and the result last: %i processes', async (procs) => {
  const cli = await server()
  const plan = ['--big', '300', '--rate', '200', '-i', '1', '--pulses', '0', '-l', '1200ms', '--procs', String(procs)]
  const { code, stdout } = await run(['pulse', `127.0.0.1:${cli.port}`, ...plan, '--churn', '50', '--json-stream'])
  expect(code).toBe(0)
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
  const of = (type: string): Line[] => lines.filter((line) => line.type === type)
  for (const type of ['pulse', 'connected', 'closing', 'closed', 'result'])
    expect([type, of(type).length]).toEqual([type, 1])
  expect(lines.at(-1)).toMatchObject({ type: 'result', pulses: 1, failed: {}, stopped: null })
  expect(lines.map(({ t }) => t)).toEqual(lines.map(({ t }) => t).sort((a, b) => a - b))
  const stats = of('stats')
  // The 1.5 s of connecting have one, with the latencies so far.
  expect(stats.length).toBeGreaterThanOrEqual(3)
  expect(stats[0]).toMatchObject({ failed: 0, lost: 0, answers: null })
  expect((stats[0] as Line).connected).toBeGreaterThan(0)
  expect((stats[0] as Line).connected).toBeLessThan(300)
  expect((stats[0] as Line).latency).not.toBe(null)
  expect(stats[0]).toHaveProperty('server.anonymous')
  const { connected, replaced } = lines.at(-1) as Line
  expect(stats.at(-1)).toMatchObject({ open: 0, connected, replaced })
})

test('a table on a terminal of 80 columns, and the result below it', async () => {
  const cli = await server()
  const command = `stty cols 80 rows 24; "${process.execPath}" "${MAIN}" pulse ${cli.port} --ramp 100/1500ms -l 1`
  const { code, stdout } = await new Cli(['script', '-qec', command, '/dev/null']).ended
  expect(code).toBe(0)
  expect(stdout).toMatch(/^ +open +connects\/s +p50 +p99 +failed +lost +late +server/m)
  expect(stdout).toMatch(/^ +\d+ +\d+ +[\d.]+ ms +[\d.]+ m?s +0 +0 +\d+ +[\d.]+ MB/m)
  const lines = stdout.split('\u001b[').flatMap((part) => part.replace(/^\d*[A-Z]/, '').split(/[\r\n]+/))
  for (const line of lines) expect(line.length).toBeLessThan(80)
  // The table is erased before the result is printed.
  expect(stdout.split('\u001b[0J').at(-1)).toMatch(/^connected +100\r$/m)
})

/** Starts a run that holds 120 connections, with metrics. */
async function holding(): Promise<{ pulse: Cli; url: string }> {
  const cli = await server()
  const plan = ['--big', '120', '-i', '1', '--pulses', '0', '-l', '1h', '--churn', '20/s', '--metrics', ':0']
  const pulse = ebb(['pulse', `127.0.0.1:${cli.port}`, ...plan])
  const [, url = ''] = await pulse.said(/^Metrics at (http:\/\/127\.0\.0\.1:\d+\/metrics)$/m)
  await pulse.said(/120 connected/)
  return { pulse, url }
}

test('--metrics serves OpenMetrics', async () => {
  const { pulse, url } = await holding()
  let text = ''
  do {
    const answer = await fetch(url)
    expect(answer.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
    text = await answer.text()
    expect(text.endsWith('# EOF\n')).toBe(true)
  } while (!text.includes('ebb_pulse_open_connections 120'))
  const all = families(text)
  expect([...all.keys()].every((name) => name.startsWith('ebb_pulse_'))).toBe(true)
  expect(all.get('ebb_pulse_connections')?.samples).toEqual(['ebb_pulse_connections_total'])
  const value = (name: string): number =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1]
    )
  const buckets = [...text.matchAll(/^ebb_pulse_connect_seconds_bucket\{le="([^"]+)"\} (\d+)$/gm)].map(([, , n]) =>
    Number(n)
  )
  expect(buckets).toEqual(buckets.toSorted((a, b) => a - b))
  expect(buckets.at(-1)).toBe(value('ebb_pulse_connect_seconds_count'))
  expect(value('ebb_pulse_connect_seconds_count')).toBe(value('ebb_pulse_connections_total'))
  expect(value('ebb_pulse_connect_seconds_sum')).toBeGreaterThan(0)
  expect(value('ebb_pulse_server_anonymous_bytes')).toBeGreaterThan(0)
  expect((await fetch(url.replace('metrics', 'x'))).status).toBe(404)
  expect(await pulse.end('SIGINT')).toMatchObject({ code: 0 })
})

test.skipIf(spawnSync('prometheus', ['--version']).status !== 0)('a Prometheus scrapes the metrics', async () => {
  const { pulse, url } = await holding()
  const targets = [new URL(url).host]
  const prometheus = await startPrometheus({
    scrape_configs: [
      { job_name: 'ebb', scrape_interval: '500ms', scrape_timeout: '500ms', static_configs: [{ targets }] }
    ]
  })
  const ask = async (name: string): Promise<number | undefined> => {
    const [series] = await prometheus.query(name)
    return series === undefined ? undefined : Number(series.value[1])
  }
  while ((await ask('ebb_pulse_open_connections')) !== 120) await wait(100)
  expect(await ask('up')).toBe(1)
  expect(await ask('ebb_pulse_connections_total')).toBeGreaterThanOrEqual(120)
  expect(await ask('histogram_quantile(0.99, ebb_pulse_connect_seconds_bucket)')).toBeGreaterThan(0)
  await prometheus.end()
  await pulse.end('SIGINT')
})

test('a port for metrics that is in use is an error before the run', async () => {
  const cli = await server()
  const { code, stdout, stderr } = await run(['pulse', `${cli.port}`, '--metrics', `:${cli.port}`])
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(/^ebb: EADDRINUSE: cannot listen on 127\.0\.0\.1:\d+ for --metrics: give another port/)
  expect(cli.clients()).toBe(0)
})

test.each([
  [['--json', '--json-stream'], /leave out --json/],
  [['--metrics', 'here'], /it must be :PORT/]
])('refuses %j', async (args, sentence) => {
  const { code, stderr } = await run(['pulse', '1', ...args])
  expect(code).toBe(1)
  expect(stderr).toMatch(sentence)
})

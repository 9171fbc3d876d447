/** `ebb pulse`: makes pulses of connections to a server. */
import { Command } from 'commander'
import { BENCH_PLAN } from '../../experiment/experiment.js'
import { LoadRun } from '../../live/load-run.js'
import { total } from '../../pulse/causes.js'
import type { LevelStep } from '../../pulse/drive.js'
import type { Quantiles } from '../../pulse/histogram.js'
import { type LoadOptions, sendLoad } from '../../pulse/load.js'
import { type PulseEvent, type PulseReport, sendPulses, succeeded } from '../../pulse/pulse.js'
import { sendResumably } from '../../pulse/swarm/resumable.js'
import type { Target } from '../../pulse/target.js'
import { defined } from '../../units/defined.js'
import { duration, integer } from '../../units/format.js'
import { clean } from '../../units/text.js'
import { dashed } from '../options/dashes.js'
import { hasLivePage, type LiveFlags, liveOptions } from '../options/live.js'
import { NATS_ENVIRONMENT } from '../options/nats.js'
import { type ConnectFlags, connectOf, connectOptions, type PlanFlags, planOf, planOptions } from '../options/plan.js'
import { type ShapeFlags, shapeOf, shapeOptions } from '../options/shape.js'
import { type ResumableFlags, resumableOptions, resume, swarmOptions, withSwarm } from '../options/swarm.js'
import { parseServer, ValueError } from '../options/values.js'
import { checkWatch, type WatchFlags, watchOptions } from '../options/watch.js'
import { causes, counted } from '../output/causes.js'
import { columnsOf, swarmRows, targetRows } from '../output/columns.js'
import { EXIT } from '../output/exit-codes.js'
import type { Live } from '../output/live.js'
import { withLivePage } from '../output/live-page.js'
import { remedies, remedyOfNothing } from '../output/remedies.js'
import { ServerProbe } from '../output/server-memory.js'
import { interruption, Terminal, whileWritable } from '../output/terminal.js'
import { trafficRows } from '../output/traffic.js'
import { Watch } from '../output/watch.js'

/** Returns the command `ebb pulse`. */
export function pulseCommand(): Command {
  const command = new Command('pulse')
    .description('Open many connections to a server, hold them, close them: big pulses first, then small ones.')
    .argument(
      '[server...]',
      'URL (tcp, tls, http, https, ws, wss, mqtt, mqtts), HOST:PORT, PORT on 127.0.0.1, or the path of a Unix socket; ' +
        'several share the connections',
      (text: string, before: Target[] = []) => [...before, parseServer(text)]
    )
  planOptions(command, BENCH_PLAN, true)
  shapeOptions(command)
  connectOptions(command)
  swarmOptions(command)
  resumableOptions(command)
  return liveOptions(watchOptions(command.optionsGroup('Output:').option('--json', 'print the result as JSON')))
    .addHelpText(
      'after',
      `
The defaults are those of "ebb bench". Times are in seconds unless they have a
unit: 250ms, 4s, 2m. Options may also be written with one dash and "=":
  ebb pulse 127.0.0.1:3033 -big=10000 -i 3 -bs=30 -small=1000 -ss=20 -l 4

A URL says what the connections speak:
  ebb pulse ws://localhost:3033/chat -big=10k --message "hello {id}" \\
    --every 30s --ping 20s
  ebb pulse https://example.org/ -big=1k --every 5s --header "Accept: text/html"
  ebb pulse mqtt://user:secret@broker --subscribe "to/{id}" \\
    --topic "from/{id}" --message "{n}" --qos 1

With agents on several machines that use the same NATS server:
  ebb pulse 10.0.0.5:3033 --swarm lab --nats nats://10.0.0.1:4222 -big=100k
${NATS_ENVIRONMENT}

Exit codes: 0 if every connection was made and held, 2 if some failed or were
lost, 4 if an agent was lost.`
    )
    .action(run)
}

interface Flags extends PlanFlags, ShapeFlags, ConnectFlags, ResumableFlags, WatchFlags, LiveFlags {}

async function run(servers: Target[], flags: Flags): Promise<void> {
  checkWatch(flags)
  const terminal = new Terminal()
  const { signal: interrupted } = interruption()
  const signal = flags.jsonStream ? whileWritable(interrupted) : interrupted
  const names = servers.map(({ text }) => text).join(', ')
  const page = hasLivePage(flags) ? new LoadRun(names === '' ? 'the server of the run' : names) : null
  await withLivePage(flags, page, { terminal, signal }, () => send(servers, flags, page, { terminal, signal }))
}

/** Sends the load and prints its result. */
async function send(
  [server, ...others]: Target[],
  flags: Flags,
  page: LoadRun | null,
  { terminal, signal }: { terminal: Terminal; signal: AbortSignal }
): Promise<void> {
  const shape = shapeOf(flags)
  const connect = {
    ...connectOf(flags, server === undefined ? [] : [server, ...others]),
    ...defined({ churn: flags.churn }),
    ...(others.length > 0 && { others })
  }
  const watch = await Watch.open(flags, terminal)
  const watched = watchedBy(watch, server, page)
  let report: PulseReport | null
  if (flags.resume !== undefined) {
    checkNothingElse(server, flags)
    report = await resume({ ...flags, resume: flags.resume }, terminal, signal, watched.onEvent)
  } else {
    if (server === undefined) throw new ValueError(`missing required argument 'server': run "ebb pulse --help"`)
    const plan = { ...BENCH_PLAN, ...planOf(flags) }
    const resumable = shape === undefined && flags.churn === undefined
    report = await withSwarm({ flags, connect, terminal, signal, resumable }, (how, newRun) => {
      const options = { ...how, signal, ...watched }
      if (shape !== undefined) return sendLoad(server, shape, options)
      return newRun === undefined || how.swarm === undefined
        ? sendPulses(server, plan, options)
        : sendResumably(server, plan, { ...options, swarm: how.swarm }, newRun)
    })
  }
  if (report === null) return
  page?.finish(resultRows(report))
  if (report.stopped === 'nobody answers') terminal.line(nobodyAnswers(server, report))
  if (flags.jsonStream) watch.stream('result', jsonOf(report))
  else process.stdout.write(flags.json ? `${JSON.stringify(jsonOf(report))}\n` : `${columnsOf(resultRows(report))}\n`)
  if (report.stopped !== 'nobody answers') for (const text of remedies(report)) terminal.line(`note: ${text}`)
  if (report.swarm?.degraded) process.exitCode = EXIT.degraded
  else if (!succeeded(report)) process.exitCode = EXIT.failures
}

/** @throws ValueError if `--resume` is given with a server, a plan or connection options: the run has its own */
function checkNothingElse(server: Target | undefined, flags: Flags): void {
  const given = [...Object.keys(planOf(flags)), ...Object.keys(connectOf(flags))]
  if (server === undefined && given.length === 0) return
  const [name] = given
  const what = server !== undefined ? 'the server' : name === 'sources' ? '--source' : dashed(name ?? '')
  throw new ValueError(`--resume goes on with the server and the plan of the run: leave out ${what}`)
}

/** Returns the listeners that show a run. */
function watchedBy(
  watch: Watch,
  server: Target | undefined,
  page: LoadRun | null
): Required<Pick<LoadOptions, 'onStats' | 'onEvent' | 'onLevel'>> {
  const probe = server === undefined ? null : ServerProbe.of(server.address)
  const print = progress(watch.live)
  return {
    onStats: (stats, latencies) => {
      const memory = probe?.read() ?? null
      page?.addStats(stats, memory)
      watch.stats(stats, latencies, memory)
    },
    onEvent: (event) => {
      const { event: type, ...rest } = event
      watch.stream(type, rest)
      page?.onEvent(event)
      print(event)
    },
    onLevel: (step) => {
      const { event: type, ...rest } = step
      watch.stream(type, rest)
      page?.onLevel(step)
      printLevel(watch.live, step)
    }
  }
}

/**
 * Returns a listener that prints the events of the run, and counts down while connections are held and between pulses.
 */
function progress(live: Live): (event: PulseEvent) => void {
  let timer: NodeJS.Timeout | undefined
  const countDown = (ms: number, text: (left: string) => string): void => {
    const end = performance.now() + ms
    const show = (): void => {
      const left = Math.ceil((end - performance.now()) / 1000)
      if (left > 0) live.heading(text(`${left} s`))
      else clearInterval(timer)
    }
    timer = setInterval(show, 1000).unref()
    show()
  }
  return (event) => {
    const { index, size, n, linger, after } = event.pulse
    const name = `Pulse ${index + 1} (${size}, ${integer(n)})`
    if (event.event !== 'progress') clearInterval(timer)
    switch (event.event) {
      case 'progress':
        if (event.open < n)
          live.heading(
            `${name}: ${integer(event.open)} open${event.failed > 0 ? `, ${integer(event.failed)} failed` : ''}`
          )
        break
      case 'connected': {
        const { connected, failed, unanswered, ms } = event.opened
        const rate = ms > 0 ? ` (${integer((connected / ms) * 1000)}/s)` : ''
        const parts = [`${integer(connected)} connected in ${duration(ms)}${rate}`]
        if (total(failed) > 0) parts.push(`${integer(total(failed))} failed: ${causes(failed)}`)
        if (total(unanswered) > 0) parts.push(`${integer(total(unanswered))} not answered: ${causes(unanswered)}`)
        live.line(`${name}: ${parts.join(', ')}`)
        if (connected > 0) countDown(linger, (left) => `${name}: holding ${integer(connected)}, ${left} left`)
        break
      }
      case 'closed': {
        const lost = total(event.lost) > 0 ? `, ${integer(total(event.lost))} lost: ${causes(event.lost)}` : ''
        live.line(`${name}: closed${lost}`)
        countDown(after, (left) => `${name}: closed; next pulse in ${left}`)
      }
    }
  }
}

/** Shows the level of a shape, and prints a line if connections failed or were lost. */
function printLevel(live: Live, { connections, open, opened, lost }: LevelStep): void {
  const level = `${integer(open)} of ${integer(connections)} open`
  const failed = opened?.failed ?? {}
  const troubles: string[] = []
  if (total(failed) > 0) troubles.push(`${integer(total(failed))} failed: ${causes(failed)}`)
  if (total(lost) > 0) troubles.push(`${integer(total(lost))} lost: ${causes(lost)}`)
  if (troubles.length > 0) live.line(`${level}, ${troubles.join(', ')}`)
  live.heading(level)
}

/** Says in a sentence that no connect succeeded: on which server, why, and what to do. */
function nobodyAnswers(server: Target | undefined, { connected, failed, swarm }: PulseReport): string {
  const [cause = 'UNKNOWN'] = Object.entries(failed).sort(([, a], [, b]) => b - a)[0] ?? []
  const where = server === undefined ? 'the server of the run' : clean(server.text)
  const what = connected === 0 ? 'nothing connected to' : 'nothing connected any more to'
  return `ebb: ${cause}: ${what} ${where}: ${remedyOfNothing(cause, swarm !== undefined)}`
}

type Row = [name: string, value: string]

const NO_QUANTILES = { p50: null, p90: null, p99: null, max: null }

/** Returns the result for JSON. Without a connection, times and rate are null: 0 would read like a measurement. */
function jsonOf(report: PulseReport): object {
  if (report.connected > 0) return report
  return { ...report, latency: NO_QUANTILES, uncorrected: null, connectsPerSecond: null }
}

/** Returns a row for each quantile of a latency. */
function latencyRows(name: string, { p50, p90, p99, max }: Quantiles, ms: (value: number) => string): Row[] {
  return Object.entries({ p50, p90, p99, max }).map(([quantile, value]) => [`${name} ${quantile}`, ms(value)])
}

/** Returns the rows of the result. */
function resultRows(report: PulseReport): Row[] {
  const { connected, late } = report
  // Plain digits, which scripts read.
  const count = (value: number): string => String(Math.round(value))
  // Without a connection, 0 would read like a measurement.
  const ms = (value: number): string => (connected === 0 ? '-' : duration(value))
  const rows: Row[] = [
    ...(report.pulses > 0 || connected === 0 ? [['pulses', count(report.pulses)] as Row] : []),
    ['connected', count(connected)],
    ...(report.replaced > 0 ? [['replaced', count(report.replaced)] as Row] : []),
    ['failed', counted(report.failed)],
    ['lost while held', counted(report.lost)]
  ]
  if (report.echoed > 0 || total(report.unanswered) > 0) {
    rows.push(['echoed', count(report.echoed)], ['not answered', counted(report.unanswered)])
  }
  rows.push(...trafficRows(report.traffic))
  rows.push(...latencyRows('connect', report.latency, ms))
  if (report.answers !== null) rows.push(...latencyRows('answer', report.answers.latency, ms))
  if (report.connectsPerSecond > 0 || connected === 0)
    rows.push(['connects/s', connected === 0 ? '-' : count(report.connectsPerSecond)])
  if (late > 0) rows.push(['late', `${count(late)} began more than 10 ms after their time`])
  if (report.abandoned > 0) rows.push(['abandoned', count(report.abandoned)])
  if (report.stopped !== null && report.stopped !== 'signal') rows.push(['stopped', report.stopped])
  if (report.targets !== undefined) rows.push(...targetRows(report.targets))
  if (report.swarm !== undefined) rows.push(...swarmRows(report.swarm))
  return rows
}

/** `ebb bench`: runs the experiment on servers and prints their verdicts. */
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import {
  BENCH_PLAN,
  type ExperimentEvent,
  experimentUntilFailure,
  QUICK_PLAN,
  type Target
} from '../../experiment/experiment.js'
import { ExperimentRuns } from '../../live/experiment-runs.js'
import { addCauses, type Causes, total } from '../../pulse/causes.js'
import type { ServerMemory } from '../../pulse/open-metrics.js'
import type { PulseOptions } from '../../pulse/pulse.js'
import { bare, portOfUrl, type ServerAddress, targetOfUrl } from '../../pulse/target.js'
import type { Sample } from '../../record/recording.js'
import { summary } from '../../report/summary.js'
import { defined } from '../../units/defined.js'
import { duration, integer, megabytes } from '../../units/format.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { hasLivePage, type LiveFlags, liveOptions } from '../options/live.js'
import { NATS_ENVIRONMENT } from '../options/nats.js'
import { type ConnectFlags, connectOf, connectOptions, type PlanFlags, planOf, planOptions } from '../options/plan.js'
import { type ShapeFlags, shapeOptions, spikeOf } from '../options/shape.js'
import { addSummary, type SummaryFlags, summaryOption } from '../options/summary.js'
import { type SwarmFlags, swarmOptions, withSwarm } from '../options/swarm.js'
import { checkForm } from '../options/together.js'
import { parseAddress, parsePid, parsePort, parseRuns, parseTarget, ValueError } from '../options/values.js'
import { checkWatch, type WatchFlags, watchOptions } from '../options/watch.js'
import { causes } from '../output/causes.js'
import { EXIT } from '../output/exit-codes.js'
import { tellInterrupted } from '../output/failure.js'
import type { Live } from '../output/live.js'
import { withLivePage } from '../output/live-page.js'
import { remedies } from '../output/remedies.js'
import { printResult } from '../output/result.js'
import { interruption, Terminal, whileWritable } from '../output/terminal.js'
import { Watch } from '../output/watch.js'

interface Flags
  extends PlanFlags,
    ShapeFlags,
    ConnectFlags,
    LimitFlags,
    SwarmFlags,
    WatchFlags,
    LiveFlags,
    SummaryFlags {
  target?: { name: string; command: string[] }[]
  pid?: number
  port?: number
  tree?: boolean
  name?: string
  server?: ServerAddress
  url?: string
  quick?: boolean
  runs?: number
  markdown?: boolean
  out?: string
  overwrite?: boolean
  expvar?: string
}

/** Returns the command `ebb bench`. */
export function benchCommand(): Command {
  const command = new Command('bench')
    .description(
      'Run the experiment: start a server, record it, send pulses, repeat with a fresh server, and print a verdict.'
    )
    .argument('[command...]', 'command that starts the server, after --; {port} becomes a free port')
    .optionsGroup('Servers:')
    .option('--target <name=command>', 'server to test; repeat for several', collect)
    .option('--pid <pid>', 'running server, by process id (without a control run)', parsePid)
    .option('--port <port>', 'running server, by TCP port (without a control run)', parsePort)
    .option(
      '--server <host:port>',
      'server on another machine; an agent of --swarm records it there, and starts it if the agent has its command',
      parseAddress
    )
    .option(
      '--url <url>',
      'URL of the servers, if clients speak HTTP, WebSocket, MQTT or TLS: "ws://127.0.0.1:{port}/chat"',
      parseUrl
    )
    .option('--tree', 'add up each server and all its descendants: for servers with workers')
    .option('--name <name>', 'name of a server given by command, --pid, --port or --server')
    .option('--quick', 'run with a fifth of the connections, in a third of the time')
    .option(
      '--runs <n>',
      'number of times to measure each server; prints medians and their spread (default: 1)',
      parseRuns
    )
  planOptions(command, BENCH_PLAN)
  shapeOptions(command)
  connectOptions(command)
  swarmOptions(command)
  limitOptions(command)
  liveOptions(watchOptions(command.optionsGroup('Output:')))
    .option('--expvar <url>', "URL of Go's expvar to poll: http://127.0.0.1:6060/debug/vars")
    .option('--out <dir>', 'directory for the recordings, report.html, memory.svg and runtime.svg')
    .option('--overwrite', 'replace the files of an earlier run, and remove its other recordings of the same servers')
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the table as Markdown')
  return summaryOption(command)
    .addHelpText(
      'after',
      `
Without a server, it tests "ebb serve" in both modes. Examples:
  ebb bench --out results
  ebb bench -- node server.js {port}
  ebb bench --target "go=./server -port {port}" --target "bun=bun server.ts"
  ebb bench --url "ws://127.0.0.1:{port}/" --ping 1s -- node server.js {port}

With agents on several machines, one of them on the server's machine:
  ebb bench --swarm lab --nats nats://10.0.0.1:4222 --server 10.0.0.5:3033
${NATS_ENVIRONMENT}

Exit codes: 2 if connections failed or were lost, 3 if a limit was exceeded,
4 if an agent was lost.`
    )
    .action(run)
}

async function run(command: string[], flags: Flags): Promise<void> {
  checkForm(flags)
  checkWatch(flags)
  const terminal = new Terminal()
  const { signal: interrupted } = interruption()
  const signal = flags.jsonStream ? whileWritable(interrupted) : interrupted
  const page = hasLivePage(flags) ? new ExperimentRuns() : null
  await withLivePage(flags, page, { terminal, signal }, () => measure(command, flags, page, { terminal, signal }))
}

/** Runs the experiment and prints its result. */
async function measure(
  command: string[],
  flags: Flags,
  page: ExperimentRuns | null,
  { terminal, signal }: { terminal: Terminal; signal: AbortSignal }
): Promise<void> {
  const targets = targetsOf(command, flags).map((target) => ({ ...target, tree: flags.tree ?? false }))
  if ((flags.runs ?? 1) > 1 && targets.some(({ command, server }) => (command ?? server) === undefined)) {
    throw new ValueError(
      '--runs starts a fresh server for each run: give a command, --target or --server, not --pid or --port'
    )
  }
  const plan = { ...(flags.quick ? QUICK_PLAN : BENCH_PLAN), ...planOf(flags) }
  if (plan.pulses === Number.POSITIVE_INFINITY) {
    throw new ValueError('--pulses forever has no end, so there is no verdict: give a number')
  }
  const shape = spikeOf(flags)
  const watch = await Watch.open(flags, terminal)
  const running: { about: object; memory: ServerMemory | null } = { about: {}, memory: null }
  const connect: PulseOptions = {
    ...connectOf(flags, [flags.url === undefined ? bare({ host: '127.0.0.1', port: 0 }) : targetOfUrl(flags.url)]),
    ...defined({ churn: flags.churn }),
    onStats: (stats, latencies) => watch.stats(stats, latencies, running.memory, running.about)
  }
  let recording: string | undefined
  const print = progress(watch.live, targets)
  const troubles: Record<'failed' | 'lost' | 'unanswered', Causes> = { failed: {}, lost: {}, unanswered: {} }
  const partial = await withSwarm({ flags, connect, terminal, signal, recording: () => recording }, (pulse) =>
    experimentUntilFailure(targets, {
      plan,
      pulse,
      limits: limitsOf(flags),
      runs: flags.runs ?? 1,
      signal,
      ...(shape !== undefined && { shape }),
      onEvent: (event) => {
        const { event: type, name, role, run: repeat, ...rest } = event
        running.about = { name, role, ...(repeat !== undefined && { run: repeat }) }
        if (event.event === 'sample') running.memory = event.sample
        else if (event.event === 'start') {
          recording = event.out ?? undefined
          const { pid, port } = event.running
          watch.stream(type, { ...running.about, pid, port, pulses: event.pulses })
        } else watch.stream(type, { ...running.about, ...rest })
        if (event.event === 'connected') {
          addCauses(troubles.failed, event.opened.failed)
          addCauses(troubles.unanswered, event.opened.unanswered)
        }
        if (event.event === 'closed') {
          addCauses(troubles.lost, event.lost)
          addCauses(troubles.unanswered, event.traffic.unanswered)
        }
        page?.onEvent(event)
        print(event)
      },
      overwrite: flags.overwrite === true,
      ...(flags.url !== undefined && { url: flags.url }),
      ...(flags.out !== undefined && { out: flags.out }),
      ...(flags.expvar !== undefined && { expvar: flags.expvar })
    })
  )
  if (partial === null) return
  const { result, failure } = partial
  await page?.finish(failure === undefined ? page.recordings : page.recordings.slice(0, -1))
  const stream = (value: object): void => watch.stream('result', value)
  printResult(result, { ...flags, ...(flags.jsonStream && { stream }) }, terminal)
  if (flags.summary !== undefined) await addSummary(flags.summary, summary(result))
  for (const text of remedies({ ...troubles, swarm: result.swarm })) terminal.line(`note: ${text}`)
  if (failure !== undefined) {
    const { name, role, run: repeat } = failure.run
    const which = repeat === undefined ? '' : ` in run ${repeat.index} of ${repeat.of}`
    const ended = signal.aborted ? 'was interrupted' : 'failed'
    terminal.line(`The ${role} run on ${name} ${ended}${which}; the verdicts are about the runs before it.`)
    tellInterrupted(failure.error, signal, terminal, recording)
    return
  }
  process.exitCode ??= result.failures > 0 ? EXIT.failures : 0
}

function targetsOf(command: readonly string[], flags: Flags): Target[] {
  const { pid, port, server, url, name, target = [] } = flags
  const targets: Target[] = [...target]
  if (command.length > 0) targets.push({ name: name ?? shortName(command), command })
  if (pid !== undefined || port !== undefined) {
    targets.push({
      name: name ?? (pid === undefined ? `port ${port}` : `pid ${pid}`),
      ...(pid !== undefined && { pid }),
      ...(port !== undefined && { port })
    })
  }
  const isGiven = command.length > 0 || [pid, port, server, url].some((one) => one !== undefined)
  if (name !== undefined && !isGiven) {
    throw new ValueError(
      '--name is for a server given by command, --pid, --port or --server: leave it out, or use --target NAME=COMMAND'
    )
  }
  if (server !== undefined) {
    if (targets.length > 0) {
      throw new ValueError(
        '--server is the only server of a run: leave it out, or leave out the command, --target, --pid and --port'
      )
    }
    if (flags.tree) throw new ValueError('--tree works only on this machine: leave out --tree or --server')
    if ('path' in server)
      throw new ValueError('--server is HOST:PORT: a Unix socket cannot be reached from another machine')
    if (flags.swarm === undefined)
      throw new ValueError('--server needs an agent of a swarm to record it: add --swarm NAME')
    targets.push({ name: name ?? `${server.host}:${server.port}`, server })
  }
  if (targets.length > 0) return targets
  if (url !== undefined) {
    const given = portOfUrl(url)
    if (given === undefined)
      throw new ValueError('--url needs a server: give a command or --target, or a port in the URL')
    return [{ name: name ?? `port ${given}`, port: given }]
  }
  const ebb = fileURLToPath(new URL('../../../bin/ebb.js', import.meta.url))
  const serve = [process.execPath, ebb, 'serve', '--port', '{port}', '--mode']
  return [
    { name: 'ebb', command: [...serve, 'park'] },
    { name: 'net', command: [...serve, 'net'] }
  ]
}

/** Checks a URL, which may have `{port}` in place of a port. Returns it. */
function parseUrl(text: string): string {
  portOfUrl(text)
  return text
}

/** Returns a short name for a command: `server.js` for `node server.js {port}`. */
function shortName(command: readonly string[]): string {
  const script = command.slice(1).find((word) => !word.startsWith('-') && word !== '{port}')
  return (script ?? command[0] ?? 'server').split('/').at(-1) as string
}

/** Parses one `--target` and adds it to those given before. */
function collect(text: string, targets: { name: string; command: string[] }[] = []): typeof targets {
  return [...targets, parseTarget(text)]
}

/** Returns a listener that prints the progress of the experiment. */
function progress(live: Live, targets: readonly Target[]): (event: ExperimentEvent) => void {
  const width = Math.max(...targets.map((target) => target.name.length))
  let pulses = 0
  let state = ''
  return (event) => {
    const { run } = event
    const which = run === undefined ? '' : `  run ${run.index} of ${run.of}`
    const prefix = `${event.name.padEnd(width)}${which}  ${event.role.padEnd(7)}`
    switch (event.event) {
      case 'start':
        pulses = event.pulses
        state = 'at rest'
        live.line(`${prefix}  process ${event.running.pid} on port ${event.running.port}, at rest`)
        break
      case 'sample':
        live.heading(`${prefix}  ${state}  ${memory(event.sample)}`)
        break
      case 'pulse':
        state = `pulse ${event.pulse.index + 1} of ${pulses}: connecting ${integer(event.pulse.n)}`
        break
      case 'connected': {
        const { connected, failed, ms } = event.opened
        state = `pulse ${event.pulse.index + 1} of ${pulses}: holding ${integer(connected)}`
        const lacking = total(failed) > 0 ? `, ${integer(total(failed))} failed: ${causes(failed)}` : ''
        live.line(`${prefix}  ${state}, connected in ${duration(ms)}${lacking}`)
        break
      }
      case 'closed': {
        const lost = total(event.lost)
        state = `pulse ${event.pulse.index + 1} of ${pulses}: closed${lost > 0 ? `, ${integer(lost)} lost` : ''}`
        break
      }
      case 'note':
        live.line(`${prefix}  note: ${event.text}`)
    }
  }
}

function memory({ anonymous, resident }: Sample): string {
  return `anonymous ${megabytes(anonymous)}, resident ${megabytes(resident)}`
}

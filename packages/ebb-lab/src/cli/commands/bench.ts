/** `ebb bench` */
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { BENCH_PLAN, type ExperimentEvent, experiment, QUICK_PLAN, type Target } from '../../experiment/experiment.js'
import { total } from '../../pulse/causes.js'
import type { Server } from '../../pulse/pulse.js'
import { duration, megabytes } from '../../units/format.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { NATS_ENVIRONMENT } from '../options/nats.js'
import {
  arg,
  type ConnectFlags,
  connectOf,
  connectOptions,
  type PlanFlags,
  planOf,
  planOptions
} from '../options/plan.js'
import { type OpenSwarm, openSwarm, type SwarmFlags, swarmOptions } from '../options/swarm.js'
import { parsePid, parsePort, parseServer, parseTarget, ValueError } from '../options/values.js'
import { EXIT, tellInterrupted } from '../output/failure.js'
import { printResult } from '../output/result.js'
import { interruption, Terminal } from '../output/terminal.js'

interface Flags extends PlanFlags, ConnectFlags, LimitFlags, SwarmFlags {
  target?: { name: string; command: string[] }[]
  pid?: number
  port?: number
  tree?: boolean
  name?: string
  server?: Server
  quick?: boolean
  json?: boolean
  markdown?: boolean
  out?: string
  expvar?: string
}

export function benchCommand(): Command {
  const command = new Command('bench')
    .description('the experiment: start a server, record it, pulse it, run the control, and judge')
    .argument('[command...]', 'a server to judge, behind --; {port} in it is replaced by a free port')
    .option('--target <name=command>', 'a server to judge; may be given several times', collect)
    .option('--pid <pid>', 'a server that runs already (there is no control then)', arg(parsePid))
    .option('--port <port>', 'the same, by its port', arg(parsePort))
    .option('--server <host:port>', 'the same, elsewhere: an agent of --swarm records it there', arg(parseServer))
    .option('--tree', 'record each with all that it started, as one: servers with workers')
    .option('--name <name>', 'what a server given by command, --pid, --port or --server is called')
    .option('--quick', 'a fifth of the size in a third of the time')
  planOptions(command, BENCH_PLAN)
  connectOptions(command)
  swarmOptions(command)
  limitOptions(command)
  return command
    .option('--expvar <url>', "poll Go's expvar of the server: http://127.0.0.1:6060/debug/vars")
    .option('--out <dir>', 'write the recordings, report.html, memory.svg and runtime.svg there')
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the table in Markdown')
    .addHelpText(
      'after',
      `
Without a server: ebb serve, and node:net beside it. Examples:
  ebb bench --out results
  ebb bench -- node server.js {port}
  ebb bench --target "go=./server -port {port}" --target "bun=bun server.ts"

By agents on several machines, one of them beside the server:
  ebb bench --swarm lab --nats nats://10.0.0.1:4222 --server 10.0.0.5:3033
${NATS_ENVIRONMENT}

Ends with 2 when connections failed or were lost, with 3 when a limit is broken,
with 4 when an agent was lost.`
    )
    .action(run)
}

async function run(command: string[], flags: Flags): Promise<void> {
  const targets = targetsOf(command, flags).map((target) => ({ ...target, tree: flags.tree ?? false }))
  const terminal = new Terminal()
  const { signal } = interruption()
  const plan = { ...(flags.quick ? QUICK_PLAN : BENCH_PLAN), ...planOf(flags) }
  if (plan.pulses === Number.POSITIVE_INFINITY) {
    throw new ValueError('--pulses forever has no end, and so no verdict: give a number')
  }
  const connect = connectOf(flags)
  let swarm: OpenSwarm | null = null
  let result: Awaited<ReturnType<typeof experiment>>
  try {
    swarm = await openSwarm(flags, connect, terminal, signal)
    result = await experiment(targets, {
      plan,
      pulse: swarm === null ? connect : { ...swarm.connect, swarm: swarm.coordinator },
      limits: limitsOf(flags),
      signal,
      onEvent: progress(terminal, targets),
      ...(flags.out !== undefined && { out: flags.out }),
      ...(flags.expvar !== undefined && { expvar: flags.expvar })
    })
  } catch (error) {
    tellInterrupted(error, signal, terminal)
    return
  } finally {
    await swarm?.close()
    terminal.end()
  }
  printResult(result, flags, terminal)
  process.exitCode ??= result.failures > 0 ? EXIT.failures : 0
}

function targetsOf(command: readonly string[], flags: Flags): Target[] {
  const { pid, port, server, name, target = [] } = flags
  const targets: Target[] = [...target]
  if (command.length > 0) targets.push({ name: name ?? shortName(command), command })
  if (pid !== undefined || port !== undefined) {
    targets.push({
      name: name ?? (pid === undefined ? `port ${port}` : `pid ${pid}`),
      ...(pid !== undefined && { pid }),
      ...(port !== undefined && { port })
    })
  }
  if (server !== undefined) {
    if (flags.tree) throw new ValueError('--tree is for servers of this machine: leave one of --tree and --server out')
    if ('path' in server) throw new ValueError('--server is HOST:PORT: a Unix socket is on one machine')
    if (flags.swarm === undefined) throw new ValueError('--server is recorded by an agent of a swarm: add --swarm NAME')
    targets.push({ name: name ?? `${server.host}:${server.port}`, server })
  }
  if (targets.length > 0) return targets
  const main = fileURLToPath(new URL('../main.js', import.meta.url))
  const serve = [process.execPath, main, 'serve', '--port', '{port}', '--mode']
  return [
    { name: 'ebb', command: [...serve, 'park'] },
    { name: 'net', command: [...serve, 'net'] }
  ]
}

/** `node server.js {port}` as `server.js`. */
function shortName(command: readonly string[]): string {
  const script = command.slice(1).find((word) => !word.startsWith('-') && word !== '{port}')
  return (script ?? command[0] ?? 'server').split('/').at(-1) as string
}

function collect(text: string, targets: { name: string; command: string[] }[] = []): typeof targets {
  return [...targets, arg(parseTarget)(text)]
}

/** Lines as the experiment goes on, and a status line on a terminal. */
function progress(terminal: Terminal, targets: readonly Target[]): (event: ExperimentEvent) => void {
  const name = Math.max(...targets.map((target) => target.name.length))
  let pulses = 0
  let state = ''
  return (event) => {
    const who = `${event.name.padEnd(name)}  ${event.role.padEnd(7)}`
    switch (event.event) {
      case 'start':
        pulses = event.pulses
        state = 'at rest'
        terminal.line(`${who}  process ${event.running.pid} on port ${event.running.port}, at rest`)
        break
      case 'sample':
        terminal.status(
          `${who}  ${state}  anonymous ${megabytes(event.sample.anonymous)}, resident ${megabytes(event.sample.resident)}`
        )
        break
      case 'pulse':
        state = `pulse ${event.pulse.index + 1} of ${pulses}: connecting ${event.pulse.n}`
        break
      case 'connected': {
        const { connected, failed, ms } = event.opened
        state = `pulse ${event.pulse.index + 1} of ${pulses}: holding ${connected}`
        const lacking = total(failed) > 0 ? `, ${total(failed)} failed` : ''
        terminal.line(`${who}  ${state}, connected in ${duration(ms)}${lacking}`)
        break
      }
      case 'closed': {
        const lost = total(event.lost)
        state = `pulse ${event.pulse.index + 1} of ${pulses}: closed${lost > 0 ? `, ${lost} lost` : ''}`
        break
      }
      case 'note':
        terminal.line(`${who}  note: ${event.text}`)
    }
  }
}

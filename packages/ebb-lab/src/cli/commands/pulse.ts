/** `ebb pulse`: makes pulses of connections to a server. */
import { Command } from 'commander'
import { total } from '../../pulse/causes.js'
import { planSchema } from '../../pulse/plan.js'
import { type PulseEvent, type PulseReport, pulse, type Server, succeeded } from '../../pulse/pulse.js'
import { clean } from '../../units/text.js'
import { NATS_ENVIRONMENT } from '../options/nats.js'
import { type ConnectFlags, connectOf, connectOptions, type PlanFlags, planOf, planOptions } from '../options/plan.js'
import { type OpenSwarm, openSwarm, type SwarmFlags, swarmOptions } from '../options/swarm.js'
import { parseServer } from '../options/values.js'
import { causes, counted } from '../output/causes.js'
import { columnsOf, swarmRows } from '../output/columns.js'
import { EXIT } from '../output/exit-codes.js'
import { tellInterrupted } from '../output/failure.js'
import { interruption, Terminal } from '../output/terminal.js'

/** Returns the command `ebb pulse`. */
export function pulseCommand(): Command {
  const command = new Command('pulse')
    .description('Open many connections to a server, hold them, close them: big pulses first, then small ones.')
    .argument('<server>', 'HOST:PORT, [IPv6]:PORT, PORT on 127.0.0.1, or the path of a Unix socket', parseServer)
  planOptions(command, planSchema.parse({}))
  connectOptions(command)
  swarmOptions(command)
  return command
    .optionsGroup('Output:')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Times are in seconds unless they have a unit: 250ms, 4s, 2m. Options may also be
written with one dash and "=":
  ebb pulse 127.0.0.1:3033 -big=10000 -i 3 -bs=30 -small=1000 -ss=20 -l 4

With agents on several machines that use the same NATS server:
  ebb pulse 10.0.0.5:3033 --swarm lab --nats nats://10.0.0.1:4222 -big=100k
${NATS_ENVIRONMENT}

Exit codes: 0 if every connection was made and held, 2 if some failed or were
lost, 4 if an agent was lost.`
    )
    .action(run)
}

interface Flags extends PlanFlags, ConnectFlags, SwarmFlags {
  json?: boolean
}

async function run(server: Server, flags: Flags): Promise<void> {
  const terminal = new Terminal()
  const { signal } = interruption()
  const connect = connectOf(flags)
  let swarm: OpenSwarm | null = null
  let report: PulseReport
  try {
    swarm = await openSwarm(flags, connect, terminal, signal)
    report = await pulse(server, planOf(flags), {
      ...(swarm === null ? connect : { ...swarm.connect, swarm: swarm.coordinator }),
      signal,
      onEvent: (event: PulseEvent) => print(terminal, event)
    })
  } catch (error) {
    tellInterrupted(error, signal, terminal)
    return
  } finally {
    await swarm?.close()
    terminal.end()
  }
  if (report.stopped === 'nobody answers') terminal.line(nobodyAnswers(server, report))
  process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${resultTable(report)}\n`)
  if (report.swarm?.degraded) process.exitCode = EXIT.degraded
  else if (!succeeded(report)) process.exitCode = EXIT.failures
}

/** Prints an event of the run. */
function print(terminal: Terminal, event: PulseEvent): void {
  const { index, size, n } = event.pulse
  const name = `Pulse ${index + 1} (${size}, ${n})`
  switch (event.event) {
    case 'progress':
      terminal.status(`${name}: ${event.open} open${event.failed > 0 ? `, ${event.failed} failed` : ''}`)
      break
    case 'connected': {
      const { connected, failed, unanswered, ms } = event.opened
      const rate = ms > 0 ? ` (${Math.round((connected / ms) * 1000)}/s)` : ''
      const parts = [`${connected} connected in ${(ms / 1000).toFixed(2)} s${rate}`]
      if (total(failed) > 0) parts.push(`${total(failed)} failed: ${causes(failed)}`)
      if (total(unanswered) > 0) parts.push(`${total(unanswered)} not answered: ${causes(unanswered)}`)
      terminal.line(`${name}: ${parts.join(', ')}`)
      break
    }
    case 'closed':
      terminal.line(
        `${name}: closed${total(event.lost) > 0 ? `, ${total(event.lost)} lost: ${causes(event.lost)}` : ''}`
      )
  }
}

/** What to do if no connect succeeded, by the most frequent cause. */
const REMEDIES: Record<string, string> = {
  EACCES: 'this user may not connect to it: run as a user who may',
  EADDRNOTAVAIL: 'no local address or port to connect from: check --source',
  ECONNREFUSED: 'no process listens there: start the server first, or check the address',
  ECONNRESET: 'the server closed each connection: check that it is the right server',
  EHOSTUNREACH: 'no route leads there: check the address and the network',
  EINVAL: 'the addresses do not fit together: check --source',
  EMFILE: 'this process has no file descriptor left: raise the limit (ulimit -n)',
  ENETUNREACH: 'no route leads there: check the address and the network',
  ENOENT: 'there is no such socket: start the server first, or check the path',
  ETIMEDOUT: 'it did not answer in time: check the address and the firewall, or raise --timeout'
}

/** Says in a sentence that no connect succeeded: on which server, why, and what to do. */
function nobodyAnswers(server: Server, { connected, failed }: PulseReport): string {
  const [cause = 'UNKNOWN'] = Object.entries(failed).sort(([, a], [, b]) => b - a)[0] ?? []
  const where = clean('path' in server ? server.path : `${server.host}:${server.port}`)
  const what = connected === 0 ? 'nothing connected to' : 'nothing connected any more to'
  return `ebb: ${cause}: ${what} ${where}: ${REMEDIES[cause] ?? 'check that the server runs and answers'}`
}

/** Formats the result in two columns. */
function resultTable(report: PulseReport): string {
  const { latency } = report
  const { connected } = report
  // Without a connection, 0 would read like a measurement.
  const ms = (value: number): string => (connected === 0 ? '-' : `${value.toFixed(value < 10 ? 2 : 0)} ms`)
  const rows: [string, string][] = [
    ['pulses', String(report.pulses)],
    ['connected', String(connected)],
    ['failed', counted(report.failed)],
    ['lost while held', counted(report.lost)]
  ]
  if (report.echoed > 0 || total(report.unanswered) > 0) {
    rows.push(['echoed', String(report.echoed)], ['not answered', counted(report.unanswered)])
  }
  rows.push(
    ['connect p50', ms(latency.p50)],
    ['connect p90', ms(latency.p90)],
    ['connect p99', ms(latency.p99)],
    ['connect max', ms(latency.max)],
    ['connects/s', connected === 0 ? '-' : String(Math.round(report.connectsPerSecond))]
  )
  if (report.abandoned > 0) rows.push(['abandoned', String(report.abandoned)])
  if (report.stopped !== null && report.stopped !== 'signal') rows.push(['stopped', report.stopped])
  if (report.swarm !== undefined) rows.push(...swarmRows(report.swarm))
  return columnsOf(rows)
}

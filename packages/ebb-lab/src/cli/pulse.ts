/** `ebb pulse` */
import { Command } from 'commander'
import { type Causes, total } from '../pulse/client.js'
import { planSchema } from '../pulse/plan.js'
import { type PulseEvent, type PulseReport, pulse, type Server, succeeded } from '../pulse/pulse.js'
import { EXIT } from './failure.js'
import {
  arg,
  type ConnectFlags,
  connectOf,
  connectOptions,
  type PlanFlags,
  planOf,
  planOptions
} from './plan-options.js'
import { interruption, Terminal } from './terminal.js'
import { parseServer } from './values.js'

export function pulseCommand(): Command {
  const command = new Command('pulse')
    .description('connect a crowd, hold it, close it; big pulses first, then small ones')
    .argument('<server>', 'HOST:PORT, [IPv6]:PORT, PORT on 127.0.0.1, or the path of a Unix socket', arg(parseServer))
  planOptions(command, planSchema.parse({}))
  connectOptions(command)
  return command
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Times are seconds, or have a unit: 250ms, 4s, 2m. One dash and = work too:
  ebb pulse 127.0.0.1:3033 -big=10000 -i 3 -bs=30 -small=1000 -ss=20 -l 4

Ends with 0 when every connection was made and held, with 2 when some were not.`
    )
    .action(run)
}

async function run(server: Server, flags: PlanFlags & ConnectFlags & { json?: boolean }): Promise<void> {
  const terminal = new Terminal()
  const { signal } = interruption()
  const options = { ...connectOf(flags), signal, onEvent: (event: PulseEvent) => tell(terminal, event) }
  const report = await pulse(server, planOf(flags), options)
  terminal.end()
  process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${resultTable(report)}\n`)
  if (!succeeded(report)) process.exitCode = EXIT.failures
}

function tell(terminal: Terminal, event: PulseEvent): void {
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

function causes(by: Causes): string {
  const entries = Object.entries(by).sort(([, a], [, b]) => b - a)
  return entries.map(([cause, n]) => `${cause} ${n}`).join(', ')
}

function counted(by: Causes): string {
  return total(by) === 0 ? '0' : `${total(by)} (${causes(by)})`
}

/** The result for a person, in two columns. */
function resultTable(report: PulseReport): string {
  const { latency } = report
  const ms = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0))
  const rows: [string, string][] = [
    ['pulses', String(report.pulses)],
    ['connected', String(report.connected)],
    ['failed', counted(report.failed)],
    ['lost while held', counted(report.lost)]
  ]
  if (report.echoed > 0 || total(report.unanswered) > 0) {
    rows.push(['echoed', String(report.echoed)], ['not answered', counted(report.unanswered)])
  }
  rows.push(
    ['connect p50', `${ms(latency.p50)} ms`],
    ['connect p90', `${ms(latency.p90)} ms`],
    ['connect p99', `${ms(latency.p99)} ms`],
    ['connect max', `${ms(latency.max)} ms`],
    ['connects/s', String(Math.round(report.connectsPerSecond))]
  )
  if (report.abandoned > 0) rows.push(['abandoned', String(report.abandoned)])
  if (report.stopped === 'nobody answers') rows.push(['stopped', 'nobody answers'])
  return rows.map(([name, value]) => `${name.padEnd(17)}${value}`).join('\n')
}

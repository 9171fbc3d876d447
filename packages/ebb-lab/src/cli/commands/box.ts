/** `ebb box` */
import { Command } from 'commander'
import { type BoxProgress, type BoxResult, box, loadOf, variantsFor } from '../../experiment/box/box.js'
import { type BoxPlan, readBoxFile, type Variant } from '../../experiment/box/file.js'
import { total } from '../../pulse/causes.js'
import { maxConnections } from '../../pulse/shapes.js'
import { duration, integer, megabytes, size } from '../../units/format.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { arg } from '../options/plan.js'
import { parsePositiveTime, parseSize, ValueError } from '../options/values.js'
import { printBoxes } from '../output/box-result.js'
import { EXIT, tellInterrupted } from '../output/failure.js'
import { interruption, Terminal } from '../output/terminal.js'

interface Flags extends LimitFlags {
  out?: string
  memory?: number
  limit?: number
  variant?: string[]
  duration?: number
  control: boolean
  maxPeak?: number
  dryRun?: boolean
  json?: boolean
  markdown?: boolean
}

export function boxCommand(): Command {
  const command = new Command('box')
    .description('several servers on one machine, each with its own load: what do they need together?')
    .argument('<file>', 'the box: its servers, their plans, and variants; YAML or JSON')
    .option('--out <dir>', 'write box.ndjson (the recording), report.html and box.svg there')
    .option('--memory <size>', 'how many such servers would fit into it: 8GB', arg(parseSize))
    .option('--limit <size>', 'run them in one memory cgroup of this size: 600MB', arg(parseSize))
    .option('--variant <name>', 'this variant of the file alone; may be given several times', collect)
    .option('--duration <time>', 'how long a run is (default: what the file says)', arg(parsePositiveTime))
    .option('--no-control', 'without the fresh servers that tell what each needs')
    .option('--dry-run', 'check the file, and print what would be done')
  limitOptions(command)
  return command
    .option('--max-peak <size>', 'end with 3 when all together hold more at one moment', arg(parseSize))
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the tables in Markdown')
    .addHelpText(
      'after',
      `
A box is a file such as this:
  servers:
    - command: node server.js {port}
      count: 4
      stagger: 15s
      plan: { big: 10000, iterations: 1, small: 1000 }
All keys: docs/reference/box-file.md. The same again from its recording: ebb report box.ndjson

Ends with 2 when connections failed or were lost, or a server did not live to
the end; with 3 when a limit is broken.`
    )
    .action(run)
}

async function run(file: string, flags: Flags): Promise<void> {
  const plan = readBoxFile(file, flags.duration)
  if (flags.dryRun) {
    process.stdout.write(`${describe(plan, variantsFor(plan, flags.variant), flags.limit ?? plan.limit)}\n`)
    return
  }
  const terminal = new Terminal()
  const { signal } = interruption()
  const { out, memory, limit, variant, control, maxPeak } = flags
  let result: BoxResult
  try {
    result = await box(plan, {
      ...(out !== undefined && { out }),
      ...(memory !== undefined && { memory }),
      ...(limit !== undefined && { limit }),
      ...(variant !== undefined && { variants: variant }),
      control,
      limits: { ...limitsOf(flags), ...(maxPeak !== undefined && { maxPeak }) },
      signal,
      onEvent: progress(terminal)
    })
  } catch (error) {
    tellInterrupted(error, signal, terminal)
    return
  } finally {
    terminal.end()
  }
  printBoxes(result, flags, terminal)
  if (result.broken.length === 0 && result.failures > 0) process.exitCode = EXIT.failures
}

function collect(text: string, names: string[] = []): string[] {
  if (text.trim() === '') throw new ValueError('a variant has a name')
  return [...names, text]
}

/** What would be done. */
function describe({ name, duration: length }: BoxPlan, variants: readonly Variant[], limit: number | null): string {
  const [{ servers } = { servers: [] }] = variants
  const widest = Math.max(...servers.map((server) => server.name.length))
  const most = servers.reduce((sum, { shape }) => sum + maxConnections(shape), 0)
  const lines = [
    `${name}: ${servers.length} server${servers.length === 1 ? '' : 's'}, ${integer(most)} connections at most, ${duration(length)} a run`,
    ...servers.map((server) => `  ${server.name.padEnd(widest)}  ${loadOf(server.shape)}`)
  ]
  if (limit !== null) lines.push(`in one memory cgroup of ${size(limit)}`)
  if (variants.length > 1) lines.push(`${variants.length} runs: ${variants.map((variant) => variant.name).join(', ')}`)
  return lines.join('\n')
}

/** Lines as the box goes on, and a status line on a terminal. */
function progress(terminal: Terminal): (event: BoxProgress) => void {
  let who = ''
  let began = 0
  /** What was said of a server once is not said again with another number, each second. */
  const said = new Set<string>()
  return (event) => {
    switch (event.event) {
      case 'run':
        who = event.role === 'main' ? event.variant : `${event.variant} (control)`
        began = performance.now()
        said.clear()
        terminal.line(`${who}: ${event.servers} server${event.servers === 1 ? '' : 's'}, ${duration(event.duration)}`)
        break
      case 'listening':
        terminal.line(`${who}  ${event.server}: process ${event.pid} on port ${event.port}`)
        break
      case 'failed':
        terminal.line(`${who}  ${event.server}: ${event.text}`)
        break
      case 'ended':
        terminal.line(`${who}  ${event.server}: ${event.how}`)
        break
      case 'note':
        if (said.has(noteKey(event))) break
        said.add(noteKey(event))
        terminal.line(`${who}  ${event.server}: note: ${event.text}`)
        break
      case 'tick': {
        const time = `${((performance.now() - began) / 1000).toFixed(0)} s`
        terminal.status(`${who}  ${time}  ${event.servers} servers, anonymous ${megabytes(event.anonymous)}`)
        break
      }
      case 'load': {
        const { load, server } = event
        if (load.event !== 'connected') break
        const { connected, failed, ms } = load.opened
        const lacking = total(failed) > 0 ? `, ${integer(total(failed))} failed` : ''
        terminal.line(`${who}  ${server}: holding ${integer(connected)}, connected in ${duration(ms)}${lacking}`)
      }
    }
  }
}

function noteKey({ server, text }: { server: string; text: string }): string {
  return `${server}: ${text.replace(/\d+/g, '#')}`
}

/** `ebb box`: runs several servers on one machine. */
import { join } from 'node:path'
import { Command } from 'commander'
import { type BoxProgress, boxUntilFailure, type PartialBox, RECORDING_FILE } from '../../experiment/box/box.js'
import { readBoxFile } from '../../experiment/box/file.js'
import { describeLoad } from '../../experiment/box/load.js'
import type { BoxPlan, Variant } from '../../experiment/box/plan.js'
import { variantsFor } from '../../experiment/box/variants.js'
import { BoxRuns } from '../../live/box-runs.js'
import { MemoryGroup } from '../../process/memory-group.js'
import { total } from '../../pulse/causes.js'
import { maxConnections } from '../../pulse/shapes.js'
import { summary } from '../../report/summary.js'
import { duration, integer, megabytes, size } from '../../units/format.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { hasLivePage, type LiveFlags, liveOptions } from '../options/live.js'
import { addSummary, type SummaryFlags, summaryOption } from '../options/summary.js'
import { checkForm } from '../options/together.js'
import { parsePositiveTime, parseRuns, parseSize, ValueError } from '../options/values.js'
import { printBoxes } from '../output/box-result.js'
import { documentation } from '../output/documentation.js'
import { EXIT } from '../output/exit-codes.js'
import { tellInterrupted } from '../output/failure.js'
import { withLivePage } from '../output/live-page.js'
import { interruption, Terminal } from '../output/terminal.js'

interface Flags extends LimitFlags, SummaryFlags, LiveFlags {
  out?: string
  overwrite?: boolean
  memory?: number
  limit?: number
  variant?: string[]
  duration?: number
  control: boolean
  runs?: number
  maxPeak?: number
  dryRun?: boolean
  json?: boolean
  markdown?: boolean
}

/** Returns the command `ebb box`. */
export function boxCommand(): Command {
  const command = new Command('box')
    .description(
      'Run several servers on one machine, each with its own load, and measure how much memory they need together.'
    )
    .argument('<file>', 'YAML or JSON file with the servers, their loads, and variants')
    .option('--out <dir>', 'directory for box.ndjson (the recording), box.html and box.svg')
    .option('--overwrite', 'replace the files of an earlier run, and remove its other recordings')
    .option('--memory <size>', 'print how many such servers fit into this much memory, such as 8GB', parseSize)
    .option('--limit <size>', 'run all servers in one memory cgroup of this size, such as 600MB', parseSize)
    .option('--variant <name>', 'run only this variant of the file; repeat for several', collect)
    .option('--duration <time>', 'length of a run (default: as the file says)', parsePositiveTime)
    .option('--runs <n>', 'number of times to run the box; prints medians and their spread (default: 1)', parseRuns)
    .option('--no-control', 'skip the control runs, which measure what each server needs')
    .option('--dry-run', 'check the file and this machine, and print what it would run')
  limitOptions(command)
  command
    .option('--max-peak <size>', 'exit 3 if all servers together use more than this at any moment', parseSize)
    .optionsGroup('Output:')
  liveOptions(command)
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the tables as Markdown')
  return summaryOption(command)
    .addHelpText(
      'after',
      `
Example of a file:
  servers:
    - command: node server.js {port}
      count: 4
      stagger: 15s
      plan: { big: 10000, iterations: 1, small: 1000 }

${documentation('reference/box-file.md')} lists all keys.
"ebb report DIR" prints the same result from the recordings in --out DIR.

Exit codes: 2 if connections failed or were lost, or a server ended early;
3 if a limit was exceeded.`
    )
    .action(run)
}

async function run(file: string, flags: Flags): Promise<void> {
  checkForm(flags)
  if (flags.dryRun && (flags.json || flags.markdown)) {
    throw new ValueError('--dry-run prints plain text only: leave out --json and --markdown')
  }
  const plan = readBoxFile(file, flags.duration)
  if (flags.dryRun) {
    const variants = variantsFor(plan, flags.variant)
    const limit = flags.limit ?? plan.limit
    // The run would fail as well if this user may not make the cgroup.
    if (limit !== null) await new MemoryGroup(limit).remove()
    process.stdout.write(`${describe(plan, variants, limit)}\n`)
    return
  }
  const terminal = new Terminal()
  const { signal } = interruption()
  const page = hasLivePage(flags) ? new BoxRuns() : null
  await withLivePage(flags, page, { terminal, signal }, () => measure(plan, flags, page, { terminal, signal }))
}

/** Runs the box and prints its result. */
async function measure(
  plan: BoxPlan,
  flags: Flags,
  page: BoxRuns | null,
  { terminal, signal }: { terminal: Terminal; signal: AbortSignal }
): Promise<void> {
  const { out, memory, limit, variant, control, maxPeak } = flags
  const print = progress(terminal)
  let partial: PartialBox
  try {
    partial = await boxUntilFailure(plan, {
      ...(out !== undefined && { out }),
      overwrite: flags.overwrite === true,
      ...(memory !== undefined && { memory }),
      ...(limit !== undefined && { limit }),
      ...(variant !== undefined && { variants: variant }),
      control,
      runs: flags.runs ?? 1,
      limits: { ...limitsOf(flags), ...(maxPeak !== undefined && { maxPeak }) },
      signal,
      onEvent: (event) => {
        if (event.event === 'run') page?.begin(event.box, event.duration)
        print(event)
      }
    })
  } catch (error) {
    tellInterrupted(error, signal, terminal, out === undefined ? undefined : join(out, RECORDING_FILE))
    return
  } finally {
    terminal.end()
  }
  const { result, failure } = partial
  await page?.finish(failure !== undefined)
  printBoxes(result, flags, terminal)
  if (flags.summary !== undefined) await addSummary(flags.summary, summary(result))
  if (failure !== undefined) {
    const { run: repeat } = failure
    if (repeat !== undefined) {
      terminal.line(`Run ${repeat.index} of ${repeat.of} failed; the verdicts are about what has finished.`)
    }
    throw failure.error
  }
  if (result.broken.length === 0 && result.failures > 0) process.exitCode = EXIT.failures
}

/** Parses one `--variant` and adds it to those given before. */
function collect(text: string, names: string[] = []): string[] {
  if (text.trim() === '') throw new ValueError('a variant must have a name')
  return [...names, text]
}

/** Formats what a box would run. */
function describe({ name, duration: length }: BoxPlan, variants: readonly Variant[], limit: number | null): string {
  const [{ servers } = { servers: [] }] = variants
  const widest = Math.max(...servers.map((server) => server.name.length))
  const most = servers.reduce((sum, { shape }) => sum + maxConnections(shape), 0)
  const count = `${servers.length} server${servers.length === 1 ? '' : 's'}`
  const lines = [
    `${name}: ${count}, ${integer(most)} connections at most, ${duration(length)} a run`,
    ...servers.map((server) => `  ${server.name.padEnd(widest)}  ${describeLoad(server.shape)}`)
  ]
  if (limit !== null) lines.push(`in one memory cgroup of ${size(limit)}`)
  if (variants.length > 1) lines.push(`${variants.length} runs: ${variants.map((variant) => variant.name).join(', ')}`)
  return lines.join('\n')
}

/** Returns a listener that prints the progress of a box. */
function progress(terminal: Terminal): (event: BoxProgress) => void {
  let run = ''
  let began = 0
  /** Notes already printed in this run. A server's note of the same kind is not printed again, every second. */
  const said = new Set<string>()
  return (event) => {
    switch (event.event) {
      case 'run':
        run = event.role === 'main' ? event.variant : `${event.variant} (control)`
        if (event.repeat !== undefined) run += `  run ${event.repeat.index} of ${event.repeat.of}`
        began = performance.now()
        said.clear()
        terminal.line(`${run}: ${event.servers} server${event.servers === 1 ? '' : 's'}, ${duration(event.duration)}`)
        break
      case 'listening':
        terminal.line(`${run}  ${event.server}: process ${event.pid} on port ${event.port}`)
        break
      case 'failed':
        terminal.line(`${run}  ${event.server}: ${event.text}`)
        break
      case 'ended':
        terminal.line(`${run}  ${event.server}: ${event.how}`)
        break
      case 'note':
        if (said.has(noteKey(event))) break
        said.add(noteKey(event))
        terminal.line(`${run}  ${event.server}: note: ${event.text}`)
        break
      case 'tick': {
        const time = `${((performance.now() - began) / 1000).toFixed(0)} s`
        terminal.status(`${run}  ${time}  ${event.servers} servers, anonymous ${megabytes(event.anonymous)}`)
        break
      }
      case 'load': {
        const { load, server } = event
        if (load.event !== 'connected') break
        const { connected, failed, ms } = load.opened
        const lacking = total(failed) > 0 ? `, ${integer(total(failed))} failed` : ''
        terminal.line(`${run}  ${server}: holding ${integer(connected)}, connected in ${duration(ms)}${lacking}`)
      }
    }
  }
}

/** Identifies the kind of a server's note. */
function noteKey({ server, code, text }: Extract<BoxProgress, { event: 'note' }>): string {
  return JSON.stringify([server, code ?? text])
}

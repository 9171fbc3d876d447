/** `ebb record`: records the memory of a server. */
import { statSync } from 'node:fs'
import { Command } from 'commander'
import { ServerRuns } from '../../live/server-runs.js'
import { quoteLines } from '../../process/output.js'
import { startRecording } from '../../record/record.js'
import type { Recorder } from '../../record/recorder.js'
import type { Line, Sample } from '../../record/recording.js'
import { howEnded } from '../../report/troubles.js'
import { RecordError } from '../../units/errors.js'
import { duration, megabytes } from '../../units/format.js'
import { hasLivePage, type LiveFlags, liveOptions } from '../options/live.js'
import { parsePeriod, parsePid, parsePort, parsePositiveTime, ValueError } from '../options/values.js'
import { withLivePage } from '../output/live-page.js'
import { interruption, Terminal } from '../output/terminal.js'

interface Flags extends LiveFlags {
  pid?: number
  port?: number
  tree?: boolean
  out?: string
  overwrite?: boolean
  name?: string
  duration?: number
  every?: number
  expvar?: string
}

/** Lines of the server's output that are kept, to quote if it fails. */
const MOST_LAST_LINES = 100

/** Returns the command `ebb record`. */
export function recordCommand(): Command {
  const command = new Command('record')
    .description('Record the memory of a server as NDJSON, until it ends, --duration has passed, or Ctrl-C.')
    .argument('[command...]', 'command that starts the server, after --')
    .option('--pid <pid>', 'record this process', parsePid)
    .option('--port <port>', 'record the process that listens on this TCP port', parsePort)
    .option('--tree', 'add up the process and all its descendants: for a server with workers')
    .option('--out <file>', 'file to write (default: standard output)')
    .option('--overwrite', 'replace the file if it exists')
    .option('--name <name>', 'name of the server in tables and pictures')
    .option('--duration <time>', 'stop after this time', parsePositiveTime)
    .option('--every <time>', 'interval between samples (default: 100ms)', parsePeriod)
    .option('--expvar <url>', "URL of Go's expvar to poll: http://127.0.0.1:6060/debug/vars")
  return liveOptions(command).action(run)
}

async function run(command: string[], flags: Flags): Promise<void> {
  const { pid, port, out, name, duration: stopAfter, every, expvar } = flags
  const given = [pid !== undefined, port !== undefined, command.length > 0].filter(Boolean).length
  if (given !== 1)
    throw new ValueError(
      'the server to record is not given, or given twice: give exactly one of --pid PID, --port PORT and -- COMMAND'
    )
  if (out !== undefined && !flags.overwrite) checkUnused(out)
  const terminal = new Terminal()
  const { signal } = interruption()
  const page = hasLivePage(flags) ? new ServerRuns() : null
  await withLivePage(flags, page, { terminal, signal }, async () => {
    const recorder = await startRecording({
      ...(pid !== undefined && { pid }),
      ...(port !== undefined && { port }),
      ...(command.length > 0 && { command }),
      ...(flags.tree && { tree: true }),
      ...(out !== undefined && { out }),
      ...(name !== undefined && { name }),
      ...(stopAfter !== undefined && { duration: stopAfter }),
      ...(every !== undefined && { statusEvery: every }),
      ...(expvar !== undefined && { expvar }),
      // On standard output, the output of the server would mix with the lines of the recording.
      forward: out !== undefined,
      keep: false,
      signal
    })
    await recorder.opened
    const { header } = recorder.recording
    terminal.line(`Recording process ${recorder.pid} (${header.name})${out === undefined ? '' : ` to ${out}`}`)
    if (out === undefined) print(recorder)
    page?.begin(header, null)
    await follow(recorder, command.length > 0 ? 'command' : 'process', out !== undefined, page, terminal)
    await page?.finish()
  })
  // Descendants of the server may still hold its pipes open, which would keep this process alive.
  process.exit(process.exitCode ?? 0)
}

/** Shows a recording until it ends, and says how it ended. */
async function follow(
  recorder: Recorder,
  what: 'command' | 'process',
  hasStatus: boolean,
  page: ServerRuns | null,
  terminal: Terminal
): Promise<void> {
  let samples = 0
  let end = ''
  const lastLines: string[] = []
  recorder.on('sample', (sample) => {
    samples++
    page?.addSample(sample)
    if (hasStatus) terminal.status(status(sample))
  })
  recorder.on('event', (event) => {
    page?.addEvent(event)
    if (event.event === 'note') terminal.line(`note: ${event.text}`)
    else if (event.event === 'line' && lastLines.push(event.text) > MOST_LAST_LINES) lastLines.shift()
    else if (event.event === 'end' && event.reason === 'exited') {
      const failed = event.signal !== null || (event.exitCode ?? 0) !== 0
      const said = failed ? quoteLines(lastLines) : ''
      end = `; the ${what} ended ${howEnded(event)}`.trimEnd() + said
    }
  })
  try {
    await recorder.done
  } finally {
    terminal.end()
  }
  terminal.line(`${samples} sample${samples === 1 ? '' : 's'} in ${duration(recorder.now())}${end}`)
}

/**
 * Checks that a recording replaces nothing. Devices, pipes and empty files, such as those of `mktemp`, may be written.
 *
 * @throws RecordError (`EEXIST`) if the file has contents
 */
function checkUnused(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined || !found.isFile() || found.size === 0) return
  throw new RecordError(`${path} exists: give another file with --out, or add --overwrite to replace it`, 'EEXIST')
}

/** Prints the recording on standard output, line by line. Stops it when standard output is closed. */
function print(recorder: Recorder): void {
  const write = (line: Line): void => {
    process.stdout.write(`${JSON.stringify(line)}\n`)
  }
  // `main.ts` prints the error.
  process.stdout.on('error', () => {
    void recorder.stop().catch(() => {})
  })
  write(recorder.recording.header)
  recorder.on('sample', write)
  recorder.on('event', write)
}

/** Formats a sample for the status line. */
function status({ t, resident, anonymous, descriptors, cpu }: Sample): string {
  const figures = [`resident ${megabytes(resident)}`, `anonymous ${megabytes(anonymous)}`]
  if (descriptors !== null) figures.push(`descriptors ${descriptors}`)
  return `${duration(t)}  ${figures.join('  ')}  CPU ${duration(cpu)}`
}

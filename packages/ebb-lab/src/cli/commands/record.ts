/** `ebb record` */
import { Command } from 'commander'
import { record } from '../../record/record.js'
import type { Recorder } from '../../record/recorder.js'
import type { Line, Sample } from '../../record/recording.js'
import { duration, megabytes } from '../../units/format.js'
import { arg } from '../options/plan.js'
import { parsePeriod, parsePid, parsePort, parsePositiveTime, ValueError } from '../options/values.js'
import { interruption, Terminal } from '../output/terminal.js'

interface Flags {
  pid?: number
  port?: number
  tree?: boolean
  out?: string
  name?: string
  duration?: number
  every?: number
  expvar?: string
}

export function recordCommand(): Command {
  return new Command('record')
    .description('sample the memory of a server until it ends, --duration or Ctrl-C, to NDJSON')
    .argument('[command...]', 'a server to start and record, behind --')
    .option('--pid <pid>', 'the process to record', arg(parsePid))
    .option('--port <port>', 'the process that listens on this TCP port', arg(parsePort))
    .option('--tree', 'sum up the process and all that it started: a server with workers')
    .option('--out <file>', 'where to write (default: standard output)')
    .option('--name <name>', 'what the server is called in tables and pictures')
    .option('--duration <time>', 'stop after this time', arg(parsePositiveTime))
    .option('--every <time>', 'from one sample to the next (default: 100ms)', arg(parsePeriod))
    .option('--expvar <url>', "poll Go's expvar: http://127.0.0.1:6060/debug/vars")
    .action(run)
}

async function run(command: string[], flags: Flags): Promise<void> {
  const { pid, port, out, name, duration: stopAfter, every, expvar } = flags
  const given = [pid !== undefined, port !== undefined, command.length > 0].filter(Boolean).length
  if (given !== 1) throw new ValueError('whom to record? give one of --pid PID, --port PORT and -- COMMAND')
  const terminal = new Terminal()
  const { signal } = interruption()
  const recorder = await record({
    ...(pid !== undefined && { pid }),
    ...(port !== undefined && { port }),
    ...(command.length > 0 && { command }),
    ...(flags.tree && { tree: true }),
    ...(out !== undefined && { out }),
    ...(name !== undefined && { name }),
    ...(stopAfter !== undefined && { duration: stopAfter }),
    ...(every !== undefined && { statusEvery: every }),
    ...(expvar !== undefined && { expvar }),
    // What the server prints would stand between the lines of a recording on standard output.
    forward: out !== undefined,
    keep: false,
    signal
  })
  const { header } = recorder.recording
  terminal.line(`Recording process ${recorder.pid} (${header.name})${out === undefined ? '' : ` to ${out}`}`)
  if (out === undefined) print(recorder)
  let samples = 0
  recorder.on('sample', (sample) => {
    samples++
    if (out !== undefined) terminal.status(status(sample))
  })
  recorder.on('event', (event) => {
    if (event.event === 'note') terminal.line(`note: ${event.text}`)
  })
  try {
    await recorder.done
  } finally {
    terminal.end()
  }
  terminal.line(`${samples} samples in ${duration(recorder.now())}`)
  // A server that we started leaves its pipes to what it started.
  process.exit(process.exitCode ?? 0)
}

/** The recording on standard output, line by line. Ends when nobody reads it any more. */
function print(recorder: Recorder): void {
  const write = (line: Line): void => {
    process.stdout.write(`${JSON.stringify(line)}\n`)
  }
  // Why is told by `main.ts`, as for all that is printed.
  process.stdout.on('error', () => {
    void recorder.stop().catch(() => {})
  })
  write(recorder.recording.header)
  recorder.on('sample', write)
  recorder.on('event', write)
}

function status({ t, resident, anonymous, descriptors, cpu }: Sample): string {
  const figures = [`resident ${megabytes(resident)}`, `anonymous ${megabytes(anonymous)}`]
  if (descriptors !== null) figures.push(`descriptors ${descriptors}`)
  return `${duration(t)}  ${figures.join('  ')}  CPU ${duration(cpu)}`
}

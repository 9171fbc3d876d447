/** `ebb doctor`: explains where the memory of a process is. */
import { Command } from 'commander'
import { type DiagnoseOptions, diagnose } from '../../doctor/diagnose.js'
import type { Diagnosis } from '../../doctor/diagnosis.js'
import { examineCommand } from '../../doctor/started.js'
import { diagnosisText } from '../../doctor/text.js'
import { find, serverOf } from '../../process/target.js'
import { parsePid, parsePort, parseTime, ValueError } from '../options/values.js'
import { colours, columns, interruption } from '../output/terminal.js'

interface Flags {
  port?: number
  for?: number
  release?: boolean
  inspect?: boolean
  json?: boolean
}

/** Returns the command `ebb doctor`. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Explain where the memory of a process is, and what would bring it back.')
    .argument('[pid]', 'process to examine')
    .argument('[command...]', 'command to start, after --; it is examined once its memory is still')
    .usage('[options] PID | --port PORT | -- COMMAND...')
    .option('--port <port>', 'examine the process that listens on this TCP port', parsePort)
    .option('--for <time>', 'watch the memory for this time, for the trend (default: 3s; 0: not at all)', parseTime)
    .option('--release', 'make a Node process with ebb/auto release its memory, and print what came back')
    .option('--inspect', 'ask a Node process without ebb/auto through its inspector: SIGUSR1 opens a port for a moment')
    .option('--json', 'print everything as JSON')
    .action(run)
}

async function run(first: string | undefined, rest: string[], flags: Flags): Promise<void> {
  const words = first === undefined ? [] : [first, ...rest]
  const { port } = flags
  if (words.length > 0 === (port !== undefined)) {
    throw new ValueError(
      'the process is not given, or given twice: give exactly one of PID, --port PORT and -- COMMAND'
    )
  }
  const asked: DiagnoseOptions = {
    ...(flags.for !== undefined && { watch: flags.for }),
    ...(flags.release && { release: true }),
    ...(flags.inspect && { inspect: true })
  }
  const isPid = words.length === 1 && /^\d+$/.test(words[0] as string)
  if (port === undefined && !isPid) return await runCommand(words, asked, flags)
  const pid = port === undefined ? serverOf(parsePid(words[0] as string)) : find({ port }).pid
  print(await diagnose(pid, { ...asked, signal: interruption().signal }), flags)
}

/** Examines a command. Ctrl-C examines it at once, and is then passed on. */
async function runCommand(words: string[], asked: DiagnoseOptions, flags: Flags): Promise<void> {
  let last: NodeJS.Signals | undefined
  const remember = (signal: NodeJS.Signals): void => {
    last = signal
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, remember)
  await examineCommand(words, {
    ...asked,
    signal: interruption().signal,
    report: (found) => print(found, flags),
    // Standard output is for the report.
    output: (chunk) => process.stderr.write(chunk),
    passOn: () => last
  })
  // Descendants of the command may still hold its pipes open, which would keep this process alive.
  process.exit(process.exitCode ?? 0)
}

function print(found: Diagnosis, { json }: Flags): void {
  const { stdout } = process
  const text = json
    ? JSON.stringify(found, null, 2)
    : diagnosisText(found, { width: columns(stdout), colour: colours(stdout) })
  stdout.write(`${text}\n`)
}

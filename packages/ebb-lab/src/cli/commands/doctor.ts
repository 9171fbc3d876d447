/** `ebb doctor`: explains where the memory of a process is. */
import { Command } from 'commander'
import { type DiagnoseOptions, diagnose } from '../../doctor/diagnose.js'
import type { Diagnosis } from '../../doctor/diagnosis.js'
import { examineCommand } from '../../doctor/started.js'
import { diagnosisText } from '../../doctor/text.js'
import { find, serverOf } from '../../process/target.js'
import { clean } from '../../units/text.js'
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
  const command = wordsAfterDashes()
  const { port } = flags
  if (words.length > 0 === (port !== undefined) || (command.length > 0 && command.length < words.length)) {
    throw new ValueError(
      'the process is not given, or given twice: give exactly one of PID, --port PORT and -- COMMAND'
    )
  }
  const asked: DiagnoseOptions = {
    ...(flags.for !== undefined && { watch: flags.for }),
    ...(flags.release && { release: true }),
    ...(flags.inspect && { inspect: true })
  }
  if (command.length > 0) return await runCommand(command, asked, flags)
  const pid = port === undefined ? serverOf(pidOf(words)) : find({ port }).pid
  print(await diagnose(pid, { ...asked, signal: interruption().signal }), flags)
}

/** Returns the words of a command behind `--`, which commander does not tell from other arguments. */
function wordsAfterDashes(): string[] {
  const at = process.argv.indexOf('--')
  return at === -1 ? [] : process.argv.slice(at + 1)
}

/** Parses the only argument. A name such as `nginx` is not started: a server of this name may run already. */
function pidOf(words: string[]): number {
  const text = words.join(' ')
  if (/^[-+]?[\d.]+$/.test(text)) return parsePid(text)
  throw new ValueError(
    `"${clean(text)}" is no process id: give a PID (pgrep -a NAME), --port PORT, or -- COMMAND to start`
  )
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

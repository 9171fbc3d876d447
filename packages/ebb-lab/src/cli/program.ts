/** The `ebb` program: its commands, its help and the parsing of its arguments. */
import { createRequire } from 'node:module'
import { Command } from 'commander'
import { twoDashes } from './options/dashes.js'
import { liveValues } from './options/live.js'
import { nameBadValues } from './options/parse-errors.js'
import { documentation } from './output/documentation.js'

/** The commands. Each module is loaded only if its command is asked for. */
const COMMANDS: Record<string, { summary: string; load: () => Promise<Command> }> = {
  serve: {
    summary: 'start a TCP server that reports its clients and its memory',
    load: async () => (await import('./commands/serve-command.js')).serveCommand()
  },
  pulse: {
    summary: 'open many connections to a server, hold them, close them, repeat',
    load: async () => (await import('./commands/pulse.js')).pulseCommand()
  },
  agent: {
    summary: 'let this machine make connections for a swarm',
    load: async () => (await import('./commands/agent.js')).agentCommand()
  },
  record: {
    summary: 'record the memory of a server in any language',
    load: async () => (await import('./commands/record.js')).recordCommand()
  },
  top: {
    summary: 'show the servers of this machine, their clients and their memory',
    load: async () => (await import('./commands/top.js')).topCommand()
  },
  bench: {
    summary: 'start, pulse and record a server, and print a verdict',
    load: async () => (await import('./commands/bench.js')).benchCommand()
  },
  doctor: {
    summary: 'explain where the memory of a process is, and what would bring it back',
    load: async () => (await import('./commands/doctor.js')).doctorCommand()
  },
  box: {
    summary: 'run several servers on one machine, with spikes at different times',
    load: async () => (await import('./commands/box.js')).boxCommand()
  },
  report: {
    summary: 'print verdicts and draw pictures from recordings',
    load: async () => (await import('./commands/report.js')).reportCommand()
  }
}

/** The command of the package `ebb`, which main.ts runs. */
const RUN = 'run'
const RUN_SUMMARY = 'run a server, restart it when it crashes, replace it by a process that takes over its connections'

const AFTER_HELP = `
Run "ebb COMMAND --help" for the options of a command.
Documentation: ${documentation('README.md')}

Exit codes:
  0    success
  1    bad input, or something that the run needs is missing
  2    connections failed or were lost
  3    a limit (--max-...) was exceeded
  4    an agent of the swarm was lost
  130  interrupted; what has finished is printed`

/**
 * Parses the arguments of `ebb` and runs the command.
 *
 * @throws LabError if a value is not accepted, or if the command fails
 */
export async function run(args: readonly string[]): Promise<void> {
  const [help, about] = args
  const asksHelp = help === 'help' && about !== undefined
  if (asksHelp && about === RUN) {
    await (await import('ebb/run')).runCommand(['--help'])
    return
  }
  // An unknown command is refused, so `ebb help nosuch` is read as `ebb nosuch`.
  const isName = about !== undefined && about !== 'help' && !about.startsWith('-')
  const normalized = asksHelp && isName ? [about, ...(Object.hasOwn(COMMANDS, about) ? ['--help'] : [])] : args
  const name = normalized[0] ?? ''
  const chosen = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  const seeHelp = `run "ebb ${chosen === undefined ? '' : `${name} `}--help"`
  const program = new Command('ebb')
    .description('Find out whether a server gives its memory back after a spike of connections.')
    .version(version(), '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(`ebb: ${oneSentence(text)}: ${seeHelp}\n`) })
    .addHelpText('after', AFTER_HELP)
  if (chosen === undefined) {
    for (const [title, { summary }] of Object.entries(COMMANDS)) program.command(title).summary(summary)
    program.command(RUN).summary(RUN_SUMMARY)
    program.parse(normalized, { from: 'user' })
    // Commander has ended the process already, unless there are no arguments at all.
    program.help({ error: true })
  }
  const command = await (chosen as (typeof COMMANDS)[string]).load()
  command.helpOption('-h, --help', 'print this help')
  nameBadValues(command)
  const known = new Set(command.options.flatMap(({ long }) => (long ? [long.slice(2)] : [])))
  program.addCommand(command.copyInheritedSettings(program))
  await program.parseAsync(liveValues(twoDashes(normalized, known), known), { from: 'user' })
}

/** Returns an error of commander as one sentence: `unknown option '--prot' (did you mean --port?)`. */
function oneSentence(text: string): string {
  return text
    .trim()
    .replace(/^error: /, '')
    .replace(
      /^option '(--[\w-]+).*' argument '(.*)' is invalid\. Allowed choices are (.*)\.$/,
      '$1 "$2": it must be one of $3'
    )
    .replace(/\. Expected (\d+) arguments? but got (\d+)\.$/, ' (it takes $1, and got $2)')
    .replace(/\s*\n\(Did you mean (.*)\?\)$/s, ' (did you mean $1?)')
}

function version(): string {
  return (createRequire(import.meta.url)('ebb-lab/package.json') as { version: string }).version
}

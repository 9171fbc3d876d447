/** The commands, as commander knows them. */
import { createRequire } from 'node:module'
import { Command } from 'commander'
import { twoDashes } from './options/dashes.js'

/** Each is loaded when asked for. */
const COMMANDS: Record<string, { summary: string; load: () => Promise<Command> }> = {
  serve: {
    summary: 'a TCP server that holds connections and tells what they cost',
    load: async () => (await import('./commands/serve-command.js')).serveCommand()
  },
  pulse: {
    summary: 'connect a crowd, hold it, close it, again and again',
    load: async () => (await import('./commands/pulse.js')).pulseCommand()
  },
  agent: {
    summary: 'offer this machine to a swarm',
    load: async () => (await import('./commands/agent.js')).agentCommand()
  },
  record: {
    summary: 'sample the memory of any server',
    load: async () => (await import('./commands/record.js')).recordCommand()
  },
  bench: {
    summary: 'the whole experiment, with a verdict',
    load: async () => (await import('./commands/bench.js')).benchCommand()
  },
  box: {
    summary: 'several servers on one machine, with spikes at different times',
    load: async () => (await import('./commands/box.js')).boxCommand()
  },
  report: {
    summary: 'verdicts and pictures from recordings',
    load: async () => (await import('./commands/report.js')).reportCommand()
  }
}

/** Parses `args`, and does what they say. */
export async function run(typed: string[]): Promise<void> {
  const [help, about] = typed
  const args = help === 'help' && about !== undefined && about in COMMANDS ? [about, '--help'] : typed
  const chosen = COMMANDS[args[0] ?? '']
  const program = new Command('ebb')
    .description('Does a server give its memory back? Pulses of connections, a recorder and a verdict.')
    .version(version(), '-v, --version')
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      '\nebb COMMAND --help tells more.\nExit codes: 1 bad input, 2 connections failed, 3 limit broken,\n4 an agent was lost.'
    )
  if (chosen === undefined) {
    for (const [name, { summary }] of Object.entries(COMMANDS))
      program.command(name).summary(summary).description(summary)
    program.parse(args, { from: 'user' })
    // Reached with no command alone: commander has ended the process for all else.
    program.help({ error: true })
  }
  const command = await (chosen as (typeof COMMANDS)[string]).load()
  const known = new Set(command.options.flatMap(({ long }) => (long ? [long.slice(2)] : [])))
  program.addCommand(command.copyInheritedSettings(program))
  await program.parseAsync(twoDashes(args, known), { from: 'user' })
}

function version(): string {
  return (createRequire(import.meta.url)('ebb-lab/package.json') as { version: string }).version
}

/** `ebb`: the laboratory on the command line. It parses and prints; what it does are functions of `ebb-lab`. */
import { createRequire } from 'node:module'
import { Command } from 'commander'
import { twoDashes } from './dashes.js'
import { fail } from './failure.js'

/** Loaded when asked for: `ebb serve` is measured, and shall not hold what draws pictures. */
const COMMANDS: Record<string, { summary: string; load: () => Promise<Command> }> = {
  serve: {
    summary: 'a TCP server that holds connections and tells what they cost',
    load: async () => (await import('./serve.js')).serveCommand()
  },
  pulse: {
    summary: 'connect a crowd, hold it, close it, again and again',
    load: async () => (await import('./pulse.js')).pulseCommand()
  },
  record: {
    summary: 'sample the memory of any server',
    load: async () => (await import('./record.js')).recordCommand()
  },
  bench: {
    summary: 'the whole experiment, with a verdict',
    load: async () => (await import('./bench.js')).benchCommand()
  },
  report: {
    summary: 'verdicts and pictures from recordings',
    load: async () => (await import('./report.js')).reportCommand()
  }
}

async function main(args: string[]): Promise<void> {
  const chosen = COMMANDS[args[0] ?? '']
  const program = new Command('ebb')
    .description('Does a server give its memory back? Pulses of connections, a recorder and a verdict.')
    .version(version(), '-v, --version')
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      '\nebb COMMAND --help tells more.\nExit codes: 1 bad input, 2 connections failed, 3 limit broken.'
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

let told = false
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A pipe that is closed (`ebb report x | head -1`) is no failure of ours; a full disk is told once.
  if (error.code === 'EPIPE' || told) return
  told = true
  fail(new Error(`cannot write to standard output: ${error.message}`, { cause: error }))
})

const args = process.argv.slice(2)
const [help, about] = args
main(help === 'help' && about !== undefined && about in COMMANDS ? [about, '--help'] : args).catch(fail)

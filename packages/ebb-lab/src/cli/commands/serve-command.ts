/** `ebb serve` as a commander command, for its help and its error messages. */
import { Command, Option } from 'commander'
import { SERVE_OPTIONS } from '../options/serve-flags.js'
import { runServe } from './serve.js'

/** Returns the command `ebb serve`. */
export function serveCommand(): Command {
  const command = new Command('serve').description(
    'Start a TCP server that accepts connections, drops what they send, and logs its clients and its memory.'
  )
  for (const { name, value, description, parse, default: preset } of SERVE_OPTIONS) {
    command.addOption(new Option(`--${name} <${value}>`, description).argParser(parse).default(preset))
  }
  return command.action(runServe)
}

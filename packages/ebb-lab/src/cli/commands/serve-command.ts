/** `ebb serve`, as commander knows it. */
import { Command, Option } from 'commander'
import { arg } from '../options/plan.js'
import { SERVE_OPTIONS } from '../options/serve-flags.js'
import { runServe } from './serve.js'

export function serveCommand(): Command {
  const command = new Command('serve').description(
    'a TCP server that accepts connections, reads and drops what they send, and tells what it holds'
  )
  for (const { name, value, about, parse, preset } of SERVE_OPTIONS) {
    command.addOption(new Option(`--${name} <${value}>`, about).argParser(arg(parse)).default(preset))
  }
  return command.action(runServe)
}

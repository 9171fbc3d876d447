/**
 * The entry point of `ebb serve` in its correct form. The build makes one CommonJS file of it and of all that it
 * imports, without commander and the charts, because the memory of this process is what gets measured.
 */
import { runServe } from './commands/serve.js'
import { readServeFlags } from './options/serve-flags.js'
import { fail } from './output/failure.js'
import { reportProcessFailures } from './output/process-failures.js'

/**
 * Runs `ebb serve` until a signal ends it. Returns false, and does nothing, if the arguments ask for the help or hold a
 * mistake.
 */
export function runServeCommand(args: readonly string[]): boolean {
  const flags = readServeFlags(args)
  if (flags === undefined) return false
  reportProcessFailures()
  runServe(flags).catch(fail)
  return true
}

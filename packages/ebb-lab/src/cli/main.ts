/** The entry point of `ebb`: parses the command line and prints. The work is done by the functions of `ebb-lab`. */

import { codeOf, LabError, reasonOf } from '../units/errors.js'
import { readServeFlags } from './options/serve-flags.js'
import { EXIT } from './output/exit-codes.js'
import { fail } from './output/failure.js'

let reported = false
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A closed pipe (`ebb report x | head -1`) is not an error. Any other error, such as a full disk, is reported once.
  if (error.code === 'EPIPE' || reported) return
  reported = true
  const text = `cannot write to standard output: ${reasonOf(error)}`
  fail(new LabError(text, codeOf(error), error.syscall, error))
})

process.on('uncaughtException', (error) => {
  fail(error)
  process.exit(EXIT.wrong)
})

/**
 * Loads `ebb serve` without commander and the charts, because the memory of this process is what gets measured.
 * `ebb run` belongs to the package `ebb`, whose command of the same name may not be the one that npm has linked.
 */
async function main(args: string[]): Promise<void> {
  if (args[0] === 'run') {
    await (await import('ebb/run')).runCommand(args.slice(1))
    return
  }
  const flags = args[0] === 'serve' ? readServeFlags(args.slice(1)) : undefined
  if (flags === undefined) await (await import('./program.js')).run(args)
  else await (await import('./commands/serve.js')).runServe(flags)
}

main(process.argv.slice(2)).catch(fail)

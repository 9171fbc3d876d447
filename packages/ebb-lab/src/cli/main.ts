/** The entry point of `ebb`: parses the command line and prints. The work is done by the functions of `ebb-lab`. */

import { fail } from './output/failure.js'
import { reportProcessFailures } from './output/process-failures.js'

/** `ebb run` belongs to the package `ebb`, whose command of the same name may not be the one that npm has linked. */
async function main(args: string[]): Promise<void> {
  if (args[0] === 'run') await (await import('ebb/run')).runCommand(args.slice(1))
  else await (await import('./program.js')).run(args)
}

reportProcessFailures()
main(process.argv.slice(2)).catch(fail)

/** `ebb`: the laboratory on the command line. It parses and prints; what it does are functions of `ebb-lab`. */

import { readServeFlags } from './options/serve-flags.js'
import { fail } from './output/failure.js'

let told = false
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A pipe that is closed (`ebb report x | head -1`) is no failure of ours; a full disk is told once.
  if (error.code === 'EPIPE' || told) return
  told = true
  fail(new Error(`cannot write to standard output: ${error.message}`, { cause: error }))
})

/** `ebb serve` is measured: it shall not hold what reads command lines, nor what draws pictures. */
async function main(args: string[]): Promise<void> {
  const flags = args[0] === 'serve' ? readServeFlags(args.slice(1)) : undefined
  if (flags === undefined) await (await import('./program.js')).run(args)
  else await (await import('./commands/serve.js')).runServe(flags)
}

main(process.argv.slice(2)).catch(fail)

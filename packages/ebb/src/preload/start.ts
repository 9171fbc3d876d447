/** What `ebb/park` does when it is loaded. */
import type { Environment } from '../sys/variables.js'
import { optionsFrom, type PreloadOptions, warnOfUnknownVariables } from './options.js'
import { type Load, watchListening } from './watch-listen.js'

const STARTED = Symbol.for('ebb.park.1')

/**
 * Parks the servers of this thread from now on, with options from the environment. An invalid variable prints one line
 * on standard error and ends the process with exit code 1. Emits a process warning `EBB_UNKNOWN_OPTION` for each
 * unknown `EBB_PARK_*` variable.
 */
export function parkFromEnvironment(environment: Environment, load: Load): void {
  if ('Bun' in globalThis || 'Deno' in globalThis) {
    process.stderr.write('ebb/park does nothing here: it supports Node only\n')
    return
  }
  // Two copies of this file may be preloaded.
  const loaded = globalThis as { [STARTED]?: boolean }
  if (loaded[STARTED] === true) return
  loaded[STARTED] = true
  let options: PreloadOptions
  try {
    options = optionsFrom(environment)
  } catch (error) {
    process.stderr.write(`ebb/park: ${(error as Error).message}\n`)
    process.exit(1)
  }
  warnOfUnknownVariables(environment)
  watchListening(options, load)
}

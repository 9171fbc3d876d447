/**
 * Reads the options of `govern()` from `EBB_*` environment variables, for `ebb/auto`. Imports little, because every
 * program with `ebb/auto` loads it at its start.
 */
import { constants } from 'node:os'
import { warn } from '../sys/errors.js'
import {
  type Environment,
  readFlag,
  readNumber,
  readTime,
  readVariables,
  refuse,
  type Variables,
  warnOfVariables
} from '../sys/variables.js'
import { checkOptions, type GovernOptions } from './options.js'

/** Options of `ebb/auto`: those of the governor, and whether the process answers at its inside socket. */
interface AutoOptions extends GovernOptions {
  inside?: boolean
}

/** What the environment says. */
interface AutoStart {
  options: GovernOptions
  /** Whether the process answers at its inside socket. */
  inside: boolean
}

const VARIABLES: Variables<AutoOptions> = {
  budget: { name: 'EBB_BUDGET', read: readNumber },
  maxPause: { name: 'EBB_MAX_PAUSE', read: readTime },
  worth: { name: 'EBB_WORTH', read: readNumber },
  every: { name: 'EBB_EVERY', read: readTime },
  pressure: { name: 'EBB_PRESSURE', read: readFlag },
  limit: { name: 'EBB_LIMIT', read: readNumber },
  signal: { name: 'EBB_SIGNAL', read: readSignal },
  workers: { name: 'EBB_WORKERS', read: readFlag },
  log: { name: 'EBB_LOG', read: readFlag },
  inside: { name: 'EBB_INSIDE', read: readFlag }
}

const NAMES = Object.values(VARIABLES).map(({ name }) => name)
/** Names with this prefix are for `ebb/park`. */
const OF_PARK = 'EBB_PARK_'

/**
 * Returns the options that the environment sets. An empty variable counts as not set.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE`, whose message starts with the name of the variable
 */
export function optionsFrom(environment: Environment): AutoOptions {
  return readVariables(environment, VARIABLES)
}

/**
 * Reads the options of `ebb/auto`. An invalid variable prints one line on standard error and ends the process with exit
 * code 1. Emits `EBB_UNKNOWN_OPTION` for each unknown `EBB_*` variable.
 *
 * @returns undefined in a runtime that ebb does not govern
 */
export function readEnvironment(environment: Environment): AutoStart | undefined {
  if ('Bun' in globalThis || 'Deno' in globalThis) {
    process.stderr.write('ebb/auto does nothing here: it supports Node only\n')
    return undefined
  }
  try {
    const { inside = true, ...options } = optionsFrom(environment)
    warnOfVariables(environment, NAMES, 'ebb/auto', 'EBB_', (name) => name.startsWith(OF_PARK))
    checkOptions(options)
    return { options, inside }
  } catch (error) {
    refuseToStart(error as Error)
    return undefined
  }
}

/**
 * Reports why the governor cannot start. An invalid variable ends the process. Elsewhere (not Linux), the program runs
 * without a governor.
 */
export function refuseToStart(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ERR_INVALID_ARG_VALUE') {
    warn('EBB_UNSUPPORTED', `ebb/auto does nothing: ${error.message}`)
    return
  }
  // An error of `govern()` starts with the name of its option.
  const message = error.message.replace(/^\w+/, (word) => nameOf(word) ?? word)
  process.stderr.write(`ebb/auto: ${message}\n`)
  process.exit(1)
}

function nameOf(option: string): string | undefined {
  return Object.hasOwn(VARIABLES, option) ? VARIABLES[option as keyof AutoOptions].name : undefined
}

function readSignal(text: string, name: string): NodeJS.Signals {
  return text in constants.signals ? (text as NodeJS.Signals) : refuse(name, 'a signal such as SIGWINCH', text)
}

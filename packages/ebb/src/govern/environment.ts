/** Reads the options of `govern()` from `EBB_*` environment variables, for `ebb/auto`. */
import { constants } from 'node:os'
import { CgroupLimit } from '../proc/cgroup.js'
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
import { govern } from './process-governor.js'

/** Options of `ebb/auto`: those of the governor, and whether the process answers at its inside socket. */
interface AutoOptions extends GovernOptions {
  inside?: boolean
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
 * Starts the governor with options from the environment. An invalid variable prints one line on standard error and ends
 * the process with exit code 1. Where the governor cannot work (not Linux), emits a process warning `EBB_UNSUPPORTED`
 * and the program runs without it. Emits `EBB_UNKNOWN_OPTION` for each unknown `EBB_*` variable.
 *
 * @returns whether the process has a governor, and may open its inside socket
 */
export function governFromEnvironment(environment: Environment): boolean {
  if ('Bun' in globalThis || 'Deno' in globalThis) {
    process.stderr.write('ebb/auto does nothing here: it supports Node only\n')
    return false
  }
  try {
    const { inside = true, ...options } = optionsFrom(environment)
    warnOfVariables(environment, NAMES, 'ebb/auto', 'EBB_', (name) => name.startsWith(OF_PARK))
    const governor = govern(options)
    if (options.log === true) process.stderr.write(`${startLine(options, governor.stats().watching)}\n`)
    return inside
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_INVALID_ARG_VALUE') {
      warn('EBB_UNSUPPORTED', `ebb/auto does nothing: ${(error as Error).message}`)
      return false
    }
    // An error of `govern()` starts with the name of its option.
    const message = (error as Error).message.replace(/^\w+/, (word) => nameOf(word) ?? word)
    process.stderr.write(`ebb/auto: ${message}\n`)
    process.exit(1)
  }
}

/** The line of `EBB_LOG=1` that says that the governor runs. */
function startLine(options: GovernOptions, watching: string | undefined): string {
  const { budget, maxPause } = checkOptions(options)
  const cgroup = new CgroupLimit()
  const limit = cgroup.limit()
  cgroup.close()
  return [
    `ebb: governor started: budget ${Number((100 * budget).toPrecision(3))} %`,
    `longest pause ${maxPause} ms`,
    limit === undefined ? 'no memory limit' : `memory limit ${(limit / 1e6).toFixed(1)} MB`,
    watching === undefined ? 'no memory pressure' : `memory pressure from ${watching}`
  ].join(', ')
}

function nameOf(option: string): string | undefined {
  return Object.hasOwn(VARIABLES, option) ? VARIABLES[option as keyof AutoOptions].name : undefined
}

function readSignal(text: string, name: string): NodeJS.Signals {
  return text in constants.signals ? (text as NodeJS.Signals) : refuse(name, 'a signal such as SIGWINCH', text)
}

/** Reads the options of `govern()` from `EBB_*` environment variables, for `ebb/auto`. */
import { constants } from 'node:os'
import { CgroupLimit } from '../proc/cgroup.js'
import { milliseconds } from '../sys/duration.js'
import { invalidArgument, shown, warn } from '../sys/errors.js'
import { nearest } from '../sys/nearest.js'
import { checkOptions, type GovernOptions } from './options.js'
import { govern } from './process-governor.js'

type Variables = {
  [K in keyof GovernOptions]-?: { name: string; read: (text: string, name: string) => GovernOptions[K] }
}

const VARIABLES: Variables = {
  budget: { name: 'EBB_BUDGET', read: readNumber },
  maxPause: { name: 'EBB_MAX_PAUSE', read: readTime },
  worth: { name: 'EBB_WORTH', read: readNumber },
  every: { name: 'EBB_EVERY', read: readTime },
  pressure: { name: 'EBB_PRESSURE', read: readFlag },
  limit: { name: 'EBB_LIMIT', read: readNumber },
  signal: { name: 'EBB_SIGNAL', read: readSignal },
  workers: { name: 'EBB_WORKERS', read: readFlag },
  log: { name: 'EBB_LOG', read: readFlag }
}

const PREFIX = 'EBB_'
/**
 * Variables of the benchmarks, of `ebb run`, and those that Kubernetes sets for a service whose name starts with `ebb`.
 */
const FOREIGN = /^EBB_BENCH_|^EBB_(HANDOVER|KEEPER|PROCS?)$|_(SERVICE|PORT)(_|$)/

/**
 * Returns the options that the environment sets. An empty variable counts as not set.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE`, whose message starts with the name of the variable
 */
export function optionsFrom(environment: Record<string, string | undefined>): GovernOptions {
  const options: Record<string, unknown> = {}
  for (const [option, { name, read }] of Object.entries(VARIABLES)) {
    const text = environment[name]
    if (text !== undefined && text !== '') options[option] = read(text, name)
  }
  return options
}

/**
 * Starts the governor with options from the environment. An invalid variable prints one line on standard error and ends
 * the process with exit code 1. Where the governor cannot work (not Linux), emits a process warning `EBB_UNSUPPORTED`
 * and the program runs without it. Emits `EBB_UNKNOWN_OPTION` for each unknown `EBB_*` variable.
 */
export function governFromEnvironment(environment: Record<string, string | undefined>): void {
  if ('Bun' in globalThis || 'Deno' in globalThis) {
    process.stderr.write('ebb/auto does nothing here: it supports Node only\n')
    return
  }
  try {
    const options = optionsFrom(environment)
    warnOfVariables(environment)
    const governor = govern(options)
    if (options.log === true) process.stderr.write(`${startLine(options, governor.stats().watching)}\n`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_INVALID_ARG_VALUE') {
      warn('EBB_UNSUPPORTED', `ebb/auto does nothing: ${(error as Error).message}`)
      return
    }
    // An error of `govern()` starts with the name of its option.
    const message = (error as Error).message.replace(/^\w+/, (word) => nameOf(word) ?? word)
    process.stderr.write(`ebb/auto: ${message}\n`)
    process.exit(1)
  }
}

/** Emits a process warning for each `EBB_*` variable that is not known, once. */
function warnOfVariables(environment: Record<string, string | undefined>): void {
  const known = Object.values(VARIABLES).map(({ name }) => name)
  // Without the prefix, which all of them share, so that it does not count as alike.
  const short = known.map((name) => name.slice(PREFIX.length))
  for (const name of Object.keys(environment)) {
    if (!name.startsWith(PREFIX) || known.includes(name) || FOREIGN.test(name)) continue
    const meant = nearest(name.slice(PREFIX.length), short)
    const remedy = meant === undefined ? `the known ones are ${known.join(', ')}` : `did you mean ${PREFIX}${meant}?`
    warn('EBB_UNKNOWN_OPTION', `ebb/auto ignores the unknown variable ${name}: ${remedy}`)
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
  return Object.hasOwn(VARIABLES, option) ? VARIABLES[option as keyof Variables].name : undefined
}

function fail(name: string, what: string, text: string): never {
  throw invalidArgument(`${name} must be ${what}, not ${shown(text)}`)
}

function readNumber(text: string, name: string): number {
  const value = Number(text)
  return Number.isFinite(value) && text.trim() !== '' ? value : fail(name, 'a number', text)
}

function readTime(text: string, name: string): number {
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : milliseconds(text, name)
}

function readFlag(text: string, name: string): boolean {
  if (['1', 'true', 'on'].includes(text)) return true
  return ['0', 'false', 'off'].includes(text) ? false : fail(name, '1 or 0', text)
}

function readSignal(text: string, name: string): NodeJS.Signals {
  return text in constants.signals ? (text as NodeJS.Signals) : fail(name, 'a signal such as SIGWINCH', text)
}

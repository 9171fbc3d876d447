/** Reading options from environment variables: for `ebb/auto` and `ebb/park`. */
import { milliseconds } from './duration.js'
import { invalidArgument, shown, warn } from './errors.js'
import { nearest } from './nearest.js'

/** The environment of a process. */
export type Environment = Record<string, string | undefined>

/** For each option, its variable and what reads the value. */
export type Variables<Options> = {
  [K in keyof Options]-?: { name: string; read: (text: string, name: string) => Options[K] }
}

/**
 * Variables of the benchmarks, of `ebb run`, and those that Kubernetes sets for a service whose name starts with `ebb`.
 */
const FOREIGN = /^EBB_BENCH_|^EBB_(HANDOVER|KEEPER|PROCS?)$|_(SERVICE|PORT)(_|$)/

/**
 * Returns the options that the environment sets. An empty variable counts as not set.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE`, whose message starts with the name of the variable
 */
export function readVariables<Options>(environment: Environment, variables: Variables<Options>): Partial<Options> {
  const options: Record<string, unknown> = {}
  for (const [option, { name, read }] of Object.entries<Variables<Options>[keyof Options]>(variables)) {
    const text = environment[name]
    if (text !== undefined && text !== '') options[option] = read(text, name)
  }
  return options as Partial<Options>
}

/**
 * Emits a process warning `EBB_UNKNOWN_OPTION` for each variable that is not known.
 *
 * @param reader what reads the variables, for the message: `ebb/auto`
 * @param prefix with which all known names begin
 * @param isOfOthers whether a variable with this prefix is for somebody else
 */
export function warnOfVariables(
  environment: Environment,
  known: readonly string[],
  reader: string,
  prefix: string,
  isOfOthers: (name: string) => boolean = () => false
): void {
  // Without the prefix, which all of them share, so that it does not count as alike.
  const short = known.map((name) => name.slice(prefix.length))
  for (const name of Object.keys(environment)) {
    if (!name.startsWith(prefix) || known.includes(name) || FOREIGN.test(name) || isOfOthers(name)) continue
    // Worker threads have the variables of their process, which has been warned.
    if (!process.getBuiltinModule('node:worker_threads').isMainThread) return
    const meant = nearest(name.slice(prefix.length), short)
    const remedy = meant === undefined ? `the known ones are ${known.join(', ')}` : `did you mean ${prefix}${meant}?`
    warn('EBB_UNKNOWN_OPTION', `${reader} ignores the unknown variable ${name}: ${remedy}`)
  }
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE` for the value of a variable */
export function refuse(name: string, what: string, text: string): never {
  throw invalidArgument(`${name} must be ${what}, not ${shown(text)}`)
}

export function readNumber(text: string, name: string): number {
  const value = Number(text)
  return Number.isFinite(value) && text.trim() !== '' ? value : refuse(name, 'a number', text)
}

/** Reads milliseconds, or a time with a unit. */
export function readTime(text: string, name: string): number {
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : milliseconds(text, name)
}

export function readFlag(text: string, name: string): boolean {
  return flagOf(text) ?? refuse(name, '1 or 0', text)
}

/** Returns what a text says as a flag; undefined if it is none. */
export function flagOf(text: string): boolean | undefined {
  if (['1', 'true', 'on'].includes(text)) return true
  return ['0', 'false', 'off'].includes(text) ? false : undefined
}

/** The governor's options, as `EBB_*` variables have them. */
import { constants } from 'node:os'
import { milliseconds } from '../sys/duration.js'
import { type GovernOptions, govern } from './process-governor.js'

type Variable = {
  [K in keyof GovernOptions]-?: { name: string; read: (text: string, name: string) => GovernOptions[K] }
}

const VARIABLES: Variable = {
  budget: { name: 'EBB_BUDGET', read: number },
  maxPause: { name: 'EBB_MAX_PAUSE', read: time },
  worth: { name: 'EBB_WORTH', read: number },
  every: { name: 'EBB_EVERY', read: time },
  pressure: { name: 'EBB_PRESSURE', read: flag },
  limit: { name: 'EBB_LIMIT', read: number },
  signal: { name: 'EBB_SIGNAL', read: signal },
  workers: { name: 'EBB_WORKERS', read: flag },
  log: { name: 'EBB_LOG', read: flag }
}

/** @throws TypeError naming the variable */
export function optionsFrom(environment: Record<string, string | undefined>): GovernOptions {
  const options: Record<string, unknown> = {}
  for (const [option, { name, read }] of Object.entries(VARIABLES)) {
    const text = environment[name]
    if (text !== undefined && text !== '') options[option] = read(text, name)
  }
  return options
}

/** As {@link govern}; a variable that cannot be is said in one sentence, and ends the process with 1. */
export function governFromEnvironment(environment: Record<string, string | undefined>): void {
  if ('Bun' in globalThis || 'Deno' in globalThis) {
    process.stderr.write('ebb/auto does nothing here: it knows Node alone\n')
    return
  }
  try {
    govern(optionsFrom(environment))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_INVALID_ARG_VALUE') {
      // Not Linux: the program runs as it would without.
      process.emitWarning(`ebb/auto does nothing: ${(error as Error).message}`, { code: 'EBB_UNSUPPORTED' })
      return
    }
    // An error of `govern()` names its option.
    const message = (error as Error).message.replace(/^\w+/, (word) => nameOf(word) ?? word)
    process.stderr.write(`ebb/auto: ${message}\n`)
    process.exit(1)
  }
}

function nameOf(option: string): string | undefined {
  return Object.hasOwn(VARIABLES, option) ? VARIABLES[option as keyof Variable].name : undefined
}

function fail(name: string, what: string, text: string): never {
  throw Object.assign(new TypeError(`${name} must be ${what}, not ${JSON.stringify(text)}`), {
    code: 'ERR_INVALID_ARG_VALUE'
  })
}

function number(text: string, name: string): number {
  const value = Number(text)
  return Number.isFinite(value) && text.trim() !== '' ? value : fail(name, 'a number', text)
}

function time(text: string, name: string): number {
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : milliseconds(text, name)
}

function flag(text: string, name: string): boolean {
  if (['1', 'true', 'on'].includes(text)) return true
  return ['0', 'false', 'off'].includes(text) ? false : fail(name, '1 or 0', text)
}

function signal(text: string, name: string): NodeJS.Signals {
  return text in constants.signals ? (text as NodeJS.Signals) : fail(name, 'a signal such as SIGUSR2', text)
}

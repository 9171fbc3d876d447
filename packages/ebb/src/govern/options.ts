/** Options of {@link govern} and their check. */
import { constants } from 'node:os'
import { checkBoolean, checkFromZero, checkObject } from '../sys/arguments.js'
import { invalidArgument, shown } from '../sys/errors.js'
import { warnOfUnknown } from '../sys/unknown.js'

/**
 * Options of `govern()`, all optional. `ebb/auto` reads each from an environment variable, see
 * docs/reference/governor.md.
 */
export interface GovernOptions {
  /** Share of a core that releases may use on all threads, above 0 and at most 1. Default: 0.01, that is 1 %. */
  budget?: number
  /**
   * Longest pause of the event loop, ms, above 0. The governor skips a release that would pause longer, unless memory
   * is short or a signal asks for it. Default: 50.
   */
  maxPause?: number
  /**
   * Least number of bytes to gain, from 0 on. The gain is the anonymous memory now minus its least since the last
   * release. A release must also gain at least 20 % of that least. Default: 1,000,000.
   */
  worth?: number
  /** Milliseconds between two samples of the load, at least 100. Default: 1000. */
  every?: number
  /** Whether to release memory when the kernel (PSI) or systemd reports memory pressure. Default: true. */
  pressure?: boolean
  /**
   * Share of the memory cgroup's limit, 0 to 1, from which on memory is released without a spike. 1 turns this off.
   * Default: 0.9.
   */
  limit?: number
  /** Signal at which memory is released, whatever it costs, such as `SIGWINCH`. Default: none. */
  signal?: NodeJS.Signals
  /** Whether worker threads collect their heaps, too. Default: true. */
  workers?: boolean
  /** Whether to print one line per release on standard error. Default: false. */
  log?: boolean
}

/** Options with their defaults. */
export type CheckedOptions = Required<Omit<GovernOptions, 'signal'>> & { signal: NodeJS.Signals | undefined }

const NAMES = Object.keys({
  budget: 0,
  maxPause: 0,
  worth: 0,
  every: 0,
  pressure: 0,
  limit: 0,
  signal: 0,
  workers: 0,
  log: 0
} satisfies Record<keyof GovernOptions, 0>)

/** Signals that cannot be caught. */
const UNCATCHABLE = new Set<string>(['SIGKILL', 'SIGSTOP'])

/**
 * Fills in the defaults.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE`, whose message starts with the name of the option
 */
export function checkOptions(options: GovernOptions): CheckedOptions {
  checkObject(options, 'options of govern()')
  warnOfUnknown(options, NAMES, 'govern()')
  const { budget = 0.01, maxPause = 50, worth = 1_000_000, every = 1000, limit = 0.9, signal } = options
  const { pressure = true, workers = true, log = false } = options
  checkBudget(budget)
  if (!isNumber(maxPause) || !(maxPause > 0)) {
    throw invalidArgument(`maxPause must be milliseconds above 0, not ${shown(maxPause)}`)
  }
  checkFromZero(worth, 'worth', 'bytes')
  if (!isNumber(every) || !(every >= 100 && every < 2 ** 31)) {
    throw invalidArgument(`every must be at least 100 milliseconds, not ${shown(every)}`)
  }
  if (!isNumber(limit) || !(limit >= 0 && limit <= 1)) {
    throw invalidArgument(`limit must be a share from 0 to 1, not ${shown(limit)}`)
  }
  if (signal !== undefined && !(typeof signal === 'string' && isCatchable(signal))) {
    throw invalidArgument(`signal must be a signal that a program can catch, such as SIGWINCH, not ${shown(signal)}`)
  }
  checkBoolean(pressure, 'pressure')
  checkBoolean(workers, 'workers')
  checkBoolean(log, 'log')
  return { budget, maxPause, worth, every, limit, signal, pressure, workers, log }
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE` for a budget that is not above 0 and at most 1 */
export function checkBudget(budget: number): void {
  if (isNumber(budget) && budget > 0 && budget <= 1) return
  throw invalidArgument(`budget must be a share of CPU time above 0 and at most 1, not ${shown(budget)}`)
}

/** Whether it is a number: programs in JavaScript may pass the text of an environment variable. */
function isNumber(value: unknown): boolean {
  return typeof value === 'number'
}

function isCatchable(signal: string): boolean {
  return Object.hasOwn(constants.signals, signal) && !UNCATCHABLE.has(signal)
}

/** Options of {@link govern} and their check. */
import { constants } from 'node:os'
import { invalidArgument } from '../sys/errors.js'

/**
 * Options of `govern()`, all optional. `ebb/auto` reads each from an environment variable, see
 * docs/reference/governor.md.
 */
export interface GovernOptions {
  /** Share of CPU time that releases may use, above 0 and at most 1. Default: 0.01, that is 1 %. */
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
  /** Signal at which memory is released, whatever it costs, such as `SIGUSR2`. Default: none. */
  signal?: NodeJS.Signals
  /** Whether worker threads collect their heaps, too. Default: true. */
  workers?: boolean
  /** Whether to print one line per release on standard error. Default: false. */
  log?: boolean
}

/** Options with their defaults. */
export type CheckedOptions = Required<Omit<GovernOptions, 'signal'>> & { signal: NodeJS.Signals | undefined }

/** Signals that cannot be caught. */
const UNCATCHABLE = new Set<string>(['SIGKILL', 'SIGSTOP'])

/**
 * Fills in the defaults.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE`, whose message starts with the name of the option
 */
export function checkOptions(options: GovernOptions): CheckedOptions {
  const { budget = 0.01, maxPause = 50, worth = 1_000_000, every = 1000, limit = 0.9, signal } = options
  const { pressure = true, workers = true, log = false } = options
  checkBudget(budget)
  if (!(maxPause > 0)) throw invalidArgument(`maxPause must be milliseconds above 0, not ${maxPause}`)
  if (!(worth >= 0)) throw invalidArgument(`worth must be a number of bytes from 0 on, not ${worth}`)
  if (!(every >= 100 && every < 2 ** 31)) throw invalidArgument(`every must be at least 100 milliseconds, not ${every}`)
  if (!(limit >= 0 && limit <= 1)) throw invalidArgument(`limit must be a share from 0 to 1, not ${limit}`)
  if (signal !== undefined && !(signal in constants.signals && !UNCATCHABLE.has(signal))) {
    throw invalidArgument(`signal must be a signal that a program can catch, such as SIGUSR2, not ${String(signal)}`)
  }
  return { budget, maxPause, worth, every, limit, signal, pressure, workers, log }
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE` for a budget that is not above 0 and at most 1 */
export function checkBudget(budget: number): void {
  if (budget > 0 && budget <= 1) return
  throw invalidArgument(`budget must be a share of CPU time above 0 and at most 1, not ${budget}`)
}

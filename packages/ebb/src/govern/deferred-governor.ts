/**
 * The governor of `ebb/auto`, which is loaded when the program has run for a while.
 *
 * Loading a governor takes 20 to 30 ms of CPU time, most of it for modules and for koffi. A governor has nothing to do
 * before its first sample, so a program need not wait for it, and a program that ends soon does not pay for it.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { prepareHiddenClasses } from '../memory/hidden-classes.js'
import { onReleased } from '../memory/releases.js'
import { hasSpareDescriptors } from '../sys/spare-descriptors.js'
import { timers } from '../sys/timers.js'
import type { Environment } from '../sys/variables.js'
import { readEnvironment, refuseToStart } from './environment.js'
import { type ProcessGovernor, RUNNING, type Running } from './governing.js'
import type { GovernOptions } from './options.js'
import type * as Start from './start.js'
import type { GovernorStats } from './stats.js'

/** Milliseconds until the governor is loaded. Its first sample comes `every` ms later. */
const START_DELAY = 500
/** Milliseconds until the next try, if the program has no descriptor left to load it with. */
const RETRY = 1000
/** The channel on which Node publishes each worker thread that starts. */
const WORKERS = 'worker_threads'

const scope = globalThis as Running

/**
 * Starts the governor with options from the environment: soon, or at once if something needs it from the start on.
 *
 * @param load loads the governor
 * @returns whether the process may open its inside socket
 */
export function governFromEnvironment(environment: Environment, load: () => typeof Start): boolean {
  const read = readEnvironment(environment)
  // Another copy of this library may be preloaded, too.
  if (read === undefined || scope[RUNNING] !== undefined) return false
  const { options, inside } = read
  const pages = mayWait(options, environment) ? anonymousPages() : undefined
  if (pages === undefined) return load().startNow(options) && inside
  scope[RUNNING] = new DeferredGovernor(options, pages, load)
  return inside
}

/** Whether nobody can see that the governor starts later: it prints a line, handles a signal, and checks variables. */
function mayWait(options: GovernOptions, { MEMORY_PRESSURE_WATCH: watch, MEMORY_PRESSURE_WRITE: write }: Environment) {
  return options.log !== true && options.signal === undefined && (watch ?? '/dev/null') === '/dev/null' && !write
}

/** Returns the pages of anonymous memory of this process; undefined where there is no `/proc`. */
function anonymousPages(): number | undefined {
  try {
    const [, resident, shared] = readFileSync('/proc/self/statm', 'latin1').split(' ')
    return Number(resident) - Number(shared)
  } catch {
    return undefined
  }
}

/** Stands for a governor that starts 0.5 s later, or as soon as the program asks it or starts a worker thread. */
class DeferredGovernor implements ProcessGovernor {
  readonly #options: GovernOptions
  readonly #pages: number
  readonly #load: () => typeof Start
  #timer: NodeJS.Timeout
  readonly #stopListening: () => void
  #governor: ProcessGovernor | undefined

  constructor(options: GovernOptions, pages: number, load: () => typeof Start) {
    this.#options = options
    this.#pages = pages
    this.#load = load
    prepareHiddenClasses()
    this.#timer = this.#startAfter(START_DELAY)
    subscribe(WORKERS, this.#onWorker)
    // The governor then listens, too, and is told of the same release.
    this.#stopListening = onReleased(() => this.#startOrWarn())
  }

  readonly #onWorker = (message: unknown): void => {
    if (this.#governor !== undefined) return
    this.#startOrWarn()
    // The governor subscribes to the workers after this one.
    this.#load().noteWorker(message)
  }

  #startAfter(ms: number): NodeJS.Timeout {
    return timers
      .setTimeout(() => {
        if (hasSpareDescriptors()) this.#startOrWarn()
        else this.#timer = this.#startAfter(RETRY)
      }, ms)
      .unref()
  }

  #startOrWarn(): void {
    try {
      this.#started()
    } catch (error) {
      this.#refuse(error as Error)
    }
  }

  #refuse(error: Error): void {
    // A frozen object refuses without an exception.
    if (scope[RUNNING] === this) Reflect.set(scope, RUNNING, undefined)
    try {
      refuseToStart(error)
    } catch {
      // The program has taken `process` away. It must not end because of its governor.
    }
  }

  #started(): ProcessGovernor {
    timers.clearTimeout(this.#timer)
    this.#governor ??= this.#load().governFrom(this.#options, this.#pages)
    unsubscribe(WORKERS, this.#onWorker)
    this.#stopListening()
    return this.#governor
  }

  stats(): GovernorStats {
    return this.#started().stats()
  }

  metrics(): string {
    return this.#started().metrics()
  }

  stop(): void {
    this.#started().stop()
  }
}

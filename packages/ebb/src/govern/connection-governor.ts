/**
 * Releases memory after a crowd of connections has gone.
 *
 * A server tells its governor of each client that joins and leaves, which costs a comparison. When the number of
 * clients has fallen below half of its highest, the governor waits until it no longer falls, at most 800 ms, and
 * releases memory. Releases are at least 1 s apart and use at most 1 % of CPU time.
 *
 * A storm of connects leaves garbage, too, which stays as long as the crowd does. So when a crowd has come and does not
 * grow any more, the governor releases memory if that is worth it and the heap is small.
 *
 * The start of a program leaves garbage, too: of loading modules and of compiling them. V8 collects it in the first
 * spike, and keeps the memory. So the first governor of a process releases it soon after the start, if the heap is
 * small and no client is there who would have to wait.
 */

import { getHeapStatistics } from 'node:v8'
import { isMainThread } from 'node:worker_threads'
import type { Reason, Release } from '../memory/release.js'
import { ownAnonymous } from '../proc/process.js'
import { checkFromZero, checkFunction, checkObject } from '../sys/arguments.js'
import { CallbackScopes, outside } from '../sys/node/callback-scope.js'
import { warnOfUnknown } from '../sys/unknown.js'
import { costModel } from './cost-model.js'
import { FallWatch, LONGEST_WAIT, Peak } from './fall.js'
import { checkBudget } from './options.js'
import { RiseWatch } from './rise.js'

/** Options of a {@link ConnectionGovernor}, all optional. */
export interface GovernorOptions {
  /** Share of CPU time that releases may use, above 0 and at most 1. Default: 0.01, that is 1 %. */
  budget?: number
  /** Smallest number of clients that counts as a crowd: fewer are not worth a release. Default: 100. */
  least?: number
  /**
   * Bytes of anonymous memory above what the last release left from which on a release is worth it. Default: 400,000.
   */
  worth?: number
  /** Called with the figures of each release that this governor makes. */
  onRelease?: (release: Release) => void
}

const NAMES = Object.keys({ budget: 0, least: 0, worth: 0, onRelease: 0 } satisfies Record<keyof GovernorOptions, 0>)

/**
 * A heap of at most this many bytes is collected at once, a larger one in steps. At once pauses a small heap for 20 ms
 * instead of 6 ms, and returns 1.5 MB more, which is a seventh of what a server of `listen()` holds.
 */
const SMALL_HEAP = 10_000_000

/**
 * Milliseconds from the first governor to the release after the start. By then, a server has done what it does when it
 * begins to listen.
 */
const START_DELAY = 500
/**
 * The releases after the start and after a rise collect a heap of at most this many bytes, at once: much of it is
 * garbage. With `import 'ebb'` it has 7 MB on Node 20 and 12 MB on Node 26.
 */
const START_HEAP = 13_000_000
/** The smallest crowd whose arrival leaves garbage that may be worth a release. */
const RISEN_CLIENTS = 1000
/** Whether a governor of this process has planned the release after the start. Threads share the process's memory. */
let hasPlannedStart = !isMainThread

// All governors of the thread share these, because they release memory of one process.
let allClients = 0
/** The number of clients at the last release. */
let clientsAtRelease = 0

/** In which scope `onRelease` is called. */
const scopes = new CallbackScopes('EBBGOVERNOR')

/** Releases memory after a crowd of clients has left. A server has one; all of a thread share their budget. */
export class ConnectionGovernor {
  readonly #budget: number
  readonly #worth: number
  readonly #onRelease: ((release: Release) => void) | undefined
  readonly #peak: Peak
  readonly #fall: FallWatch
  readonly #rise: RiseWatch
  /** The number of clients that counts as a new crowd. */
  #risenAt = RISEN_CLIENTS
  #start: NodeJS.Timeout | undefined
  #clients = 0

  /** @throws TypeError `ERR_INVALID_ARG_VALUE` for an invalid option */
  constructor(options: GovernorOptions = {}) {
    checkObject(options, 'options of a governor')
    warnOfUnknown(options, NAMES, 'Governor')
    const { budget = 0.01, least = 100, worth = 400_000, onRelease } = options
    checkBudget(budget)
    checkFromZero(least, 'least', 'clients')
    checkFromZero(worth, 'worth', 'bytes')
    checkFunction(onRelease, 'onRelease')
    this.#budget = budget
    this.#worth = worth
    this.#onRelease = onRelease
    this.#peak = new Peak(least)
    this.#fall = new FallWatch({
      size: () => this.#clients,
      hasFallen: () => this.#peak.hasFallen(this.#clients),
      onEnded: () => this.#onFallEnded()
    })
    this.#rise = new RiseWatch({ size: () => this.#clients, onEnded: () => this.#onRiseEnded() })
    if (!hasPlannedStart) {
      hasPlannedStart = true
      // From now on, it learns of the program's own releases.
      costModel()
      this.#start = outside(() => setTimeout(this.#onStarted, START_DELAY))
      this.#start.unref()
    }
  }

  /** Call this for each client that has connected. */
  joined(): void {
    allClients++
    this.#peak.add(++this.#clients)
    if (this.#clients >= this.#risenAt) this.#onRisen()
  }

  /** Call this for each client that has disconnected. */
  left(): void {
    allClients--
    this.#clients--
    if (!this.#fall.isWatching && this.#peak.hasFallen(this.#clients)) this.#fall.start(this.#clients)
  }

  /** Cancels a release that is planned, and forgets the highest number of clients. Later clients count again. */
  stop(): void {
    clearTimeout(this.#start)
    this.#fall.stop()
    this.#rise.stop()
    this.#forgetCrowd(0)
  }

  readonly #onStarted = (): void => {
    const { earliest, floor } = costModel()
    // Another release has already done it, or a crowd has come first: its end is released.
    if (floor > 0 || allClients > 0 || performance.now() < earliest) return
    if (getHeapStatistics().used_heap_size <= START_HEAP) void this.#release('asked', false)
  }

  #onRisen(): void {
    this.#risenAt = 2 * this.#clients
    if (!this.#rise.isWatching) this.#rise.start()
  }

  #onRiseEnded(): void {
    const { earliest, floor } = costModel()
    const wait = earliest - performance.now()
    if (wait > 0) this.#rise.lookAgain(Math.min(wait, LONGEST_WAIT))
    else if (floor > 0 && ownAnonymous() - floor >= this.#worth && getHeapStatistics().used_heap_size <= START_HEAP)
      void this.#release('spike', false)
  }

  #onFallEnded(): void {
    const wait = costModel().earliestAfterSpike - performance.now()
    if (wait > 0) this.#fall.lookAgain(Math.min(wait, LONGEST_WAIT))
    else if (isWorthRelease(this.#worth)) void this.#release('spike')
    else this.#forgetCrowd(this.#clients)
  }

  /** Takes the present number of clients for normal. */
  #forgetCrowd(clients: number): void {
    this.#peak.reset(clients)
    this.#risenAt = Math.max(RISEN_CLIENTS, 2 * clients)
  }

  async #release(reason: Reason, inSteps = getHeapStatistics().used_heap_size > SMALL_HEAP): Promise<void> {
    this.#forgetCrowd(this.#clients)
    clientsAtRelease = allClients
    const done = await costModel().release(this.#budget, this.#worth, { inSteps, reason })
    if (done !== undefined && this.#onRelease !== undefined) scopes.runForServer(this.#onRelease, undefined, done)
  }
}

/**
 * Whether there may be memory to gain: the process holds more than after the last release, or far fewer clients use it.
 */
function isWorthRelease(worth: number): boolean {
  const held = ownAnonymous()
  const { floor } = costModel()
  // Memory is unknown, or so low that the floor is outdated.
  if (held === 0 || held < floor - worth) return true
  return allClients < clientsAtRelease / 2 || held - floor >= worth
}

export { ConnectionGovernor as Governor }

/**
 * Releases memory in any program: after a spike of whatever it does, when the machine is short of memory, near the
 * limit of its cgroup, and at a signal.
 *
 * Once a second it reads anonymous memory, open descriptors and the CPU time of all threads. If they say that a spike
 * is over and has left memory behind, it waits until the load no longer falls, and releases memory if the cost model
 * agrees.
 */
import { getHeapStatistics } from 'node:v8'
import { prepareHiddenClasses, RetainedHandles } from '../memory/hidden-classes.js'
import { onReleased, publishRelease, type Reason, type Release } from '../memory/release.js'
import { tuneAllocator, watchFaults } from '../memory/thresholds.js'
import { watchWorkers } from '../memory/workers.js'
import { CgroupLimit } from '../proc/cgroup.js'
import { pageSize } from '../proc/sockstat.js'
import { allocatorFault, warnOfAllocatorFault } from '../sys/malloc.js'
import { outside } from '../sys/node/callback-scope.js'
import { timers } from '../sys/timers.js'
import { type CostModel, costModel } from './cost-model.js'
import { FallWatch } from './fall.js'
import { type ProcessGovernor, RUNNING, type Running } from './governing.js'
import { Load } from './load.js'
import { metrics } from './metrics.js'
import { type CheckedOptions, checkOptions, type GovernOptions } from './options.js'
import { PressureMonitor, type PressureSource, pressureSource } from './pressure.js'
import { LEAST_DESCRIPTORS, SpikeDetector } from './spike.js'
import { type GovernorStats, ReleaseLog } from './stats.js'

export type { ProcessGovernor }

/** @deprecated Renamed to {@link ProcessGovernor}. */
export type Governing = ProcessGovernor

/** @deprecated Renamed to {@link GovernorStats}. */
export type GovernStats = GovernorStats

const scope = globalThis as Running

/**
 * Starts to release memory by itself, when a spike is over or memory is short. Does not hold the process open.
 *
 * ```ts
 * const governor = govern({ maxPause: 20, signal: 'SIGWINCH' })
 * ```
 *
 * A thread has one governor. A second call checks its options, ignores them, and returns the running governor.
 *
 * Emits a process warning with the code `EBB_NO_PRESSURE` if the source of memory pressure that was asked for
 * cannot be watched, `EBB_RELEASE_FAILED` if a release fails, and `EBB_UNSUPPORTED` if koffi cannot be loaded: then the
 * governor can only collect garbage.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for an invalid option, and for an invalid `MEMORY_PRESSURE_WATCH` or
 *   `MEMORY_PRESSURE_WRITE` in the environment
 * @throws Error `ENOENT` where there is no `/proc`: not Linux
 */
export function govern(options: GovernOptions = {}): ProcessGovernor {
  const checked = checkOptions(options)
  scope[RUNNING] ??= new RunningGovernor(checked)
  return scope[RUNNING]
}

/**
 * Makes the governor of a program that has run for a while.
 *
 * @param pages anonymous memory at the start of the program, in pages
 */
export function governFrom(options: GovernOptions, pages: number): ProcessGovernor {
  return new RunningGovernor(checkOptions(options), pages)
}

/** Returns the governor of this thread; undefined if there is none. */
export function runningGovernor(): ProcessGovernor | undefined {
  return scope[RUNNING]
}

/** Milliseconds between two looks whether the process was moved to another cgroup. */
const REFRESH_INTERVAL = 30_000

/** A release that leaves this thread's heap alone needs at least this share of the memory to be outside of it. */
const OUTSIDE_SHARE = 1 / 3
/** Milliseconds between two such releases. Each that returns little doubles the time. */
const SHORTEST_WAIT_WITHOUT_HEAP = 10_000
const LONGEST_WAIT_WITHOUT_HEAP = 600_000

/** After the cgroup has reached its limit, this part of the option `limit` counts as near. */
const REACHED_SHARE = 0.5

/** Governs from its construction until {@link stop}. */
class RunningGovernor implements ProcessGovernor {
  readonly #options: CheckedOptions
  readonly #load: Load
  readonly #spike: SpikeDetector
  readonly #fall: FallWatch
  readonly #costs: CostModel = costModel()
  readonly #retainedHandles = new RetainedHandles()
  readonly #cgroup: CgroupLimit
  #pressure: PressureMonitor | undefined
  readonly #log: ReleaseLog
  readonly #timer: NodeJS.Timeout
  readonly #stopListening: () => void
  /** Time before which there is no further release that leaves the heap alone, and ms between that and the next. */
  #withoutHeapAt = 0
  #withoutHeapWait = SHORTEST_WAIT_WITHOUT_HEAP
  #refreshAt = performance.now() + REFRESH_INTERVAL
  /** Reason of this governor's own release while it is under way. */
  #releasing: Reason | undefined
  #stopped = false

  /** @param pagesAtStart anonymous memory at the start of the program, in pages, if it has run for a while since */
  constructor(options: CheckedOptions, pagesAtStart?: number) {
    this.#options = options
    this.#cgroup = new CgroupLimit()
    const source = this.#pressureSource()
    const lost = "it returns V8's garbage, but not the memory that malloc keeps, and does not watch memory pressure"
    warnOfAllocatorFault(`The governor (ebb/auto, govern()) works in part: ${lost}`)
    if (options.workers) watchWorkers()
    this.#load = new Load()
    tuneAllocator({ timer: false })
    prepareHiddenClasses()
    this.#spike = new SpikeDetector(this.#load, options.worth)
    if (pagesAtStart !== undefined) this.#spike.addStart(pagesAtStart * pageSize())
    this.#fall = new FallWatch({
      size: () => {
        this.#load.read()
        return this.#load.descriptors
      },
      hasFallen: () => this.#spike.isOver(),
      onEnded: () => void this.#releaseIfCheap('spike')
    })
    this.#log = new ReleaseLog(options.log)
    this.#watchPressure(source)
    if (options.signal !== undefined) process.on(options.signal, this.#onSignal)
    this.#stopListening = onReleased((done) => this.#onReleased(done))
    this.#timer = outside(() => timers.setInterval(this.#onTimer, options.every))
    this.#timer.unref()
  }

  #pressureSource(): PressureSource | undefined {
    return this.#options.pressure ? pressureSource(process.env, this.#cgroup.pressure) : undefined
  }

  #watchPressure(source: PressureSource | undefined): void {
    // The kernel is asked through koffi, as the allocator is.
    if (allocatorFault !== undefined) return
    this.#pressure = source && new PressureMonitor(source, () => this.#onPressure())
  }

  readonly #onTimer = (): void => {
    const load = this.#load
    const descriptorsBefore = load.descriptors
    this.#spike.sample()
    watchFaults()
    if (load.descriptors >= LEAST_DESCRIPTORS) this.#retainedHandles.onCrowd(load.descriptors)
    else this.#retainedHandles.onNoCrowd()
    this.#costs.onSample(load.descriptors, this.#spike.busy, load.othersBusy)
    this.#costs.onHeld(load.anonymous)
    this.#followCgroup()
    this.#pressure?.poll()
    if (this.#releasing !== undefined || this.#fall.isWatching) return
    const isWorth = this.#spike.isWorthRelease()
    if (this.#isNearLimit() && isWorth) {
      this.#releaseIfCheap('limit')
    } else if (this.#spike.isOver() && isWorth) {
      // If descriptors no longer fall, decide now. The cost model may refuse the release for minutes, and each sample
      // would otherwise start a watch of the fall.
      if (load.descriptors >= descriptorsBefore) this.#releaseIfCheap('spike')
      else this.#fall.start(load.descriptors)
    } else if (this.#spike.hasExcess() && !this.#releaseIfCheap('spike')) {
      this.#spike.onTooLong()
    }
  }

  /** Now and then looks whether the process was moved to another cgroup. */
  #followCgroup(): void {
    const now = performance.now()
    if (now < this.#refreshAt) return
    this.#refreshAt = now + REFRESH_INTERVAL
    const before = this.#cgroup.pressure
    if (!this.#cgroup.refresh() || this.#cgroup.pressure === before) return
    this.#pressure?.close()
    this.#watchPressure(this.#pressureSource())
  }

  #isNearLimit(): boolean {
    const { limit } = this.#options
    if (limit >= 1) return false
    // A group full of file pages reaches its limit all the time, which no release changes.
    const near = this.#cgroup.hasReachedLimit() ? REACHED_SHARE * limit : limit
    return this.#cgroup.used(near) >= near
  }

  readonly #onSignal = (): void => {
    void this.#release('signal')
  }

  #onPressure(): void {
    // Ignores maxPause, because a long pause is better than being killed. Keeps the budget, because pressure may go on.
    if (performance.now() >= this.#costs.earliest) void this.#release('pressure')
  }

  /** Releases memory if the cost model agrees. Returns false if the pause would be too long. */
  #releaseIfCheap(reason: 'spike' | 'limit'): boolean {
    const now = performance.now()
    const earliest = reason === 'spike' ? this.#costs.earliestAfterSpike : this.#costs.earliest
    if (now < earliest || this.#costs.isBackingOff(now, this.#load.anonymous)) return true
    if (this.#costs.isShort(now, this.#options.maxPause)) {
      void this.#release(reason)
      return true
    }
    this.#log.addTooLong()
    this.#releaseWithoutHeap(reason, now)
    return false
  }

  /**
   * Releases memory of worker threads and of the allocator, if much of the memory is outside of this thread's heap. For
   * a heap whose collection would pause the program for too long.
   */
  #releaseWithoutHeap(reason: 'spike' | 'limit', now: number): void {
    if (now < this.#withoutHeapAt) return
    const { anonymous } = this.#load
    if (anonymous - getHeapStatistics().total_physical_size < OUTSIDE_SHARE * anonymous) return
    this.#withoutHeapAt = now + this.#withoutHeapWait
    this.#withoutHeapWait = Math.min(2 * this.#withoutHeapWait, LONGEST_WAIT_WITHOUT_HEAP)
    void this.#release(reason, true)
  }

  async #release(reason: Reason, keepHeap = false): Promise<void> {
    if (this.#releasing !== undefined) return
    this.#releasing = reason
    const { budget, worth, workers, maxPause } = this.#options
    // If memory is short, a pause of a worker is better than being killed, too.
    const limited = reason === 'spike' || reason === 'limit'
    try {
      // Whoever sends the signal wants as much memory released as possible, so collect at once.
      const inSteps = reason !== 'signal'
      const enough = this.#spike.enough
      await this.#costs.release(budget, worth, { workers, inSteps, enough, keepHeap, ...(limited && { maxPause }) })
    } finally {
      this.#releasing = undefined
    }
  }

  /** Called after each release of this thread, whoever asked for it. @returns that it was published */
  #onReleased(done: Release): true {
    if (done.collected) {
      this.#retainedHandles.drop()
      this.#spike.onReleased(done.afterTrim, done.busyWorkers > 0)
    }
    // It was worth it, or whoever collected the heap has collected the rest, too: the next one need not wait for long.
    if (done.collected || done.before - done.afterTrim >= OUTSIDE_SHARE * done.before) {
      this.#withoutHeapWait = SHORTEST_WAIT_WITHOUT_HEAP
    }
    const message = { ...done, reason: this.#releasing ?? 'asked' }
    this.#log.add(message)
    publishRelease(message)
    return true
  }

  stats(): GovernorStats {
    if (!this.#stopped) this.#load.read()
    return {
      ...this.#log.totals(),
      anonymous: this.#load.anonymous,
      expectedPause: this.#costs.longestPause(),
      watching: this.#pressure?.path
    }
  }

  metrics(): string {
    return metrics(this.stats())
  }

  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#retainedHandles.drop()
    timers.clearInterval(this.#timer)
    this.#fall.stop()
    this.#stopListening()
    this.#pressure?.close()
    this.#cgroup.close()
    this.#load.close()
    if (this.#options.signal !== undefined) process.off(this.#options.signal, this.#onSignal)
    scope[RUNNING] = undefined
  }
}

/**
 * The cost model: what a release costs in this program, and whether one may happen now.
 *
 * - A budget: releases take at most a given share of a core, on all threads.
 * - A backoff: the next release waits longer after releases that returned little.
 * - An estimate of the pause: of the collection, learned from releases and from what V8 found alive, and of the trim,
 *   from the memory outside of V8's heap.
 *
 * All governors of a thread share one cost model, so that two of them which see the same spike release memory once.
 */
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import { estimatePause } from '../memory/pause.js'
import { onReleased, type Release, releaseUnheld, type UnheldOptions } from '../memory/release.js'
import { expectedTrimPause } from '../memory/return-pages.js'
import { warn } from '../sys/errors.js'
import { otherThreadsTime } from '../sys/thread-time.js'

/** Milliseconds between two releases at least; also the shortest backoff. */
const SHORTEST_INTERVAL = 1000
/**
 * A release is also paid by the time before it in which nothing was to be paid: at most this many ms. So a release need
 * not wait if a spike follows another a bit sooner than its cost is paid.
 */
const LONGEST_CREDIT = 5000
/** Longest backoff, ms. */
const LONGEST_BACKOFF = 600_000
/** Memory that the process faults back in within this many ms made the release a net loss. */
const FAULTED_BACK_WITHIN = 30_000
/**
 * CPU time that V8's threads use for a release, as a multiple of this thread's, at most. Holds where nobody notes the
 * load, so that the work of the program's own threads cannot be told from theirs.
 */
const MOST_HELPED = 3
/** Cost of a byte that is faulted back in, ms: page faults, and the growth of V8's young generation. */
const FAULT_BACK_MS = 0.8e-6
/** Cost of a byte of optimised machine code that V8 threw away in a release and compiles again, ms. */
const RECOMPILE_MS = 0.75e-3
/** V8 counts code by pages in part, so a loss of up to this many bytes means nothing. */
const CODE_PAGE = 256 * 1024
/**
 * Memory that was faulted back in delays the next release by at most this many ms, so that a rarer spike is released
 * every time.
 */
const LONGEST_FAULT_BACK_DELAY = 30_000
/** The backoff ends when memory has grown by this factor since the last release. */
const GROWTH = 1.5
/** Delay after a release that failed, ms. */
const FAILED_DELAY = 60_000

/** Bounds of the learned factor between a measured and an estimated pause. */
const LEAST_FACTOR = 0.25
const MOST_FACTOR = 3
/** Assumed share of the bytes allocated since V8's last collection that are alive. The rest counts as garbage. */
const SURVIVING = 0.25
/**
 * The initial estimate may be too high, and would then prevent every release. So until the first release, each minute
 * in which the estimate prevents a release multiplies it by this factor.
 */
const UNPROVEN_DECAY = 0.5
/** The initial estimate is not lowered below this factor. */
const LEAST_UNPROVEN_FACTOR = 0.5
/**
 * {@link CostModel.pause} assumes that live objects have gone with the crowd, which may be wrong. So a release needs
 * {@link CostModel.longestPause}, which does not assume it, to be at most this many times the limit.
 */
const LONGEST_PAUSE_MARGIN = 1.25

/** What releases have cost in this thread, and what the next will cost. */
export class CostModel {
  /** Time of `performance.now()` before which there is no release, even if memory is short. */
  earliest = 0
  /** Time before which there is no release after a spike. Later than {@link earliest} if memory was faulted back in. */
  earliestAfterSpike = 0
  /** Anonymous memory after the last release, bytes; 0 before the first. Memory that a release does not return. */
  floor = 0
  #backoff = SHORTEST_INTERVAL
  #backoffUntil = 0

  // The last release.

  /** Time by `performance.now()`. */
  #releasedAt = 0
  /** CPU time of this thread. */
  #cpuMs = 0
  /** CPU time of other threads: V8's, which mark and sweep, and worker threads that collect. */
  #helpersMs = 0
  /** Bytes returned to the system. */
  #returned = 0
  /** Bytes of machine code that V8 threw away. */
  #codeLost = 0
  /** Whether at least half of the returned memory is held again. */
  #faultedBack = false
  #budget = 1
  /** Time from which on the budget pays for it, and time at which it is paid. */
  #paidFrom = performance.now()
  #paidUntil = performance.now()

  /** Whether releases collect in steps. False where V8 cannot be made to. */
  #inSteps = true
  /** Measured pause divided by estimated pause. */
  #factor = 1
  #hasLearned = false
  /** When the initial estimate last prevented a release; 0 if it never did. */
  #preventedAt = 0
  /** Heap in use after the last release, bytes. */
  #heapAfterRelease = getHeapStatistics().used_heap_size
  /** Heap in use after V8's last collection, bytes, and the load at that time. */
  #heapAfterCollection = this.#heapAfterRelease
  #crowdAtCollection = 0
  #busyAtCollection = 0
  /** The load at the last sample. */
  #crowd = 0
  #busy = 0
  /** Cores that the program's other threads use: the higher figure of the last two samples. Undefined: not known. */
  #othersBusy: number | undefined
  #lastOthersBusy = 0
  /** Cleared by a collection of V8's old generation, and by nothing else. */
  #sentinel: WeakRef<object> | undefined

  /**
   * Notes the load. Call this about once a second: it also notices whether V8 has collected its old generation since
   * the last call. Makes no object unless it has.
   *
   * @param crowd what the heap grows with: number of descriptors, or of clients
   * @param busy share of a core that the thread uses, 0 to 1
   * @param othersBusy number of cores that the other threads of the process use
   */
  onSample(crowd: number, busy = 1, othersBusy = 0): void {
    this.#othersBusy = Math.max(othersBusy, this.#lastOthersBusy)
    this.#lastOthersBusy = othersBusy
    if (this.#sentinel?.deref() === undefined) {
      this.#sentinel = new WeakRef({})
      this.#heapAfterCollection = getHeapStatistics().used_heap_size
      // The collection ran at some point since the last sample.
      this.#crowdAtCollection = Math.max(crowd, this.#crowd)
      this.#busyAtCollection = Math.max(busy, this.#busy)
    }
    this.#crowd = crowd
    this.#busy = busy
  }

  /**
   * Notes the anonymous memory of the process, bytes. Delays the next release if the process has soon faulted back in
   * half of what the last release returned.
   */
  onHeld(anonymous: number): void {
    if (this.#faultedBack || this.#returned === 0 || anonymous < this.floor + this.#returned / 2) return
    this.#faultedBack = true
    if (performance.now() - this.#releasedAt >= FAULTED_BACK_WITHIN) return
    const cost = this.#cpuMs + this.#helpersMs + FAULT_BACK_MS * this.#returned + RECOMPILE_MS * this.#codeLost
    this.#paidUntil = this.#paidFrom + Math.min(cost / this.#budget, LONGEST_FAULT_BACK_DELAY)
    this.earliestAfterSpike = Math.max(this.earliest, this.#paidUntil)
  }

  /**
   * Returns the pause, ms, that a release would probably cause now. Assumes that the objects of the crowd die in
   * proportion to the load: if half of the load since V8's last collection has gone, so has half of these objects.
   */
  pause(): number {
    const used = getHeapStatistics().used_heap_size
    // What the program keeps without a crowd.
    const base = Math.min(this.#heapAfterRelease, this.#heapAfterCollection)
    const crowdBytes = this.#liveBytes(used) - base
    const share = Math.min(
      remainingShare(this.#crowd, this.#crowdAtCollection),
      remainingShare(this.#busy, this.#busyAtCollection)
    )
    const collection = this.#factor * estimatePause(Math.min(used, base + share * crowdBytes), this.#inSteps)
    return Math.max(collection, expectedTrimPause())
  }

  /**
   * Returns the pause, ms, that a release would cause now if all that V8 found alive at its last collection still is.
   */
  longestPause(): number {
    const used = getHeapStatistics().used_heap_size
    const collection = this.#factor * estimatePause(Math.min(used, this.#liveBytes(used)), this.#inSteps)
    return Math.max(collection, expectedTrimPause())
  }

  /** Returns the bytes that were alive at V8's last collection, plus the assumed survivors of later allocations. */
  #liveBytes(used: number): number {
    return this.#heapAfterCollection + SURVIVING * Math.max(0, used - this.#heapAfterCollection)
  }

  /**
   * Whether a release would pause the program for at most `maxPause` ms. Call this only for a release that is otherwise
   * due, because `false` counts as a release that the estimate prevented.
   */
  isShort(now: number, maxPause: number): boolean {
    if (this.pause() <= maxPause && this.longestPause() <= LONGEST_PAUSE_MARGIN * maxPause) return true
    // Without a release the model learns nothing, and the initial estimate may be too high. So lower it over time.
    if (!this.#hasLearned) {
      if (this.#preventedAt > 0) {
        const minutes = (now - this.#preventedAt) / 60_000
        this.#factor = Math.max(LEAST_UNPROVEN_FACTOR, this.#factor * UNPROVEN_DECAY ** minutes)
      }
      this.#preventedAt = now
    }
    return false
  }

  /**
   * Whether the next release must wait because the last releases returned little. The wait ends early when memory has
   * grown by half.
   *
   * @param anonymous anonymous memory now, bytes
   */
  isBackingOff(now: number, anonymous: number): boolean {
    return now < this.#backoffUntil && anonymous < GROWTH * this.floor
  }

  /**
   * Releases memory and learns from it.
   *
   * @param budget share of CPU time that releases may use
   * @param worth a release that returns fewer bytes doubles the backoff
   * @param options of `release()`, and the longest pause of a busy worker; `inSteps` is true by default
   * @returns undefined if the release failed, which is reported as a process warning `EBB_RELEASE_FAILED`
   */
  async release(budget: number, worth: number, options: UnheldOptions = {}): Promise<Release | undefined> {
    // No other governor starts a release until the cost of this release is known.
    this.#setEarliest(Number.POSITIVE_INFINITY)
    const codeBefore = codeSize()
    const start = performance.now()
    const othersBefore = otherThreadsTime()
    let done: Release
    try {
      done = await releaseUnheld({ inSteps: true, ...options })
    } catch (error) {
      this.#setEarliest(performance.now() + FAILED_DELAY)
      warn('EBB_RELEASE_FAILED', `ebb could not release memory: ${(error as Error).message}`)
      return undefined
    }
    // onReleased() has run by now, and has set the figures of the last release to those of this one.
    this.#codeLost = Math.max(0, codeBefore - codeSize() - CODE_PAGE)
    this.#helpersMs = this.#helpedMs(othersBefore, performance.now() - start)
    if (done.collected && (options.inSteps ?? true)) this.#inSteps = done.inSteps
    this.#budget = budget
    this.#backoff = this.#returned < worth ? Math.min(2 * this.#backoff, LONGEST_BACKOFF) : SHORTEST_INTERVAL
    this.#backoffUntil = this.#releasedAt + this.#backoff
    const released = this.#releasedAt
    // No credit for a release that did not wait for its time, as at a signal.
    const hasWaited = released >= this.#paidUntil
    this.#paidFrom = hasWaited ? Math.max(this.#paidUntil, released - LONGEST_CREDIT) : released
    this.#paidUntil = this.#paidFrom + (done.cpuMs + this.#helpersMs) / budget
    this.#setEarliest(Math.max(this.#paidUntil, released + SHORTEST_INTERVAL))
    return done
  }

  /**
   * Returns the CPU time, ms, that other threads have used for the release of the last `ms` milliseconds.
   *
   * @param before CPU time of the other threads when it began
   */
  #helpedMs(before: number | undefined, ms: number): number {
    const after = otherThreadsTime()
    if (before === undefined || after === undefined) return 0
    // What the program's own threads have probably used meanwhile is no cost of the release.
    const used = Math.max(0, after - before - (this.#othersBusy ?? 0) * ms)
    return this.#othersBusy === undefined ? Math.min(used, MOST_HELPED * this.#cpuMs) : used
  }

  #setEarliest(time: number): void {
    this.earliest = time
    this.earliestAfterSpike = time
  }

  /** Learns from a release, whoever asked for it. Called after each release of this thread. */
  onReleased(done: Release): void {
    this.floor = done.afterTrim
    this.#releasedAt = performance.now()
    this.#returned = Math.max(0, done.before - done.afterTrim)
    // Only release() knows the code size before, so it sets this after its own releases.
    this.#codeLost = 0
    this.#faultedBack = false
    this.#cpuMs = done.cpuMs
    // Only release() measures other threads and knows what is paid, and sets these after its own releases.
    this.#helpersMs = 0
    this.#paidFrom = this.#releasedAt
    if (!done.collected) return
    this.#heapAfterRelease = getHeapStatistics().used_heap_size
    this.#heapAfterCollection = this.#heapAfterRelease
    this.#crowdAtCollection = this.#crowd
    this.#busyAtCollection = this.#busy
    this.#sentinel = new WeakRef({})
    this.#learn(done)
  }

  /** Learns from the pause of a release that has just ended. */
  #learn({ pauseMs, trimPauseMs, cpuMs, inSteps }: Release): void {
    // The estimate is that of a collection, which paused for less than the trim: nothing can be learned.
    if (trimPauseMs >= pauseMs) return
    // On a busy machine the thread also waits for a core, which the release did not cause. So a pause counts for at
    // most twice its CPU time: up to half of a pause may be spent waiting for V8's helper threads.
    const pause = Math.min(pauseMs, 2 * cpuMs)
    const factor = Math.min(Math.max(pause / estimatePause(this.#heapAfterRelease, inSteps), LEAST_FACTOR), MOST_FACTOR)
    // Adopts a longer pause at once and a shorter pause gradually. The first measured pause replaces the estimate.
    this.#factor = this.#hasLearned ? Math.max(factor, 0.7 * this.#factor + 0.3 * factor) : factor
    this.#hasLearned = true
  }
}

/** Returns the size of the machine code that V8 has compiled for this program, bytes. */
function codeSize(): number {
  const spaces = getHeapSpaceStatistics().filter(({ space_name }) => space_name.startsWith('code_'))
  return spaces.reduce((sum, { space_used_size }) => sum + space_used_size, 0)
}

/** Returns the share of an earlier load that is left, at most 1. */
function remainingShare(now: number, then: number): number {
  return now < then ? now / then : 1
}

// A program may load two copies of this library, but has one heap: both find the same cost model by its symbol. Change
// the number when you change the class.
const KEY = Symbol.for('ebb.cost-model.2')
const scope = globalThis as { [KEY]?: CostModel }

/** Returns the cost model of this thread. */
export function costModel(): CostModel {
  if (scope[KEY] === undefined) {
    const model = new CostModel()
    scope[KEY] = model
    onReleased((done) => model.onReleased(done))
  }
  return scope[KEY]
}

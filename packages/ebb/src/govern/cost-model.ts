/**
 * The cost model: what a release costs in this program, and whether one may happen now.
 *
 * - A budget: releases take at most a given share of CPU time.
 * - A backoff: the next release waits longer after releases that returned little.
 * - An estimate of the pause: learned from releases, and from what V8 found alive.
 *
 * All governors of a thread share one cost model, so that two of them which see the same spike release memory once.
 */
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import { onReleased, type Release, type ReleaseOptions, releaseUnheld } from '../memory/release.js'
import { warn } from '../sys/errors.js'

/** Milliseconds between two releases at least; also the shortest backoff. */
const SHORTEST_INTERVAL = 1000
/** Longest backoff, ms. */
const LONGEST_BACKOFF = 600_000
/** Memory that the process faults back in within this many ms made the release a net loss. */
const FAULTED_BACK_WITHIN = 30_000
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

/**
 * The estimated pause before anything is learned: ms for an empty heap, and ms for each MB that is alive.
 *
 * A collection at once marks what is alive, at least twice. A collection in steps pauses the program for compaction
 * only. Figures: docs/performance.md.
 */
const AT_ONCE = { empty: 10, perMb: 1.5 }
const IN_STEPS = { empty: 5, perMb: 0.5 }
/** Bounds of what is learned: the factor between a measured and an estimated pause. */
const LEAST_FACTOR = 0.25
const MOST_FACTOR = 3
/** Share of what was allocated since V8's last collection that is taken for alive. The rest is taken for garbage. */
const SURVIVING = 0.25
/**
 * An estimate without any learning that prevents releases is lowered: by this factor per minute, down to the second.
 */
const DOUBT_PER_MINUTE = 0.5
const LEAST_DOUBTED = 0.5
/**
 * A pause estimated on the assumption that live objects have gone with the crowd may be wrong. So the pause without
 * that assumption may be at most this many times as long as the limit.
 */
const RISK = 1.25

/** What releases have cost in this thread, and what the next will cost. */
export class CostModel {
  /** Time of `performance.now()` before which there is no release, even if memory is short. */
  earliest = 0
  /** Time before which there is no release after a spike. Later than {@link earliest} if memory was faulted back in. */
  earliestAfterSpike = 0
  /** Anonymous memory after the last release, bytes; 0 before the first. */
  floor = 0
  #backoff = SHORTEST_INTERVAL
  #backoffUntil = 0

  // The last release.
  #releasedAt = 0
  #cpuMs = 0
  #returned = 0
  #codeLost = 0
  #faultedBack = false
  #budget = 1

  /** Whether releases collect in steps. False where V8 cannot be made to. */
  #inSteps = true
  /** Measured pause divided by estimated pause. */
  #factor = 1
  #hasLearned = false
  #doubtedAt = 0
  /** Heap in use after the last release, bytes. */
  #floorHeap = getHeapStatistics().used_heap_size
  /** Heap in use after V8's last own collection, bytes, and the load at that time. */
  #heap = this.#floorHeap
  #crowdThen = 0
  #busyThen = 0
  /** The load at the last sample. */
  #crowd = 0
  #busy = 0
  /** Cleared by a collection of V8's old generation, and by nothing else. */
  #sentinel: WeakRef<object> | undefined

  /**
   * Notes the load. Call this about once a second: it also notices whether V8 has collected its old generation since
   * the last call. Makes no object unless it has.
   *
   * @param crowd what the heap grows with: number of descriptors, or of clients
   * @param busy share of a core that the thread uses, 0 to 1
   */
  onSample(crowd: number, busy = 1): void {
    if (this.#sentinel?.deref() === undefined) {
      this.#sentinel = new WeakRef({})
      this.#heap = getHeapStatistics().used_heap_size
      // The collection ran at some point since the last sample.
      this.#crowdThen = Math.max(crowd, this.#crowd)
      this.#busyThen = Math.max(busy, this.#busy)
    }
    this.#crowd = crowd
    this.#busy = busy
  }

  /** Notes the anonymous memory of the process, bytes: what the last release returned may have been faulted back in. */
  onHeld(held: number): void {
    if (this.#faultedBack || this.#returned === 0 || held < this.floor + this.#returned / 2) return
    this.#faultedBack = true
    if (performance.now() - this.#releasedAt >= FAULTED_BACK_WITHIN) return
    const cost = this.#cpuMs + FAULT_BACK_MS * this.#returned + RECOMPILE_MS * this.#codeLost
    const delay = Math.min(cost / this.#budget, LONGEST_FAULT_BACK_DELAY)
    this.earliestAfterSpike = Math.max(this.earliest, this.#releasedAt + delay)
  }

  /**
   * Returns the pause, ms, that a release would probably cause now. Assumes that the live objects of V8's last
   * collection have gone in proportion to the load since then.
   */
  pause(): number {
    const used = getHeapStatistics().used_heap_size
    const base = Math.min(this.#floorHeap, this.#heap)
    const grown = SURVIVING * Math.max(0, used - this.#heap)
    const share = Math.min(remainingShare(this.#crowd, this.#crowdThen), remainingShare(this.#busy, this.#busyThen))
    return this.#factor * estimate(Math.min(used, base + share * (this.#heap - base + grown)), this.#inSteps)
  }

  /**
   * Returns the pause, ms, that a release would cause now if all that V8 found alive at its last collection still is.
   */
  longestPause(): number {
    const used = getHeapStatistics().used_heap_size
    const live = Math.min(used, this.#heap + SURVIVING * Math.max(0, used - this.#heap))
    return this.#factor * estimate(live, this.#inSteps)
  }

  /**
   * Whether a release would pause the program for at most `maxPause` ms. Call this only for a release that is otherwise
   * due, because `false` counts as a release that the estimate prevented.
   */
  isShort(now: number, maxPause: number): boolean {
    if (this.pause() <= maxPause && this.longestPause() <= RISK * maxPause) return true
    // Without a release nothing is ever learned, and the estimate may be wrong. So trust it less and less.
    if (!this.#hasLearned) {
      if (this.#doubtedAt > 0) {
        const minutes = (now - this.#doubtedAt) / 60_000
        this.#factor = Math.max(LEAST_DOUBTED, this.#factor * DOUBT_PER_MINUTE ** minutes)
      }
      this.#doubtedAt = now
    }
    return false
  }

  /**
   * Whether the next release must wait because the last ones returned little. `held` is the anonymous memory now,
   * bytes: memory that has grown by half ends the wait.
   */
  isBackingOff(now: number, held: number): boolean {
    return now < this.#backoffUntil && held < GROWTH * this.floor
  }

  /**
   * Releases memory and learns from it.
   *
   * @param budget share of CPU time that releases may use
   * @param worth a release that returns fewer bytes doubles the backoff
   * @param options of `release()`; `inSteps` is true by default
   * @returns undefined if the release failed, which is reported as a process warning `EBB_RELEASE_FAILED`
   */
  async release(budget: number, worth: number, options: ReleaseOptions = {}): Promise<Release | undefined> {
    // Nobody else starts a release until the cost of this one is known.
    this.#setEarliest(Number.POSITIVE_INFINITY)
    const codeBefore = codeSize()
    let done: Release
    try {
      done = await releaseUnheld({ inSteps: true, ...options })
    } catch (error) {
      this.#setEarliest(performance.now() + FAILED_DELAY)
      warn('EBB_RELEASE_FAILED', `ebb could not release memory: ${(error as Error).message}`)
      return undefined
    }
    this.#codeLost = Math.max(0, codeBefore - codeSize() - CODE_PAGE)
    if (options.inSteps ?? true) this.#inSteps = done.inSteps
    this.#budget = budget
    this.#backoff = this.#returned < worth ? Math.min(2 * this.#backoff, LONGEST_BACKOFF) : SHORTEST_INTERVAL
    this.#backoffUntil = this.#releasedAt + this.#backoff
    this.#setEarliest(this.#releasedAt + Math.max(done.cpuMs / budget, SHORTEST_INTERVAL))
    return done
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
    // The code size before somebody else's release is unknown; release() sets it for its own.
    this.#codeLost = 0
    this.#faultedBack = false
    this.#cpuMs = done.cpuMs
    this.#floorHeap = getHeapStatistics().used_heap_size
    this.#heap = this.#floorHeap
    this.#crowdThen = this.#crowd
    this.#busyThen = this.#busy
    this.#sentinel = new WeakRef({})
    this.#learn(done)
  }

  /** Learns from the pause of a release that left the present heap. */
  #learn({ pauseMs, cpuMs, inSteps }: Release): void {
    // Time that the thread waited for a core is no pause of the release. It may wait half of a pause for V8's helper
    // threads.
    const pause = Math.min(pauseMs, 2 * cpuMs)
    const factor = Math.min(Math.max(pause / estimate(this.#floorHeap, inSteps), LEAST_FACTOR), MOST_FACTOR)
    // Believes a longer pause at once and a shorter one slowly. The first measured pause replaces the estimate.
    this.#factor = this.#hasLearned ? Math.max(factor, 0.7 * this.#factor + 0.3 * factor) : factor
    this.#hasLearned = true
  }
}

function estimate(liveBytes: number, inSteps: boolean): number {
  const { empty, perMb } = inSteps ? IN_STEPS : AT_ONCE
  return empty + (perMb * liveBytes) / 1e6
}

/** Returns the bytes of machine code that V8 has compiled for this program. */
function codeSize(): number {
  const spaces = getHeapSpaceStatistics().filter(({ space_name }) => space_name.startsWith('code_'))
  return spaces.reduce((sum, { space_used_size }) => sum + space_used_size, 0)
}

function remainingShare(now: number, then: number): number {
  return now < then ? now / then : 1
}

// A program may load two copies of this library, but has one heap: both find the same cost model by its symbol. Change
// the number when you change the class.
const KEY = Symbol.for('ebb.cost-model.1')
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

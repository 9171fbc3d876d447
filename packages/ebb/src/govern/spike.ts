/** Detects that a spike of any program is over, and how much memory it has left behind. */
import { Excess } from './excess.js'
import { Peak } from './fall.js'
import type { Load } from './load.js'

/** A process that never had this many descriptors had no crowd. */
export const LEAST_DESCRIPTORS = 50
/** A thread that never used this share of a core had no spike of work. */
const LEAST_BUSY = 0.05
/** Other threads that never used this share of a core more than this thread had no spike of work. */
const LEAST_OTHERS_BUSY = 0.25
/** CPU time must stay low for this many ms, because a program that waits for its clients has a lull now and then. */
const LULL = 4000
/** A release must promise at least this share of the memory that the program lives on. */
const WORTH_SHARE = 0.2

/** Follows the CPU time of threads, and notices that it has fallen and stays low. */
class Lull {
  /** Share of a core, smoothed over the last samples. */
  busy = 0
  readonly #peak: Peak
  /** When the CPU time fell; 0 if it has not. */
  #start = 0
  #descriptorsAtStart = 0

  /** @param least share of a core that counts as work */
  constructor(least: number) {
    this.#peak = new Peak(least)
  }

  add(busy: number, descriptors: number): void {
    this.busy = 0.5 * this.busy + 0.5 * busy
    this.#peak.add(this.busy)
    if (!this.#peak.hasFallen(this.busy)) {
      this.#start = 0
    } else if (this.#start === 0 || descriptors > 2 * this.#descriptorsAtStart + LEAST_DESCRIPTORS) {
      // A crowd that has just come still needs its memory, even if it causes little work. The lull starts again.
      this.#start = performance.now()
      this.#descriptorsAtStart = descriptors
    }
  }

  /** Whether the CPU time has been low for long enough. */
  get hasLasted(): boolean {
    return this.#start > 0 && performance.now() - this.#start >= LULL
  }

  reset(): void {
    this.#peak.reset(this.busy)
    this.#start = 0
  }
}

/**
 * Follows the load of the process. A spike is over in any of these cases:
 *
 * - Fewer descriptors are open than half of their highest number since the last release.
 * - This thread has used less than half of its highest CPU time for 4 s.
 * - The other threads, such as workers and libuv's thread pool, have done so.
 *
 * Memory far above what the program needs counts as what a spike has left, too: see {@link Excess}.
 */
export class SpikeDetector {
  readonly #load: Load
  readonly #worth: number
  readonly #descriptors = new Peak(LEAST_DESCRIPTORS)
  /** The descriptors that were open at the last release. */
  readonly #descriptorsAtRelease = new Peak(LEAST_DESCRIPTORS)
  readonly #own = new Lull(LEAST_BUSY)
  readonly #others = new Lull(LEAST_OTHERS_BUSY)
  #excess: Excess
  /** The least anonymous memory since the last release, bytes: what the program lives on. */
  #least: number

  /** @param worth bytes of memory to gain from which on a release is worth it */
  constructor(load: Load, worth: number) {
    this.#load = load
    this.#worth = worth
    this.#least = load.anonymous
    this.#excess = new Excess(performance.now(), load.anonymous)
  }

  /**
   * Notes what the program has done before the first sample. Its work since the start of the process counts as work of
   * a spike.
   *
   * @param anonymous anonymous memory at the start of the program, bytes
   */
  addStart(anonymous: number): void {
    this.#least = Math.min(this.#least, anonymous)
    this.#excess = new Excess(performance.now(), this.#least)
    this.#addBusy()
  }

  /** Share of a core that this thread uses, smoothed over the last samples. */
  get busy(): number {
    return this.#own.busy
  }

  /** A release that leaves at most this much anonymous memory has returned enough, bytes. */
  get enough(): number {
    const { lowest } = this.#excess
    return lowest + this.#worthAbove(lowest)
  }

  /** Reads the load. Call this at regular intervals. */
  sample(): void {
    const load = this.#load
    load.read()
    load.readBusy()
    this.#addBusy()
    this.#descriptors.add(load.descriptors)
    this.#least = Math.min(this.#least, load.anonymous)
    this.#excess.add(performance.now(), load.anonymous)
  }

  #addBusy(): void {
    const { busy, othersBusy, descriptors } = this.#load
    this.#own.add(busy, descriptors)
    // V8's threads work for this thread, and seldom for longer than it works itself. Without this, the end of a
    // collection would count as the end of a spike.
    this.#others.add(Math.max(0, othersBusy - busy), descriptors)
  }

  /** Whether the spike is over, by the load as it was last read. */
  isOver(): boolean {
    return this.#descriptors.hasFallen(this.#load.descriptors) || this.#own.hasLasted || this.#others.hasLasted
  }

  /** Whether there is enough memory to gain, by the load as it was last read. */
  isWorthRelease(): boolean {
    const { anonymous, descriptors } = this.#load
    // If most of the crowd that was there at the last release has gone, memory that was alive then is garbage now.
    const base = this.#descriptorsAtRelease.hasFallen(descriptors) ? this.#excess.lowest : this.#least
    return anonymous - base >= this.#worthAbove(this.#least)
  }

  /** Whether memory is far above what the program needs, though the load has not fallen. */
  hasExcess(): boolean {
    return this.#excess.isDue(performance.now(), this.#load.anonymous)
  }

  /** Notes that a release because of {@link hasExcess} would have paused the program for too long. */
  onTooLong(): void {
    this.#excess.onTooLong(performance.now(), this.#load.anonymous)
  }

  #worthAbove(base: number): number {
    return Math.max(this.#worth, WORTH_SHARE * base)
  }

  /**
   * Starts again after a release.
   *
   * @param held anonymous memory that it left, bytes; 0 if it is not known
   * @param isPart whether busy worker threads were left out: then part of what is held may be garbage, which is worth a
   *   release when their work has ended
   */
  onReleased(held: number, isPart = false): void {
    this.#load.read()
    // Resets the interval: the CPU time of the release itself is no load.
    this.#load.readBusy()
    this.#descriptors.reset(this.#load.descriptors)
    this.#descriptorsAtRelease.reset(this.#load.descriptors)
    this.#own.reset()
    this.#others.reset()
    const left = held || this.#load.anonymous
    if (!isPart) this.#least = left
    this.#excess.onReleased(performance.now(), left, this.#worthAbove(left))
  }
}

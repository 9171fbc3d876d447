/** Detects that a spike of any program is over, and how much memory it has left behind. */
import { Peak } from './fall.js'
import type { Load } from './load.js'

/** A process that never had this many descriptors had no crowd. */
export const LEAST_DESCRIPTORS = 50
/** A process that never used this share of a core had no spike of work. */
const LEAST_BUSY = 0.05
/** CPU time must stay low for this many ms, because a program that waits for its clients has a lull now and then. */
const LULL = 4000
/** A release must promise at least this share of the memory that the program lives on. */
const WORTH_SHARE = 0.2

/**
 * Follows the load of the process. A spike is over in either of two cases:
 *
 * - Fewer descriptors are open than half of their highest number since the last release.
 * - The main thread has used less than half of its highest CPU time for 4 s.
 */
export class SpikeDetector {
  readonly #load: Load
  readonly #worth: number
  readonly #descriptors = new Peak(LEAST_DESCRIPTORS)
  /** The descriptors that were open at the last release. */
  readonly #descriptorsAtRelease = new Peak(LEAST_DESCRIPTORS)
  readonly #busyPeak = new Peak(LEAST_BUSY)
  /** Share of a core, smoothed. */
  #busy = 0
  /** When the CPU time fell; 0 if it has not. */
  #lullStart = 0
  #descriptorsAtLull = 0
  /** The least anonymous memory since the last release, bytes: what the program lives on. */
  #least: number
  /** The least anonymous memory ever, bytes. */
  #lowest: number

  /** @param worth bytes of memory to gain from which on a release is worth it */
  constructor(load: Load, worth: number) {
    this.#load = load
    this.#worth = worth
    this.#least = load.anonymous
    this.#lowest = load.anonymous
  }

  /** Share of a core that the main thread uses, smoothed over the last samples. */
  get busy(): number {
    return this.#busy
  }

  /** A release that leaves at most this much anonymous memory has returned enough, bytes. */
  get enough(): number {
    return this.#lowest + this.#worthAbove(this.#lowest)
  }

  /** Reads the load. Call this at regular intervals. */
  sample(): void {
    const load = this.#load
    load.read()
    load.readBusy()
    this.#busy = 0.5 * this.#busy + 0.5 * load.busy
    this.#busyPeak.add(this.#busy)
    this.#watchLull()
    this.#descriptors.add(load.descriptors)
    this.#least = Math.min(this.#least, load.anonymous)
    this.#lowest = Math.min(this.#lowest, load.anonymous)
  }

  #watchLull(): void {
    const { descriptors } = this.#load
    if (!this.#busyPeak.hasFallen(this.#busy)) {
      this.#lullStart = 0
    } else if (this.#lullStart === 0 || descriptors > 2 * this.#descriptorsAtLull + LEAST_DESCRIPTORS) {
      // A crowd that has just come still needs its memory, even if it causes little work. The lull starts again.
      this.#lullStart = performance.now()
      this.#descriptorsAtLull = descriptors
    }
  }

  /** Whether the spike is over, by the load as it was last read. */
  isOver(): boolean {
    return (
      this.#descriptors.hasFallen(this.#load.descriptors) ||
      (this.#lullStart > 0 && performance.now() - this.#lullStart >= LULL)
    )
  }

  /** Whether there is enough memory to gain, by the load as it was last read. */
  isWorthRelease(): boolean {
    const { anonymous, descriptors } = this.#load
    // If most of the crowd that was there at the last release has gone, memory that was alive then is garbage now.
    const base = this.#descriptorsAtRelease.hasFallen(descriptors) ? this.#lowest : this.#least
    return anonymous - base >= this.#worthAbove(this.#least)
  }

  #worthAbove(base: number): number {
    return Math.max(this.#worth, WORTH_SHARE * base)
  }

  /** Starts again after a release. `held` is the anonymous memory that it left, bytes; 0 if it is not known. */
  onReleased(held: number): void {
    this.#load.read()
    // Resets the interval: the CPU time of the release itself is no load.
    this.#load.readBusy()
    this.#descriptors.reset(this.#load.descriptors)
    this.#descriptorsAtRelease.reset(this.#load.descriptors)
    this.#busyPeak.reset(this.#busy)
    this.#lullStart = 0
    this.#least = held || this.#load.anonymous
  }
}

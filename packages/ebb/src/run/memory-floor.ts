/** The floor of a process's memory: what it holds even between spikes. */

/** Samples in a window. */
const SAMPLES = 12

/**
 * The minimum of the samples in the last window. A spike raises some samples and not the minimum; fragmentation and
 * leaks raise all of them.
 */
export class MemoryFloor {
  /** Milliseconds between two samples. */
  readonly every: number
  readonly #samples = new Float64Array(SAMPLES)
  #count = 0

  /** @param window ms */
  constructor(window: number) {
    this.every = window / SAMPLES
  }

  /** Adds a sample, and returns the floor; undefined until a whole window has passed. */
  add(bytes: number): number | undefined {
    this.#samples[this.#count++ % SAMPLES] = bytes
    return this.#count < SAMPLES ? undefined : Math.min(...this.#samples)
  }

  /** Forgets the samples: they are of a process that was replaced. */
  clear(): void {
    this.#count = 0
  }
}

/** How long to wait before a process that ended is started again. */

/** Delay before the second restart in a row, ms. The first one is immediate: clients wait. */
const FIRST = 100
/** Longest delay, ms. */
const LONGEST = 30_000
/** Time that a process must run for its next end to count as the first one again, ms. */
const STABLE = 10_000

/** Counts restarts in a row of one process: each delay is twice the last one, until a process ran for 10 s. */
export class Backoff {
  #restarts = 0

  /** Restarts since a process last ran for 10 s. */
  get restarts(): number {
    return this.#restarts
  }

  /**
   * Returns the delay before the next restart, ms.
   *
   * @param ran how long the process that has ended ran, ms
   */
  next(ran: number): number {
    if (ran >= STABLE) this.#restarts = 0
    const restarts = this.#restarts++
    return restarts === 0 ? 0 : Math.min(LONGEST, FIRST * 2 ** (restarts - 1))
  }
}

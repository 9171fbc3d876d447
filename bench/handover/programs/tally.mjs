/** What clients of one kind have met. */
import { setTimeout as wait } from 'node:timers/promises'

/**
 * What clients of one kind have met.
 *
 * @typedef {object} Result
 * @property {string} name
 * @property {number} exchanges
 * @property {number} failed exchanges without an answer
 * @property {number} wrong answers that are not what was expected
 * @property {number} closed connections that the server closed
 * @property {number} longest milliseconds of the longest extra wait since the first restart
 * @property {number} usual milliseconds of the longest extra wait before
 * @property {string} first message of the first error; empty: there was none
 */

/** Counts. */
export class Tally {
  /** @type {Result} */
  result
  /** Whether the clients are leaving, so that nothing counts any more. */
  isOver = false

  /** @param {string} name */
  constructor(name) {
    this.result = { name, exchanges: 0, failed: 0, wrong: 0, closed: 0, longest: 0, usual: 0, first: '' }
  }

  /** What came so far was usual. */
  beginRestarts() {
    this.result.usual = this.result.longest
    this.result.longest = 0
  }

  /**
   * @param {number} ms extra wait
   * @param {boolean} isRight
   */
  add(ms, isRight) {
    this.result.exchanges++
    if (!isRight) this.result.wrong++
    this.result.longest = Math.max(this.result.longest, ms)
  }

  /** @param {unknown} error */
  fail(error) {
    if (this.isOver) return
    this.result.failed++
    this.result.first ||= error instanceof Error ? causeOf(error) : String(error)
  }

  /** The server has closed a connection. */
  close() {
    if (!this.isOver) this.result.closed++
  }

  /**
   * Repeats an exchange until the end, with a pause after each.
   *
   * @param {number} pause ms
   * @param {() => Promise<boolean>} exchange resolves with whether the answer is right
   * @param {number} [usual] milliseconds that the answer takes without a restart
   */
  async repeat(pause, exchange, usual = 0) {
    while (!this.isOver) {
      const start = performance.now()
      try {
        const isRight = await exchange()
        this.add(performance.now() - start - usual, isRight)
      } catch (error) {
        this.fail(error)
      }
      await wait(pause)
    }
  }
}

/** @param {Error} error */
function causeOf(error) {
  return error.cause instanceof Error ? error.cause.message : error.message
}

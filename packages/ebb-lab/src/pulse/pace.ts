/** A pace: the times at which connections are meant to start. */

/** Maximum wait for the next start in ms. Rates far below 1/s would overflow the 24 days of a timer. */
const MAX_WAIT = 60_000

/** Evenly spaced start times from a rate. Times are milliseconds of `performance.now()`. */
export class Pace {
  readonly #first: number
  readonly #interval: number

  /**
   * @param rate starts per second; `Infinity`: all are meant to start at once
   * @param start time at which the first start of all parts is due
   * @param part which of `of` parts this is, if several share the load: their starts alternate
   */
  constructor(rate: number, start: number, part: { index: number; of: number } = { index: 0, of: 1 }) {
    this.#interval = 1000 / rate
    this.#first = start + (this.#interval * part.index) / part.of
  }

  /** Returns the time at which start number `index` is due. */
  at(index: number): number {
    return this.#first + index * this.#interval
  }

  /** Returns how many starts are due by `now`, at most `n`. */
  due(now: number, n: number): number {
    if (now < this.#first) return 0
    return this.#interval === 0 ? n : Math.min(n, Math.floor((now - this.#first) / this.#interval) + 1)
  }

  /** Returns how long to wait for start number `index`, at most a minute. */
  wait(index: number, now: number): number {
    return Math.min(MAX_WAIT, Math.max(0, this.at(index) - now))
  }
}

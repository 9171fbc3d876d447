/** Calls a function at regular times. */

/** Options of {@link Ticker}. Times are in milliseconds. */
export interface TickerOptions {
  /** From one tick to the next. */
  every: number
  /** No tick comes after this time. Default: there is no last tick. */
  until?: number
  /** The clock that `until` refers to. */
  now: () => number
  /** Called at each tick. Returns false to stop. */
  onTick: () => boolean
  /** Called once, the first time that more than {@link TOLERATED} ticks in a row were missed. */
  onLate: (missed: number) => void
}

/** Ticks in a row that may be missed without a report. */
const TOLERATED = 3

/** Ticks at multiples of a period, so that it does not drift. Skips the ticks that it missed. */
export class Ticker {
  readonly #options: TickerOptions
  #timer: NodeJS.Timeout | undefined
  #next: number
  #reportedLate = false
  #stopped = false

  /** The first tick comes at once, but not within this call. */
  constructor(options: TickerOptions) {
    this.#options = options
    this.#next = options.now()
    this.#timer = setTimeout(this.#tick, 0)
  }

  /** Stops ticking. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  readonly #tick = (): void => {
    if (this.#options.onTick() && !this.#stopped) this.#schedule()
  }

  #schedule(): void {
    const { every, until = Number.POSITIVE_INFINITY, now, onLate } = this.#options
    this.#next += every
    const late = now() - this.#next
    if (late > 0) {
      const missed = Math.ceil(late / every)
      this.#next += missed * every
      if (missed > TOLERATED && !this.#reportedLate) {
        this.#reportedLate = true
        onLate(missed)
      }
    }
    const wait = Math.ceil(Math.min(this.#next, until) - now())
    if (!this.#stopped) this.#timer = setTimeout(this.#tick, Math.max(0, wait))
  }
}

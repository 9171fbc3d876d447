/** Times in milliseconds. */
export interface TickerOptions {
  every: number
  /** The last tick is not after this time. Default: never. */
  until?: number
  /** The clock that the times are of. */
  now: () => number
  /** False: it was the last. */
  onTick: () => boolean
  /** More ticks than {@link TOLERATED} were missed at once. Told once. */
  onLate: (missed: number) => void
}

/** Periods that may be missed before it is told. */
const TOLERATED = 3

/** Ticks a period apart, against the clock, so that it does not drift; those that it missed are left out. */
export class Ticker {
  readonly #options: TickerOptions
  #timer: NodeJS.Timeout | undefined
  #next: number
  #saidLate = false
  #stopped = false

  /** The first tick comes at once, but not within this call. */
  constructor(options: TickerOptions) {
    this.#options = options
    this.#next = options.now()
    this.#timer = setTimeout(this.#tick, 0)
  }

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
      if (missed > TOLERATED && !this.#saidLate) {
        this.#saidLate = true
        onLate(missed)
      }
    }
    const wait = Math.ceil(Math.min(this.#next, until) - now())
    if (!this.#stopped) this.#timer = setTimeout(this.#tick, Math.max(0, wait))
  }
}

/** Churn: connections that leave and are replaced while a crowd is held. */
import { total } from './causes.js'
import type { Crowd } from './crowd.js'
import { emptyOpened, type Opened } from './opened.js'
import { pause } from './pause.js'

/** Replaces connections at a steady rate. Times are milliseconds of `performance.now()`. */
export class Churn {
  readonly #rate: number
  readonly #start: number
  /** Number of replacements that were ordered. */
  #ordered = 0

  /**
   * @param rate connections per second that leave
   * @param start time from which on they leave; the first one leaves `1000 / rate` ms later
   */
  constructor(rate: number, start: number) {
    this.#rate = rate
    this.#start = start
  }

  /** Orders the replacements that are due before `until`: their number, and the time of the first one. */
  take(until: number): { n: number; start: number } {
    const interval = 1000 / this.#rate
    const start = this.#start + (this.#ordered + 1) * interval
    const n = Math.max(0, Math.floor((until - this.#start) / interval) - this.#ordered)
    this.#ordered += n
    return { n, start }
  }

  /**
   * Replaces connections of a crowd until a time. If the server is slow, it takes longer, and what was to begin
   * meanwhile begins late.
   */
  async run(crowd: Crowd, until: number, signal?: AbortSignal): Promise<Opened> {
    const { n, start } = this.take(until)
    let opened = emptyOpened()
    if (n > 0) opened = await crowd.connect(n, signal, { rate: this.#rate, start, replace: true })
    await pause(Math.max(0, until - performance.now()), signal)
    return opened
  }
}

/**
 * Holds the connections of a crowd for `ms`, and replaces `rate` of them per second. Connects that are then in progress
 * are cancelled: the connections that have left for them count as closed with all others, not as replaced.
 */
export async function holdWithChurn(crowd: Crowd, rate: number, ms: number, signal?: AbortSignal): Promise<Opened> {
  const now = performance.now()
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), ms)
  try {
    const until = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
    const opened = await new Churn(rate, now).run(crowd, now + ms, until)
    return { ...opened, replaced: opened.connected + total(opened.failed), abandoned: 0 }
  } finally {
    clearTimeout(timer)
  }
}

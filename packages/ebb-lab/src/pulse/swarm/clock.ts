/**
 * The difference between two monotonic clocks, from messages that went to and fro: NTP's method (RFC 5905, section 8) on the
 * sample with the shortest way, whose error is half of that way at most.
 */

/** One exchange: sent by us, received there, sent there, received by us. Ours: `t0`, `t3`; theirs: `t1`, `t2`. All ms. */
export interface Exchange {
  t0: number
  t1: number
  t2: number
  t3: number
}

export interface Offset {
  /** Their clock minus ours, ms. */
  offset: number
  /** The most that it can be off, ms: half of the way to and fro. */
  error: number
}

/** Quartz drifts by 0.1 ms in a second at the very worst: samples that are older than this say less than newer ones, ms. */
const OLDEST = 10_000
const MOST = 64

export class Clock {
  #samples: (Offset & { at: number })[] = []

  /** False for an exchange that cannot have been: an answer that took less than no time. */
  add({ t0, t1, t2, t3 }: Exchange): boolean {
    const way = t3 - t0 - (t2 - t1)
    if (t3 < t0 || t2 < t1 || way < 0) return false
    this.#samples = this.#samples.filter(({ at }) => t3 - at <= OLDEST).slice(1 - MOST)
    this.#samples.push({ offset: (t1 - t0 + (t2 - t3)) / 2, error: way / 2, at: t3 })
    return true
  }

  /** The best that is known; undefined before the first exchange. */
  get best(): Offset | undefined {
    let best: Offset | undefined
    for (const sample of this.#samples) if (best === undefined || sample.error < best.error) best = sample
    return best === undefined ? undefined : { offset: best.offset, error: best.error }
  }
}

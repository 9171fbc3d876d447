/**
 * Estimates the offset between the monotonic clocks of two machines.
 *
 * Each exchange of messages gives one sample, by the method of NTP (RFC 5905, section 8). The sample with the shortest
 * round trip is the best: its error is at most half of that round trip.
 */

/** Four times in ms: `t0` and `t3` by our clock, `t1` and `t2` by theirs. */
export interface Exchange {
  /** We sent the request. */
  t0: number
  /** They received it. */
  t1: number
  /** They sent the reply. */
  t2: number
  /** We received it. */
  t3: number
}

/** Offset of another clock. */
export interface Offset {
  /** Their clock minus ours, ms. */
  offset: number
  /** Maximum error of the offset in ms: half of the round trip. */
  error: number
}

/** Maximum age of a sample in ms. Quartz clocks drift by up to 0.1 ms per second, so old samples are less exact. */
const MAX_AGE = 10_000
const MAX_SAMPLES = 64

/** The clock of another machine, as known from exchanges with it. */
export class Clock {
  #samples: (Offset & { at: number })[] = []

  /** Adds an exchange. Returns false if it is impossible, for example because its round trip is negative. */
  add({ t0, t1, t2, t3 }: Exchange): boolean {
    const roundTrip = t3 - t0 - (t2 - t1)
    if (t3 < t0 || t2 < t1 || roundTrip < 0) return false
    this.#samples = this.#samples.filter(({ at }) => t3 - at <= MAX_AGE).slice(1 - MAX_SAMPLES)
    this.#samples.push({ offset: (t1 - t0 + (t2 - t3)) / 2, error: roundTrip / 2, at: t3 })
    return true
  }

  /** Offset with the smallest error, or undefined before the first exchange. */
  get best(): Offset | undefined {
    let best: Offset | undefined
    for (const sample of this.#samples) if (best === undefined || sample.error < best.error) best = sample
    return best === undefined ? undefined : { offset: best.offset, error: best.error }
  }
}

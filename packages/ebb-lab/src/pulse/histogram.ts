/** Latencies of a run: an HdrHistogram in microseconds, 3 digits, up to an hour. */
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'

/** Milliseconds; all 0 when nothing was recorded. */
export interface Quantiles {
  p50: number
  p90: number
  p99: number
  max: number
}

const HOUR_US = 3_600_000_000

export class LatencyHistogram {
  readonly #histogram: Histogram

  constructor() {
    this.#histogram = build({
      lowestDiscernibleValue: 1,
      highestTrackableValue: HOUR_US,
      numberOfSignificantValueDigits: 3,
      bitBucketSize: 32
    })
  }

  get count(): number {
    return this.#histogram.totalCount
  }

  /** @param ms from 0; more than an hour counts as an hour */
  record(ms: number): void {
    this.#histogram.recordValue(Math.min(HOUR_US, Math.max(0, Math.round(ms * 1000))))
  }

  /** Adds what another process recorded: see {@link encoded}. Exact: the buckets are the same. */
  merge(encoded: string): void {
    this.#histogram.add(decodeFromCompressedBase64(encoded))
  }

  /** All counts as text (HdrHistogram's V2 compressed form, base64). */
  encoded(): string {
    return encodeIntoCompressedBase64(this.#histogram)
  }

  reset(): void {
    this.#histogram.reset()
  }

  quantiles(): Quantiles {
    const at = (percent: number): number => this.#histogram.getValueAtPercentile(percent) / 1000
    return this.count === 0
      ? { p50: 0, p90: 0, p99: 0, max: 0 }
      : { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
  }
}

/** Latencies of a run: an HdrHistogram in microseconds, 3 digits, up to an hour. */
import { inflateSync } from 'node:zlib'
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'

/** Milliseconds; all 0 when nothing was recorded. */
export interface Quantiles {
  p50: number
  p90: number
  p99: number
  max: number
}

const HOUR_US = 3_600_000_000
const DIGITS = 3

// HdrHistogram's V2 encoding, big-endian: cookie, length, deflated; in that a header, and counts of 9 bytes at most.
const COMPRESSED = 0x1c849314
const COUNTS = 0x1c849313
const HEADER_BYTES = 40
/** More than all buckets of this range need, were each count as large as it can be. */
const MOST_BYTES = 262_144

export class LatencyHistogram {
  readonly #histogram: Histogram

  constructor() {
    this.#histogram = build({
      lowestDiscernibleValue: 1,
      highestTrackableValue: HOUR_US,
      numberOfSignificantValueDigits: DIGITS,
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

  /**
   * Adds what another process recorded: see {@link encoded}. Exact: the buckets are the same.
   *
   * @param expected how many there must be, where that is known
   * @throws Error for what is not the encoding of such a histogram, or of another number; it may come from anybody
   */
  merge(encoded: string, expected?: number): void {
    const other = decoded(encoded)
    if (expected !== undefined && other.totalCount !== expected) {
      throw new Error(`these are ${other.totalCount} latencies in place of ${expected}`)
    }
    this.#histogram.add(other)
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

/** The library inflates whatever it gets and takes the range from there: a few bytes could ask for all memory. */
function decoded(encoded: string): Histogram {
  const bytes = Buffer.from(encoded, 'base64')
  if (bytes.length < 8 || bytes.readInt32BE(0) !== COMPRESSED) throw new Error('these are no latencies')
  const counts = inflateSync(bytes.subarray(8, 8 + bytes.readInt32BE(4)), { maxOutputLength: MOST_BYTES })
  const same =
    counts.length >= HEADER_BYTES &&
    counts.readInt32BE(0) === COUNTS &&
    counts.readInt32BE(4) === counts.length - HEADER_BYTES &&
    counts.readInt32BE(12) === DIGITS &&
    counts.readBigInt64BE(16) === 1n &&
    counts.readBigInt64BE(24) === BigInt(HOUR_US)
  if (!same) throw new Error('these latencies have another range')
  // The bytes that were looked at: the library reads text that is not quite base64 in another way.
  return decodeFromCompressedBase64(bytes.toString('base64'))
}

/** Connect times of a run as an HdrHistogram, from 1 us to 1 h with 3 significant digits. */
import { inflateSync } from 'node:zlib'
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type JsHistogram } from 'hdr-histogram-js'
import { LabError } from '../units/errors.js'

/** Quantiles in milliseconds. All are 0 if nothing was recorded. */
export interface Quantiles {
  /** Median. */
  p50: number
  /** 90th percentile. */
  p90: number
  /** 99th percentile. */
  p99: number
  /** Largest value. */
  max: number
}

const HOUR_US = 3_600_000_000
const DIGITS = 3

// HdrHistogram's V2 encoding, big-endian. The outer layer is a cookie, a length and deflated bytes. These contain a
// header and the counts, of up to 9 bytes each.
const COMPRESSED_COOKIE = 0x1c849314
const COUNTS_COOKIE = 0x1c849313
const HEADER_BYTES = 40
/** Maximum size after inflation: more than all buckets of this range need with the largest counts. */
const MAX_BYTES = 262_144

/** Histogram of latencies. */
export class LatencyHistogram {
  readonly #histogram: JsHistogram

  constructor() {
    this.#histogram = build({
      lowestDiscernibleValue: 1,
      highestTrackableValue: HOUR_US,
      numberOfSignificantValueDigits: DIGITS,
      bitBucketSize: 32
    }) as JsHistogram
  }

  /** Number of recorded values. */
  get count(): number {
    return this.#histogram.totalCount
  }

  /** Records a latency in milliseconds. Negative values count as 0, values above an hour as an hour. */
  record(ms: number): void {
    this.#histogram.recordValue(Math.min(HOUR_US, Math.max(0, Math.round(ms * 1000))))
  }

  /**
   * Adds the values that another process recorded. The result is exact, because both have the same buckets.
   *
   * @param encoded text that `encoded()` returned; it is checked, because it may come from an untrusted process
   * @param expected number of values that it must contain, if known
   * @throws {LabError} ERR_EBB_HISTOGRAM for text of another form, range or number of values
   */
  merge(encoded: string, expected?: number): void {
    const other = decoded(encoded)
    if (expected !== undefined && other.totalCount !== expected) {
      throw invalidHistogram(`the histogram has ${other.totalCount} latencies in place of ${expected}`)
    }
    this.#histogram.add(other)
  }

  /** Returns all counts as text: HdrHistogram's V2 encoding, compressed, base64. */
  encoded(): string {
    return encodeIntoCompressedBase64(this.#histogram)
  }

  /** Removes all values. */
  reset(): void {
    this.#histogram.reset()
  }

  /** Sum of all values in milliseconds, to the 3 digits of the histogram. */
  get sum(): number {
    return this.count === 0 ? 0 : (this.#histogram.mean * this.count) / 1000
  }

  /** Returns how many values are above a limit in milliseconds, to the 3 digits of the histogram. */
  countAbove(ms: number): number {
    const histogram = this.#histogram
    let above = 0
    const limit = histogram.countsArrayIndex(Math.min(HOUR_US, Math.round(ms * 1000)))
    for (let i = limit + 1; i < histogram.countsArrayLength; i++) above += histogram.getCountAtIndex(i)
    return above
  }

  /** Returns the quantiles in milliseconds. */
  quantiles(): Quantiles {
    const at = (percent: number): number => this.#histogram.getValueAtPercentile(percent) / 1000
    return this.count === 0
      ? { p50: 0, p90: 0, p99: 0, max: 0 }
      : { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
  }
}

/**
 * Decodes a histogram after it has checked the size and the range. The library would inflate any input and take the
 * range from it, so a few bytes could make it allocate all memory.
 */
function decoded(encoded: string): JsHistogram {
  const bytes = Buffer.from(encoded, 'base64')
  if (bytes.length < 8 || bytes.readInt32BE(0) !== COMPRESSED_COOKIE) throw invalidHistogram('it is not a histogram')
  const counts = inflated(bytes.subarray(8, 8 + bytes.readInt32BE(4)))
  const valid =
    counts.length >= HEADER_BYTES &&
    counts.readInt32BE(0) === COUNTS_COOKIE &&
    counts.readInt32BE(4) === counts.length - HEADER_BYTES &&
    counts.readInt32BE(12) === DIGITS &&
    counts.readBigInt64BE(16) === 1n &&
    counts.readBigInt64BE(24) === BigInt(HOUR_US)
  if (!valid) throw invalidHistogram('the histogram has another range than 1 us to 1 h with 3 digits')
  // Encodes the checked bytes again, because the library decodes malformed base64 in another way than Buffer.
  return decodeFromCompressedBase64(bytes.toString('base64')) as JsHistogram
}

function inflated(bytes: Buffer): Buffer {
  try {
    return inflateSync(bytes, { maxOutputLength: MAX_BYTES })
  } catch (error) {
    throw invalidHistogram(`the histogram cannot be decompressed: ${(error as Error).message}`, error)
  }
}

function invalidHistogram(message: string, cause?: unknown): LabError {
  return new LabError(message, 'ERR_EBB_HISTOGRAM', undefined, cause)
}

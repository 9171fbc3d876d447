/**
 * Latencies, counted from two starts: the time at which something was meant to start, and its actual start.
 *
 * A client that falls behind its rate because the server is slow starts later, and would count only the rest of each
 * wait. That is coordinated omission. The corrected latency counts from the time that the rate prescribes.
 */
import { LatencyHistogram, type Quantiles } from './histogram.js'

/** Latencies of one kind as JSON. */
export interface LatencyReport {
  /** Quantiles in milliseconds, from the time at which each was meant to start. */
  latency: Quantiles
  /** All latencies: an HdrHistogram in microseconds (V2 encoding, compressed, base64). */
  histogram: string
  /** The same from the actual starts, which hides waits before them. Null without a rate: both are the same then. */
  uncorrected: { latency: Quantiles; histogram: string } | null
}

/** Histograms of {@link Latency} as text. */
export interface EncodedLatency {
  corrected: string
  /** Null if it is the same. */
  uncorrected: string | null
}

/** Latencies of one kind. */
export class Latency {
  /** Counts from the time at which each was meant to start. */
  readonly corrected = new LatencyHistogram()
  #uncorrected: LatencyHistogram | null = null

  /** Counts from the actual start. The same histogram as long as both starts have been the same. */
  get uncorrected(): LatencyHistogram {
    return this.#uncorrected ?? this.corrected
  }

  /** Records a latency that ended at `end`. All are milliseconds of the same clock. */
  record(meant: number, started: number, end: number): void {
    if (meant !== started) this.#separate()
    this.corrected.record(end - meant)
    this.#uncorrected?.record(end - started)
  }

  /**
   * Adds the latencies that another process recorded.
   *
   * @param expected number of latencies that it must contain, if known
   * @throws {LabError} ERR_EBB_HISTOGRAM for text that is not such a histogram
   */
  merge({ corrected, uncorrected }: EncodedLatency, expected?: number): void {
    if (uncorrected !== null) this.#separate()
    this.corrected.merge(corrected, expected)
    this.#uncorrected?.merge(uncorrected ?? corrected, expected)
  }

  /** Returns both histograms as text. */
  encoded(): EncodedLatency {
    return { corrected: this.corrected.encoded(), uncorrected: this.#uncorrected?.encoded() ?? null }
  }

  /** Removes all latencies. */
  reset(): void {
    this.corrected.reset()
    this.#uncorrected = null
  }

  /** From now on, the two starts differ. */
  #separate(): void {
    if (this.#uncorrected !== null) return
    this.#uncorrected = new LatencyHistogram()
    this.#uncorrected.merge(this.corrected.encoded())
  }

  /** Returns all of it as JSON. */
  report(): LatencyReport {
    return { ...plain(this.corrected), uncorrected: this.#uncorrected === null ? null : plain(this.#uncorrected) }
  }
}

function plain(histogram: LatencyHistogram): { latency: Quantiles; histogram: string } {
  return { latency: histogram.quantiles(), histogram: histogram.encoded() }
}

/** {@link Latencies} as text. */
export interface EncodedLatencies {
  connects: EncodedLatency
  /** Null if nothing was answered. */
  answers: EncodedLatency | null
}

const NOTHING: EncodedLatency = new Latency().encoded()

/** All latencies of a crowd. */
export class Latencies {
  /** From the start of a connection until it is open. */
  readonly connects = new Latency()
  /**
   * From the start of a connection until its first message was answered, and from the time at which each further
   * message was due until it was answered.
   */
  readonly answers = new Latency()

  /**
   * Adds the latencies that another process recorded. If it throws, it has added nothing.
   *
   * @param expected numbers of connects and answers that it must contain, if it is not trusted
   * @throws {LabError} ERR_EBB_HISTOGRAM for text that is not such a histogram
   */
  merge(encoded: EncodedLatencies, expected?: { connects: number; answers: number }): void {
    if (expected !== undefined) new Latencies().#add(encoded, expected)
    this.#add(encoded, expected)
  }

  #add({ connects, answers }: EncodedLatencies, expected?: { connects: number; answers: number }): void {
    this.connects.merge(connects, expected?.connects)
    // A crowd in which nothing was answered sends no histogram of it.
    if (answers !== null || expected?.answers) this.answers.merge(answers ?? NOTHING, expected?.answers)
  }

  /** Returns all histograms as text. */
  encoded(): EncodedLatencies {
    const { connects, answers } = this
    return { connects: connects.encoded(), answers: answers.corrected.count === 0 ? null : answers.encoded() }
  }

  /** Removes all latencies. */
  reset(): void {
    this.connects.reset()
    this.answers.reset()
  }
}

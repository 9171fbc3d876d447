/** What a process governor has done: counts, and a line in the log. */
import type { Reason, ReleaseMessage } from '../memory/release.js'

/** State of a process governor. Counts and sums are since `govern()` was called. */
export interface GovernorStats {
  /** Number of releases, by reason. */
  releases: Record<Reason, number>
  /** @deprecated Use {@link releases}, which has the same numbers. */
  acts: Record<Reason, number>
  /** Anonymous memory that all releases returned to the system, bytes. */
  returned: number
  /** Time from start to end of all releases, ms. The program ran for most of it. */
  ms: number
  /** The longest pause of the event loop by a release, ms. */
  longestPause: number
  /** Number of samples at which a release was due but skipped, because its pause would exceed `maxPause`. */
  tooLong: number
  /** The last release; undefined before the first. */
  last: ReleaseMessage | undefined
  /** Anonymous memory of the process now, bytes. */
  anonymous: number
  /**
   * The pause that a release would probably cause now, ms, if all that V8 found alive at its last collection still is.
   */
  expectedPause: number
  /** Path of the file, FIFO or socket that reports memory pressure; undefined if none is watched. */
  watching: string | undefined
}

/** Counts releases, and prints a line for each. */
export class ReleaseLog {
  readonly #releases: Record<Reason, number> = { spike: 0, limit: 0, pressure: 0, signal: 0, asked: 0 }
  readonly #print: boolean
  #returned = 0
  #ms = 0
  #longestPause = 0
  #tooLong = 0
  #last: ReleaseMessage | undefined

  /** @param print whether to print a line on standard error for each release */
  constructor(print: boolean) {
    this.#print = print
  }

  /** Counts a release, and prints its line. */
  add(message: ReleaseMessage): void {
    this.#releases[message.reason]++
    this.#returned += Math.max(0, message.before - message.afterTrim)
    this.#ms += message.ms
    this.#longestPause = Math.max(this.#longestPause, message.pauseMs)
    this.#last = message
    if (this.#print) process.stderr.write(`${formatRelease(message)}\n`)
  }

  /** Counts a release that was skipped because of its pause. */
  addTooLong(): void {
    this.#tooLong++
  }

  /** The counts, as copies. */
  totals(): Omit<GovernorStats, 'anonymous' | 'expectedPause' | 'watching'> {
    return {
      releases: { ...this.#releases },
      acts: { ...this.#releases },
      returned: this.#returned,
      ms: this.#ms,
      longestPause: this.#longestPause,
      tooLong: this.#tooLong,
      last: this.#last
    }
  }
}

/** The line of `EBB_LOG=1`. `ebb-lab` parses it: keep its format. */
function formatRelease({ reason, before, afterTrim, pauseMs, ms }: ReleaseMessage): string {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1)
  const memory = `${mb(before - afterTrim)} MB (${mb(before)} -> ${mb(afterTrim)})`
  return `ebb: gave back ${memory} in ${ms.toFixed(0)} ms, longest pause ${pauseMs.toFixed(0)} ms: ${reason}`
}

/** Asks processes with `ebb/auto` for the counters of their governor and of their parked servers. */
import type { InsideSample } from './sample.js'

/** Asks a process; rejects if it does not answer. */
export type AskInside = (pid: number) => Promise<InsideSample>

/** Time between two questions to one process, ms. An answer takes the event loop of the process about a millisecond. */
const ASK_EVERY = 5000

/** The last answers of processes. Questions are asked in the background, so a process that is busy delays nothing. */
export class Insides {
  readonly #ask: AskInside
  readonly #answers = new Map<number, { askedAt: number; pending: Promise<void>; sample: InsideSample | null }>()

  constructor(ask: AskInside) {
    this.#ask = ask
  }

  /** Asks the processes that have not been asked for a while, and forgets all others. */
  refresh(pids: ReadonlySet<number>, now: number): void {
    for (const pid of this.#answers.keys()) if (!pids.has(pid)) this.#answers.delete(pid)
    for (const pid of pids) {
      const known = this.#answers.get(pid)
      if (known !== undefined && now - known.askedAt < ASK_EVERY) continue
      const answer = { askedAt: now, pending: Promise.resolve(), sample: known?.sample ?? null }
      answer.pending = this.#ask(pid).then(
        (sample) => {
          answer.sample = sample
        },
        () => {}
      )
      this.#answers.set(pid, answer)
    }
  }

  /** Resolves when all questions have been answered, or have failed. */
  async settled(): Promise<void> {
    await Promise.all([...this.#answers.values()].map(({ pending }) => pending))
  }

  /** Returns the last answer of a process; null if there is none. */
  of(pid: number): InsideSample | null {
    return this.#answers.get(pid)?.sample ?? null
  }
}

/** Returns the sums over processes, and their longest pause; null if none is known. */
export function sumOf(samples: readonly (InsideSample | null)[]): InsideSample | null {
  let sum: InsideSample | null = null
  for (const sample of samples) {
    if (sample === null) continue
    sum ??= { released: 0, releases: 0, longestPause: 0, parked: null, awake: null }
    sum.released += sample.released
    sum.releases += sample.releases
    sum.longestPause = Math.max(sum.longestPause, sample.longestPause)
    if (sample.parked !== null) sum.parked = (sum.parked ?? 0) + sample.parked
    if (sample.awake !== null) sum.awake = (sum.awake ?? 0) + sample.awake
  }
  return sum
}

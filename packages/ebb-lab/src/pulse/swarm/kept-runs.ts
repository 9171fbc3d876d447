/** Results of runs that have ended while no coordinator was there. */
import type { Journal } from './journal.js'

/** Time for which results are kept, ms: as long as the state of the run in its bucket. */
const KEPT_FOR = 24 * 3_600_000
/** Number of runs to keep. The oldest makes room for a new one. */
const MAX_RUNS = 16

/** Journals by the secret of their run. */
export class KeptRuns {
  readonly #runs = new Map<string, { journal: Journal; since: number }>()

  /** Keeps the journal of a run. */
  add(lease: string, journal: Journal, now: number): void {
    this.#runs.set(lease, { journal, since: now })
    for (const [old, { since }] of this.#runs) {
      if (this.#runs.size > MAX_RUNS || now - since > KEPT_FOR) this.#runs.delete(old)
    }
  }

  /** Returns the journal of a run, or undefined. */
  get(lease: string, now: number): Journal | undefined {
    const kept = this.#runs.get(lease)
    return kept === undefined || now - kept.since > KEPT_FOR ? undefined : kept.journal
  }

  /** Forgets a run. */
  delete(lease: string): void {
    this.#runs.delete(lease)
  }
}

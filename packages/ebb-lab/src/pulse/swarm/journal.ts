/** Results of an agent's pulses, until a coordinator has fetched them. */
import type { Causes } from '../causes.js'
import type { Traffic } from '../traffic.js'
import type { PulseResult } from './messages.js'

/** Result of a pulse, with the connections that the server closed first, and what all have sent and received. */
type Entry = PulseResult & { lost: Causes; traffic: Traffic }

/** What a coordinator learns about one pulse. */
export interface JournalView {
  /** Null while the pulse is not over, and if the agent took no part in it. */
  result: Entry | null
  /** Index of the first pulse that is not over. */
  next: number
}

/** Keeps the results of pulses by their index. */
export class Journal {
  readonly #entries = new Map<number, Entry>()
  #next = 0

  /** Index of the first pulse that is not over. */
  get next(): number {
    return this.#next
  }

  /** Adds the result of a pulse whose connections are closed. */
  add(pulse: number, entry: Entry): void {
    this.#entries.set(pulse, entry)
    this.skipTo(pulse + 1)
  }

  /** Declares all pulses before `pulse` over. */
  skipTo(pulse: number): void {
    this.#next = Math.max(this.#next, pulse)
  }

  /** Forgets the results of all pulses before `pulse`, because a coordinator has stored them. */
  forgetBefore(pulse: number): void {
    for (const index of this.#entries.keys()) if (index < pulse) this.#entries.delete(index)
  }

  /** Returns the result of a pulse, and forgets those before it. */
  view(pulse: number): JournalView {
    this.forgetBefore(pulse)
    return { result: this.#entries.get(pulse) ?? null, next: this.#next }
  }
}

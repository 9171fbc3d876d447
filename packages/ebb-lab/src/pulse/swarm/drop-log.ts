/** Messages that were dropped are told of, but a flood of them is not answered by a flood of lines. */

/** This many are told of, and then every so many-th. */
const TOLD = 10
const TOLD_EVERY = 1000
/** Characters: a reason may have been made of what was dropped. */
const LONGEST = 500

export class Drops {
  readonly #tell: (reason: string) => void
  #dropped = 0

  constructor(tell: (reason: string) => void) {
    this.#tell = tell
  }

  add(what: string, error: unknown): void {
    this.#dropped++
    if (this.#dropped > TOLD && this.#dropped % TOLD_EVERY !== 0) return
    const so = this.#dropped > TOLD ? ` (${this.#dropped} dropped so far)` : ''
    this.#tell(`${what}: ${(error as Error).message.slice(0, LONGEST)}${so}`)
  }
}

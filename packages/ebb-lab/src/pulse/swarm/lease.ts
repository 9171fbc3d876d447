/** A lease: who holds an agent, for as long as they keep saying so. */

/** How long a holder may be silent. What is held is closed then, within 5 s of the last word. */
export const LEASE = 3000

export interface Holder {
  /** The co-ordinator's id. */
  from: string
  /** Known to the holder and the held alone: whoever names it speaks for the holder. */
  token: string
  /** For a person: `ann@host (pid 4711)`. */
  who: string
}

/** All times are the caller's, in ms by a monotonic clock. */
export class Lease {
  readonly #ms: number
  #holder: Holder | undefined
  #heard = 0

  constructor(ms = LEASE) {
    this.#ms = ms
  }

  get holder(): Holder | undefined {
    return this.#holder
  }

  /** False when somebody else holds it: first come, first served. */
  take(holder: Holder, now: number): boolean {
    if (this.#holder !== undefined && !this.is(holder.from, holder.token)) return false
    this.#holder = holder
    this.#heard = now
    return true
  }

  /** Whether these are the words of the holder. */
  is(from: string, token: string): boolean {
    return this.#holder?.from === from && this.#holder.token === token
  }

  /** The holder is there. False when it is not the holder. */
  renew(from: string, token: string, now: number): boolean {
    if (!this.is(from, token)) return false
    this.#heard = now
    return true
  }

  /** How long the holder has been silent; 0 when there is none. */
  silence(now: number): number {
    return this.#holder === undefined ? 0 : Math.max(0, now - this.#heard)
  }

  expired(now: number): boolean {
    return this.silence(now) >= this.#ms
  }

  free(): void {
    this.#holder = undefined
  }
}

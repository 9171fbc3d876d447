/**
 * The lease of an agent: one coordinator at a time holds an agent, for as long as it sends heartbeats.
 */

/** Default duration in ms after which a silent holder loses the lease. Its connections are closed within 5 s. */
export const LEASE = 3000

/** A coordinator that holds an agent. */
export interface Holder {
  /** Id of the coordinator. */
  from: string
  /** Secret that only the coordinator and its agents know. It proves that a message is from the holder. */
  token: string
  /** Name for people, such as `ann@host (pid 4711)`. */
  who: string
}

/** Who holds an agent. Times are milliseconds of a monotonic clock that the caller reads. */
export class Lease {
  readonly #duration: number
  #holder: Holder | undefined
  #lastHeard = 0

  /** @param duration milliseconds after which a silent holder loses the lease */
  constructor(duration = LEASE) {
    this.#duration = duration
  }

  /** The present holder, or undefined. */
  get holder(): Holder | undefined {
    return this.#holder
  }

  /** Gives the lease to `holder`. Returns false if another coordinator has it. */
  take(holder: Holder, now: number): boolean {
    if (this.#holder !== undefined && !this.isHeldBy(holder.from, holder.token)) return false
    this.#holder = holder
    this.#lastHeard = now
    return true
  }

  /** Gives the lease to another coordinator with the same token, which resumes the run. */
  transfer(holder: Holder, now: number): void {
    this.#holder = holder
    this.#lastHeard = now
  }

  /** Returns whether a message with this id and token is from the holder. */
  isHeldBy(from: string, token: string): boolean {
    return this.#holder?.from === from && this.#holder.token === token
  }

  /** Renews the lease. Returns false if the message is not from the holder. */
  renew(from: string, token: string, now: number): boolean {
    if (!this.isHeldBy(from, token)) return false
    this.#lastHeard = now
    return true
  }

  /** Returns the milliseconds since the last message of the holder; 0 if there is no holder. */
  silence(now: number): number {
    return this.#holder === undefined ? 0 : Math.max(0, now - this.#lastHeard)
  }

  /** Returns whether the holder has been silent for too long. */
  expired(now: number): boolean {
    return this.silence(now) >= this.#duration
  }

  /** Ends the lease. */
  free(): void {
    this.#holder = undefined
  }
}

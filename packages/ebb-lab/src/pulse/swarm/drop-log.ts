/** Reports dropped messages, without a line for each of them in a flood. */

/** Number of dropped messages that are reported one by one. */
const REPORTED = 10
/** After these, one of this many dropped messages is reported. */
const REPORT_EVERY = 1000
/** Maximum characters of a reason, because it may quote the dropped message. */
const MAX_REASON = 500

/** Counts dropped messages and reports some of them. */
export class DropLog {
  readonly #report: (reason: string) => void
  #dropped = 0

  /** @param report called with a sentence that says what was dropped and why */
  constructor(report: (reason: string) => void) {
    this.#report = report
  }

  /**
   * Counts a dropped message.
   *
   * @param what names the message, such as `an order`
   * @param reason says why it was dropped
   */
  add(what: string, reason: string): void {
    this.#dropped++
    if (this.#dropped > REPORTED && this.#dropped % REPORT_EVERY !== 0) return
    const soFar = this.#dropped > REPORTED ? ` (${this.#dropped} dropped so far)` : ''
    this.#report(`${what}: ${reason.slice(0, MAX_REASON)}${soFar}`)
  }
}

/** A queue of lines that are due again and again, all at the same interval. */
import { grown, resized } from 'ebb/sys'

/**
 * Lines in the order in which they are due: a doubly linked list in arrays. One timer serves all of them, and adding,
 * removing and taking the first line take constant time.
 */
export class IntervalQueue {
  /** Milliseconds between two times at which a line is due. */
  readonly interval: number
  /** By line: the line after it and the line before it, or -1. */
  #after = new Int32Array(0)
  #before = new Int32Array(0)
  /** By line: time (ms) at which it is due; 0 if it is not in the queue. */
  #due = new Float64Array(0)
  #first = -1
  #last = -1

  constructor(interval: number) {
    this.interval = interval
  }

  /** The line that is due first, or -1. */
  get first(): number {
    return this.#first
  }

  /** Returns the time at which a line is due, a value of `performance.now()`; 0 if it is not in the queue. */
  dueOf(line: number): number {
    return this.#due[line] ?? 0
  }

  /** Adds a line that is not in the queue. It is due at `due`. */
  add(line: number, due: number): void {
    this.#reserve(line)
    // New lines are nearly always due last.
    let before = this.#last
    while (before !== -1 && (this.#due[before] as number) > due) before = this.#before[before] as number
    const after = before === -1 ? this.#first : (this.#after[before] as number)
    this.#due[line] = due
    this.#link(before, line)
    this.#link(line, after)
  }

  /** Removes a line. Does nothing if it is not in the queue. */
  remove(line: number): void {
    if (this.dueOf(line) === 0) return
    this.#due[line] = 0
    this.#link(this.#before[line] as number, this.#after[line] as number)
  }

  /** Makes `after` follow `before`. -1 stands for the two ends. */
  #link(before: number, after: number): void {
    if (before === -1) this.#first = after
    else this.#after[before] = after
    if (after === -1) this.#last = before
    else this.#before[after] = before
  }

  #reserve(line: number): void {
    if (line < this.#due.length) return
    const size = grown(this.#due.length, line + 1)
    this.#after = resized(this.#after, new Int32Array(size))
    this.#before = resized(this.#before, new Int32Array(size))
    this.#due = resized(this.#due, new Float64Array(size))
  }
}

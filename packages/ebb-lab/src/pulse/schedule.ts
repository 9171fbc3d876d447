/** Calls back for many connections at regular intervals, with one timer for all of them. */
import { IntervalQueue } from './interval-queue.js'

/** Milliseconds by which a line may be served too early, because a timer fires in whole milliseconds. */
const EARLY = 0.5
/** Milliseconds after which the event loop gets a turn, although more lines are due. */
const MAX_BURST_MS = 10
/** Longest wait of a timer, ms. */
const MAX_WAIT = 60_000

/** Lines that are served again and again, `interval` ms apart. */
export class Schedule {
  readonly #queue: IntervalQueue
  readonly #catchesUp: boolean
  readonly #onDue: (line: number, due: number) => void
  #timer: NodeJS.Timeout | undefined
  #immediate: NodeJS.Immediate | undefined
  /** Time at which the timer fires, ms. */
  #firesAt = 0

  /**
   * @param catchesUp whether a line that was served late is served sooner the next time, so that none is left out. If
   *   not, at least an interval passes in between
   * @param onDue called with a line and the time at which it was due, a value of `performance.now()`
   */
  constructor(interval: number, catchesUp: boolean, onDue: (line: number, due: number) => void) {
    this.#queue = new IntervalQueue(interval)
    this.#catchesUp = catchesUp
    this.#onDue = onDue
  }

  /** Serves a line for the first time after an interval that began at `start`. */
  add(line: number, start: number): void {
    this.#queue.add(line, start + this.#queue.interval)
    this.#arm()
  }

  /** Serves a line no more. Does nothing if it is not served. */
  remove(line: number): void {
    this.#queue.remove(line)
    if (this.#queue.first === -1) this.#disarm()
  }

  #arm(): void {
    const due = this.#queue.dueOf(this.#queue.first)
    if (this.#immediate !== undefined || (this.#timer !== undefined && this.#firesAt <= due)) return
    clearTimeout(this.#timer)
    const wait = Math.min(MAX_WAIT, Math.max(0, due - performance.now() - EARLY))
    this.#firesAt = due
    // What keeps the process running is the run that holds the connections.
    this.#timer = setTimeout(this.#serve, Math.round(wait)).unref()
  }

  #disarm(): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    this.#timer = this.#immediate = undefined
  }

  readonly #serve = (): void => {
    this.#timer = this.#immediate = undefined
    const queue = this.#queue
    const end = performance.now() + MAX_BURST_MS
    for (let now = performance.now(); queue.first !== -1; now = performance.now()) {
      const line = queue.first
      const due = queue.dueOf(line)
      if (due > now + EARLY) break
      if (now > end) {
        this.#immediate = setImmediate(this.#serve)
        return
      }
      queue.remove(line)
      queue.add(line, (this.#catchesUp ? due : Math.max(due, now)) + queue.interval)
      this.#onDue(line, Math.min(due, now))
    }
    if (queue.first !== -1) this.#arm()
  }
}

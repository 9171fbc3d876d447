/**
 * Detects that a spike is over. Both governors use it: one for the descriptors of a process, one for the clients of a
 * server.
 *
 * A figure has fallen when it is below half of its highest ({@link Peak}). The fall may still be going on, and a
 * release is worth more once it has ended. So {@link FallWatch} looks at the figure again every 100 ms, until it no
 * longer falls or 800 ms have passed.
 */
import { outside } from '../sys/node/callback-scope.js'

/** Milliseconds between two looks at a fall that goes on. */
export const LOOK_INTERVAL = 100
/** Milliseconds after which a fall is taken for ended even if it goes on. */
export const LONGEST_WAIT = 800
/** A figure has fallen when it is below this share of its highest. */
const FALLEN_SHARE = 0.5

/** The highest value of a figure, and whether the figure has fallen far below it. */
export class Peak {
  /** The highest value since the last {@link reset}. */
  highest = 0
  readonly #least: number

  /** @param least a figure that never reached this value is too small for a spike: it never counts as fallen */
  constructor(least: number) {
    this.#least = least
  }

  /** Notes a value of the figure. */
  add(value: number): void {
    if (value > this.highest) this.highest = value
  }

  /** Starts again from `value`. */
  reset(value: number): void {
    this.highest = value
  }

  /** Whether `value` is below half of the highest. */
  hasFallen(value: number): boolean {
    return value < FALLEN_SHARE * this.highest && this.highest >= this.#least
  }
}

/** What a {@link FallWatch} asks and tells its owner. */
export interface FallOwner {
  /** Returns the present value of the figure that falls. Called at each look, before {@link hasFallen}. */
  size(): number
  /** Whether the spike is still over. If not, a new crowd has come, and the watch ends. */
  hasFallen(): boolean
  /** Called when the fall has ended, or has lasted 800 ms. May call {@link FallWatch.lookAgain}. */
  onEnded(): void
}

/** Waits for the end of a fall. Its timer does not hold the process open. */
export class FallWatch {
  readonly #owner: FallOwner
  #timer: NodeJS.Timeout | undefined
  #startedAt = 0
  #lastSize = 0

  constructor(owner: FallOwner) {
    this.#owner = owner
  }

  /** Whether a look is planned. */
  get isWatching(): boolean {
    return this.#timer !== undefined
  }

  /** Starts to watch a fall. `size` is the present value of the figure. */
  start(size: number): void {
    this.#startedAt = performance.now()
    this.#lastSize = size
    this.lookAgain(LOOK_INTERVAL)
  }

  /** Plans a look in `ms` milliseconds. An owner that cannot act yet calls this from `onEnded()`. */
  lookAgain(ms: number): void {
    // The connection that happens to be the last to leave must not be the context of the release.
    this.#timer = outside(() => setTimeout(this.#look, ms))
    this.#timer.unref()
  }

  /** Stops watching. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  readonly #look = (): void => {
    this.#timer = undefined
    const size = this.#owner.size()
    const isFalling = size < this.#lastSize
    this.#lastSize = size
    if (!this.#owner.hasFallen()) return
    if (isFalling && performance.now() - this.#startedAt < LONGEST_WAIT) this.lookAgain(LOOK_INTERVAL)
    else this.#owner.onEnded()
  }
}

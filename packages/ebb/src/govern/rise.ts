/** Detects that a crowd has come: that the number of clients no longer grows. */
import { outside } from '../sys/node/callback-scope.js'

/** Milliseconds between two looks at a rise that goes on. */
const RISE_INTERVAL = 250

/** A crowd of which fewer than this share is left is about to go. */
const STAYING = 0.99

/** What a {@link RiseWatch} asks and tells its owner. */
interface RiseOwner {
  /** Returns the present number of clients. Called at each look. */
  size(): number
  /** Called when the number of clients does not grow from one look to the next. May call `lookAgain()`. */
  onEnded(): void
}

/** Waits for the end of a rise. Ends without a report if clients leave. Its timer does not hold the process open. */
export class RiseWatch {
  readonly #owner: RiseOwner
  #timer: NodeJS.Timeout | undefined
  #size = 0

  constructor(owner: RiseOwner) {
    this.#owner = owner
  }

  /** Whether a look is planned. */
  get isWatching(): boolean {
    return this.#timer !== undefined
  }

  /** Starts to watch a rise. */
  start(): void {
    this.#size = this.#owner.size()
    this.lookAgain(RISE_INTERVAL)
  }

  /** Plans a look in `ms` milliseconds. An owner that cannot act yet calls this from `onEnded()`. */
  lookAgain(ms: number): void {
    // The connection that happens to be the last to come must not be the context of the release.
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
    const before = this.#size
    this.#size = size
    if (size > before) this.lookAgain(RISE_INTERVAL)
    else if (size >= STAYING * before) this.#owner.onEnded()
  }
}

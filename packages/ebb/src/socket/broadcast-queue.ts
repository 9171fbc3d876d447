/** Broadcasts in slices, so that the event loop goes on meanwhile. */

/** A broadcast runs for this long (ms) before the event loop goes on. */
const TURN = 2
/** The clock is read once for this many connections. */
const CLOCK_INTERVAL = 32

/** Broadcasts of one kind. They run one after the other. */
export class BroadcastQueue {
  /** The last broadcast, which the next one waits for. */
  #last: Promise<unknown> = Promise.resolve()

  /**
   * Queues a broadcast, which runs in slices of a few ms.
   *
   * @param targets asked for one by one while the broadcast runs
   * @param send sends to a connection, unless it has closed. @returns whether it was sent to
   * @returns how many connections were sent to
   */
  add<T>(targets: Iterable<T>, send: (target: T) => boolean): Promise<number> {
    const done = this.#last.then(() => sendAll(targets, send))
    this.#last = done.catch(() => {})
    return done
  }
}

async function sendAll<T>(targets: Iterable<T>, send: (target: T) => boolean): Promise<number> {
  let count = 0
  let left = CLOCK_INTERVAL
  let start = performance.now()
  for (const target of targets) {
    if (left-- === 0) {
      left = CLOCK_INTERVAL
      if (performance.now() - start > TURN) {
        await new Promise((resolve) => setImmediate(resolve))
        start = performance.now()
      }
    }
    if (send(target)) count++
  }
  return count
}

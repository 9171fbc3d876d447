/** Sending the same bytes to many connections. */
import { addressOf } from '../sys/transfer.js'
import type { Sender } from './sender.js'
import type { Connections } from './state/connections.js'

/** A broadcast runs for this long (ms) before the event loop goes on. */
const TURN = 2
/** The clock is read once for this many connections. */
const CLOCK_INTERVAL = 32

/** Sends to all connections, or to all streams. Broadcasts run one after the other. */
export class Broadcaster {
  readonly #connections: Connections
  readonly #sender: Sender
  readonly #flag: number
  /** The last broadcast, which the next one waits for. */
  #last: Promise<unknown> = Promise.resolve()

  /** @param flag only connections with this flag in the table get the bytes; 0: all connections */
  constructor(connections: Connections, sender: Sender, flag: number) {
    this.#connections = connections
    this.#sender = sender
    this.#flag = flag
  }

  /** Queues a broadcast: see {@link Parked.broadcast}. @returns how many connections the bytes were sent to */
  send(data: Uint8Array, filter?: (id: number) => boolean): Promise<number> {
    // A copy, because it is sent later. Not from the pool, so that its address is the address of the bytes.
    const bytes = Buffer.allocUnsafeSlow(data.length)
    bytes.set(data)
    const done = this.#last.then(() => this.#sendAll(bytes, filter))
    this.#last = done.catch(() => {})
    return done
  }

  async #sendAll(bytes: Buffer, filter: ((id: number) => boolean) | undefined): Promise<number> {
    const { table } = this.#connections
    const flag = this.#flag
    const address = bytes.length === 0 ? 0 : addressOf(bytes)
    let count = 0
    let left = CLOCK_INTERVAL
    let start = performance.now()
    for (let row = 0; row < table.end; row++) {
      const id = table.id(row)
      if (id === 0 || this.#connections.isUpgraded(row)) continue
      if (flag !== 0 && (table.flags(row) & flag) === 0) continue
      if (left-- === 0) {
        left = CLOCK_INTERVAL
        if (performance.now() - start > TURN) {
          await new Promise((resolve) => setImmediate(resolve))
          start = performance.now()
          if (table.id(row) !== id) continue
        }
      }
      // The filter may close the connection that it is called for.
      if (filter !== undefined && (!filter(id) || table.id(row) !== id)) continue
      if (this.#sender.sendAt(row, bytes, address)) count++
    }
    return count
  }
}

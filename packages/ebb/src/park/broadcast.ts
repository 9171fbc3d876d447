/** Sending the same bytes to many connections. */
import { BroadcastQueue } from '../socket/broadcast-queue.js'
import type { Elsewhere } from '../socket/moved.js'
import { addressOf } from '../sys/transfer.js'
import type { Sender } from './sender.js'
import type { Connections } from './state/connections.js'

/** Sends to all connections, or to all streams. */
export class Broadcaster {
  readonly #connections: Connections
  readonly #sender: Sender
  readonly #flag: number
  readonly #elsewhere: () => Elsewhere | undefined
  readonly #queue = new BroadcastQueue()

  /**
   * @param flag only connections with this flag in the table get the bytes; 0: all connections
   * @param elsewhere returns who has the connections of another process, during a handover
   */
  constructor(connections: Connections, sender: Sender, flag: number, elsewhere: () => Elsewhere | undefined) {
    this.#elsewhere = elsewhere
    this.#connections = connections
    this.#sender = sender
    this.#flag = flag
  }

  /** Queues a broadcast: see {@link Parked.broadcast}. @returns how many connections the bytes were sent to */
  send(data: Uint8Array, filter?: (id: number) => boolean): Promise<number> {
    // A copy, because it is sent later. Not from the pool, so that its address is the address of the bytes.
    const bytes = Buffer.allocUnsafeSlow(data.length)
    bytes.set(data)
    const address = bytes.length === 0 ? 0 : addressOf(bytes)
    const { table } = this.#connections
    return this.#queue.add(this.#ids(), (id) => {
      const row = table.find(id)
      if (row === -1 && this.#elsewhere()?.has(id) === true) {
        return (filter === undefined || filter(id)) && this.#elsewhere()?.pass(id, 'send', bytes) === true
      }
      if (row === -1 || !this.#isMeant(row)) return false
      // The filter may close the connection that it is called for.
      if (filter !== undefined && (!filter(id) || table.id(row) !== id)) return false
      return this.#sender.sendAt(row, bytes, address)
    })
  }

  *#ids(): Iterable<number> {
    yield* this.#connections.table.ids()
    yield* this.#elsewhere()?.ids(true) ?? []
  }

  #isMeant(row: number): boolean {
    if (this.#connections.isUpgraded(row)) return false
    return this.#flag === 0 || (this.#connections.table.flags(row) & this.#flag) !== 0
  }
}

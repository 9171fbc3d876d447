/** Orders for connections that the other process has: see {@link Elsewhere}. */
import type { Elsewhere, Order } from '../socket/moved.js'
import { MOST_BYTES } from '../sys/channel.js'
import type { Link } from './link.js'
import type { Movable } from './movable.js'
import { type Addressed, encodeAddressed, ORDER, ORDERS, roomFor } from './protocol.js'

const NOTHING = Buffer.alloc(0)
/** Bytes of one order. */
const MOST = roomFor(MOST_BYTES)

/** Passes orders to the other process, and keeps those that it has not carried out. */
export class Passing {
  readonly #link: Link
  /** Orders that the other process may not have carried out, oldest first. */
  #pending: Addressed[] = []
  /** Number of orders that it has carried out. */
  #carriedOut = 0

  constructor(link: Link) {
    this.#link = link
  }

  /** @returns whether the link has taken it */
  pass(server: number, id: number, order: Order, bytes: Uint8Array = NOTHING): boolean {
    const number = ORDERS.indexOf(order)
    for (let at = 0; at === 0 || at < bytes.length; at += MOST) {
      // A copy: the caller may reuse its buffer.
      const part = Buffer.from(bytes.subarray(at, at + MOST))
      const addressed = { server, order: number, id, bytes: part }
      if (!this.#link.send(encodeAddressed(ORDER, addressed))) return false
      this.#pending.push(addressed)
    }
    return true
  }

  /** Called when the other process tells how many orders it has carried out. @returns false if that cannot be */
  onCarriedOut(count: number): boolean {
    const more = count - this.#carriedOut
    if (more < 0 || more > this.#pending.length) return false
    this.#pending = this.#pending.slice(more)
    this.#carriedOut = count
    return true
  }

  /** Returns the orders for a connection that the other process will not carry out, because it has given it away. */
  takePending(server: number, id: number): Addressed[] {
    return this.#pending.filter((order) => order.server === server && order.id === id)
  }
}

/** Who has the connections of a server that are not in this process. */
export class PassedIds implements Elsewhere {
  readonly #passing: Passing
  readonly #server: number
  readonly #ids: ReadonlySet<number>
  readonly #broadcasts: ReadonlySet<number> | undefined

  /**
   * @param server index of the server, as both processes know it
   * @param ids of the connections
   * @param broadcasts those of them that broadcasts of this process go to; undefined: none will come to this process
   */
  constructor(passing: Passing, server: number, ids: ReadonlySet<number>, broadcasts: ReadonlySet<number> | undefined) {
    this.#passing = passing
    this.#server = server
    this.#ids = ids
    this.#broadcasts = broadcasts
  }

  *ids(broadcasts: boolean): Iterable<number> {
    if (this.#broadcasts === undefined) return
    for (const id of this.#ids) if (this.#broadcasts.has(id) === broadcasts) yield id
  }

  has(id: number): boolean {
    return this.#ids.has(id)
  }

  pass(id: number, order: Order, bytes?: Uint8Array): boolean {
    return this.#passing.pass(this.#server, id, order, bytes)
  }
}

/** Two processes that may have a connection of a server: the one before, and the one after this process. */
class Both implements Elsewhere {
  readonly #before: Elsewhere
  readonly #after: Elsewhere

  constructor(before: Elsewhere, after: Elsewhere) {
    this.#before = before
    this.#after = after
  }

  ids(broadcasts: boolean): Iterable<number> {
    return this.#before.ids(broadcasts)
  }

  has(id: number): boolean {
    return this.#after.has(id) || this.#before.has(id)
  }

  pass(id: number, order: Order, bytes?: Uint8Array): boolean {
    return (this.#after.has(id) ? this.#after : this.#before).pass(id, order, bytes)
  }
}

/** Who has connections of a server that are not in this process: the process before it, the one after it, or both. */
export class Sides {
  before: Elsewhere | undefined
  #after: Elsewhere | undefined

  /** @returns who passes on orders from now on */
  set(side: 'before' | 'after', elsewhere: Elsewhere | undefined): Elsewhere | undefined {
    if (side === 'before') this.before = elsewhere
    else this.#after = elsewhere
    return this.before && this.#after ? new Both(this.before, this.#after) : (this.before ?? this.#after)
  }
}

/** Carries out an order of the other process. */
export function carryOut(servers: readonly (Movable | undefined)[], { server, order, id, bytes }: Addressed): void {
  servers[server]?.carryOut(id, ORDERS[order] as Order, bytes)
}

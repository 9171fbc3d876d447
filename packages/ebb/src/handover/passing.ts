/** Orders for connections that the other process has: see {@link Elsewhere}. */
import type { Elsewhere, Order } from '../socket/moved.js'
import { MOST_BYTES } from '../sys/channel.js'
import { type Link, MOST_WAITING } from './link.js'
import type { Movable, Side } from './movable.js'
import { type Addressed, encodeAddressed, ORDER, ORDERS, refused, roomFor } from './protocol.js'

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

  /** @param id 0: for all upgraded connections @returns whether the link has taken it */
  pass(server: number, id: number, order: Order, bytes: Uint8Array = NOTHING): boolean {
    if (!this.#link.hasRoom(bytes.length + MOST_BYTES)) return false
    for (let at = 0; at === 0 || at < bytes.length; at += MOST) {
      const isLast = at + MOST >= bytes.length
      // A copy: the caller may reuse its buffer.
      const part = Buffer.from(bytes.subarray(at, at + MOST))
      const addressed = { server, order: ORDERS.indexOf(isLast ? order : 'part'), id, bytes: part }
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
  pendingFor(server: number, id: number): Addressed[] {
    const parts = new Parts()
    const pending: Addressed[] = []
    for (const order of this.#pending) {
      const isMeant = order.server === server && (order.id === id || order.id === 0)
      const whole = isMeant ? parts.add(order) : undefined
      if (whole !== undefined) pending.push({ ...whole, id })
    }
    return pending
  }
}

/** Puts orders together that came in parts. */
export class Parts {
  #parts: Buffer[] = []
  #bytes = 0

  /** Number of messages that the last order came in. */
  count = 0

  /**
   * Takes an order, or a part of one.
   *
   * @returns the order if it is whole
   * @throws {EbbError} `ERR_EBB_HANDOVER` if it is too long
   */
  add(order: Addressed): Addressed | undefined {
    if (this.#parts.length === 0) this.count = 0
    this.count++
    const isPart = ORDERS[order.order] === 'part'
    if (!isPart && this.#parts.length === 0) return order
    this.#parts.push(Buffer.from(order.bytes))
    this.#bytes += order.bytes.length
    if (this.#bytes > MOST_WAITING) throw refused('an order is too long')
    if (isPart) return undefined
    const bytes = Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    return { ...order, bytes }
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

  passToAll(order: Uint8Array): void {
    this.#passing.pass(this.#server, 0, 'upgraded', order)
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

  passToAll(order: Uint8Array): void {
    this.#before.passToAll(order)
    this.#after.passToAll(order)
  }
}

/** Who has connections of a server that are not in this process: the process before it, the one after it, or both. */
export class Sides {
  before: Elsewhere | undefined
  after: Elsewhere | undefined

  /** @returns who passes on orders from now on */
  set(side: Side, elsewhere: Elsewhere | undefined): Elsewhere | undefined {
    if (side === 'before') this.before = elsewhere
    else this.after = elsewhere
    return this.before && this.after ? new Both(this.before, this.after) : (this.before ?? this.after)
  }
}

/** Carries out an order of the other process, which is whole. */
export function carryOut(servers: readonly (Movable | undefined)[], whole: Addressed, from: Side): void {
  const { server, order, id, bytes } = whole
  servers[server]?.carryOut(id, ORDERS[order] as Order, bytes, from)
}

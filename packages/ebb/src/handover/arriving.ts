/** The time after a handover, in the process that has taken over: connections that were not at rest still come. */
import type { MovedConnection } from '../socket/moved.js'
import { reactor } from '../sys/reactor.js'
import { sayDone } from './done.js'
import type { Link, LinkHandler } from './link.js'
import type { Movable } from './movable.js'
import { carryOut, Parts, PassedIds, Passing } from './passing.js'
import {
  ABORT,
  ACK,
  type Addressed,
  BYE,
  COMMIT,
  decodeAddressed,
  decodeNumbers,
  encodeAbort,
  encodeNumbers,
  type Message,
  ORDER,
  refused
} from './protocol.js'
import { step } from './steps.js'
import { RowReceiver } from './wire.js'

/** Takes what still comes, and passes on what is meant for connections that have not come. */
export class Arriving implements LinkHandler {
  readonly #link: Link
  readonly #servers: readonly Movable[]
  readonly #away: Set<number>[]
  readonly #receiver: RowReceiver
  readonly #passing: Passing
  readonly #parts = new Parts()
  /** Number of orders of the other process that were carried out. */
  #orders = 0
  #isOpen = true

  /**
   * @param away ids of connections that may still come, by server
   * @param broadcasts those of them that broadcasts go to
   */
  constructor(
    link: Link,
    servers: readonly Movable[],
    away: readonly (readonly number[])[],
    broadcasts: readonly ReadonlySet<number>[]
  ) {
    this.#link = link
    this.#servers = servers
    this.#away = away.map((ids) => new Set(ids))
    this.#receiver = new RowReceiver(servers)
    this.#passing = new Passing(link)
    link.handler = this
    for (const [at, server] of servers.entries()) {
      server.setElsewhere('before', new PassedIds(this.#passing, at, this.#away[at] as Set<number>, broadcasts[at]))
    }
  }

  /** Whether connections may still come. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  onMessage(message: Message, descriptors: number[]): void {
    if (this.#receiver.receive(message, descriptors)) return
    const { kind, payload } = message
    if (kind === COMMIT) this.#commit(decodeNumbers(payload, 4))
    else if (kind === ORDER) this.#onOrder(decodeAddressed(payload, this.#servers.length))
    else if (kind === ACK) this.#onAck(decodeNumbers(payload, 1)[0] as number)
    else if (kind === BYE) this.#stopWaiting()
    // It has lost patience, and keeps the batch.
    else if (kind === ABORT) this.#receiver.drop()
    else throw refused(`message ${kind} is out of turn`)
  }

  #onOrder(order: Addressed): void {
    const whole = this.#parts.add(order)
    if (whole === undefined) return
    carryOut(this.#servers, whole, 'before')
    this.#orders += this.#parts.count
    this.#link.send(encodeNumbers(ACK, [this.#orders]))
  }

  #onAck(count: number): void {
    if (!this.#passing.onCarriedOut(count)) throw refused('it has carried out orders that it was not given')
  }

  #commit([rows = -1, , , orders = -1]: number[]): void {
    if (rows !== this.#receiver.count || !this.#receiver.isComplete) throw refused('not what COMMIT tells')
    this.#onAck(orders)
    step('new:late commit')
    const moved = this.#receiver.take()
    const adopted = this.#adopt(moved)
    if (!sayDone(this.#link.channel, rows)) {
      for (const [at, ids] of adopted.entries()) this.#servers[at]?.unadopt(ids)
      throw refused('it has lost patience')
    }
    step('new:late done')
    this.#onTaken(adopted)
  }

  #onTaken(adopted: readonly number[][]): void {
    for (const [at, ids] of adopted.entries()) {
      for (const id of ids) {
        const pending = this.#passing.pendingFor(at, id)
        this.#away[at]?.delete(id)
        // What the other process had not, when it sent the connection.
        for (const order of pending) carryOut(this.#servers, order, 'after')
      }
      this.#servers[at]?.onTaken(ids)
    }
  }

  #adopt(moved: readonly MovedConnection[][]): number[][] {
    for (const [at, connections] of moved.entries()) {
      const server = this.#servers[at] as Movable
      if (connections.every(({ id }) => server.isReserved(id))) continue
      for (const { fd } of moved.flat()) reactor().retire(fd)
      throw refused('a connection that was not announced')
    }
    const adopted: number[][] = this.#servers.map(() => [])
    for (const [at, connections] of moved.entries()) {
      try {
        ;(this.#servers[at] as Movable).adopt(connections)
        adopted[at] = connections.map(({ id }) => id)
      } catch (error) {
        for (const { fd } of moved.slice(at + 1).flat()) reactor().retire(fd)
        for (const [other, ids] of adopted.entries()) this.#servers[other]?.unadopt(ids)
        throw error
      }
    }
    return adopted
  }

  onEnd(): void {
    this.#receiver.dropIncomplete()
    // It has died in the middle of a batch: what has come lives here.
    const moved = this.#receiver.take()
    try {
      this.#onTaken(this.#adopt(moved))
    } catch {
      // They are lost with the other process.
    }
    this.#end()
  }

  onFailure(error: Error): void {
    if (!this.#link.isOpen) return
    this.#link.channel.trySend(encodeAbort(error.message))
    this.#end()
  }

  #end(): void {
    this.#link.close()
    this.#stopWaiting()
  }

  /** No connection comes any more. */
  #stopWaiting(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#receiver.drop()
    for (const [at, server] of this.#servers.entries()) {
      server.setElsewhere('before', undefined)
      for (const id of this.#away[at] as Set<number>) server.release(id)
    }
  }
}

/** What several servers tell, as one would: clients, cycles, memory. */
import type { RuntimeView } from 'ebb/memory'

/** What one server tells of its clients and its runtime. */
export interface Count {
  clients: number
  /** Connections accepted since its start. */
  accepted: number
  view: RuntimeView
}

const NOTHING: Count = { clients: 0, accepted: 0, view: { system: 0, inuse: 0, released: 0, objects: null } }

/** Of servers, each told apart by its `Server`. */
export class Tally<Server> {
  readonly #every: number
  readonly #counts = new Map<Server, Count>()
  #clients = 0
  #accepted = 0
  #acceptedAtZero = 0
  #cycle = 0

  /** `every`: as of `ServeOptions`. */
  constructor(every: number) {
    this.#every = every
  }

  /** Clients of all servers, as they last told. */
  get clients(): number {
    return this.#clients
  }

  /** Those of one. */
  clientsOf(server: Server): number {
    return this.#counts.get(server)?.clients ?? 0
  }

  /** All of it, as the log has it. */
  sum(): { cycle: number; clients: number } & RuntimeView {
    const sum = { cycle: this.#cycle, clients: this.#clients, system: 0, inuse: 0, released: 0, objects: null }
    for (const { view } of this.#counts.values()) {
      sum.system += view.system
      sum.inuse += view.inuse
      sum.released += view.released
    }
    return sum
  }

  /**
   * A server has told. Servers tell now and then, and not of each client: the sum steps over multiples.
   *
   * @returns whether the log tells of it: the sum has come to a multiple, gone past one, or been 0 meanwhile
   */
  count(server: Server, count: Count): boolean {
    const before = this.#counts.get(server) ?? NOTHING
    this.#counts.set(server, count)
    this.#accepted += count.accepted - before.accepted
    return this.#change(count.clients - before.clients)
  }

  /** A server has ended: its clients have gone with it. As {@link count}. */
  end(server: Server): boolean {
    const clients = this.clientsOf(server)
    this.#counts.delete(server)
    return this.#change(-clients)
  }

  #change(by: number): boolean {
    const before = this.#clients
    const now = before + by
    this.#clients = now
    const isNewZero = now === 0 && this.#accepted > this.#acceptedAtZero
    if (now === 0) this.#acceptedAtZero = this.#accepted
    if (isNewZero) this.#cycle++
    const every = this.#every
    return (
      isNewZero ||
      Math.floor(now / every) > Math.floor(before / every) ||
      Math.ceil(now / every) < Math.ceil(before / every)
    )
  }
}

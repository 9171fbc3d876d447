/** Adds up what several server processes report, so that the log reads like that of one server. */
import type { RuntimeView } from 'ebb/memory'

/** A server process's report of its clients and its runtime. */
export interface Count {
  /** Connections that are open now. */
  clients: number
  /** Connections accepted since the process started. */
  accepted: number
  view: RuntimeView
}

const NO_COUNT: Count = { clients: 0, accepted: 0, view: { system: 0, inuse: 0, released: 0, objects: null } }

/** The totals of several servers. `Server` identifies a server. */
export class Totals<Server> {
  readonly #every: number
  readonly #counts = new Map<Server, Count>()
  #clients = 0
  #accepted = 0
  #acceptedAtZero = 0
  #cycle = 0

  /** @param every number of clients whose multiples are logged, as in `ServeOptions` */
  constructor(every: number) {
    this.#every = every
  }

  /** Clients of all servers, by their last reports. */
  get clients(): number {
    return this.#clients
  }

  /** Returns the clients of one server, by its last report. */
  clientsOf(server: Server): number {
    return this.#counts.get(server)?.clients ?? 0
  }

  /** Returns the fields of a `cycle` event for all servers together. */
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
   * Takes in a server's report. A report may stand for many clients, so the total can step over a multiple of `every`.
   *
   * @returns whether to log the totals: the number of clients reached or passed a multiple of `every`, or was 0
   *   meanwhile
   */
  count(server: Server, count: Count): boolean {
    const before = this.#counts.get(server) ?? NO_COUNT
    this.#counts.set(server, count)
    this.#accepted += count.accepted - before.accepted
    return this.#change(count.clients - before.clients)
  }

  /**
   * Takes in the end of a server process, which closed the connections of its clients.
   *
   * @returns whether to log the totals, as {@link count} does
   */
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

/** Finding the connections of a listener by their id. */
import type { Reactor } from '../sys/reactor.js'

/** The listener whose connections are found. */
interface IdsHost {
  readonly reactor: Reactor
  /** Its owner number at the reactor; -1 while it is not registered. */
  readonly owner: number
}

/** Descriptors by id. A program that asks for none has no table. */
export class ConnectionIds {
  readonly #host: IdsHost
  /** Made by the first {@link find}, and kept up to date from then on. */
  #descriptors: Map<number, number> | undefined

  constructor(host: IdsHost) {
    this.#host = host
  }

  /** Returns the descriptor of a connection; -1 if it is closed. */
  find(id: number): number {
    this.#descriptors ??= new Map(this.all())
    return this.#descriptors.get(id) ?? -1
  }

  /** The ids and descriptors of all connections. */
  *all(): Generator<[id: number, fd: number]> {
    const { reactor, owner } = this.#host
    for (let fd = owner === -1 ? -1 : reactor.next(owner, -1); fd !== -1; fd = reactor.next(owner, fd)) {
      yield [reactor.serial[fd] as number, fd]
    }
  }

  add(fd: number): void {
    this.#descriptors?.set(this.#host.reactor.serial[fd] as number, fd)
  }

  delete(id: number): void {
    this.#descriptors?.delete(id)
  }

  audit(): string[] {
    if (this.#descriptors === undefined) return []
    const open = new Map(this.all())
    const isRight = open.size === this.#descriptors.size && [...open].every(([id, fd]) => this.find(id) === fd)
    return isRight ? [] : ['ids do not fit the connections']
  }
}

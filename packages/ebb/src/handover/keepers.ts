/** Who is told of parked connections: a server tells one, and both a keeper and a successor may have duplicates. */
import type { ConnectionKeeper } from '../socket/moved.js'
import type { Movable } from './movable.js'

const keepers = new WeakMap<Movable, readonly ConnectionKeeper[]>()

/** Has a server tell one more keeper. */
export function addKeeper(server: Movable, keeper: ConnectionKeeper): void {
  set(server, [...(keepers.get(server) ?? []), keeper])
}

/** Ends {@link addKeeper}. */
export function removeKeeper(server: Movable, keeper: ConnectionKeeper): void {
  set(
    server,
    (keepers.get(server) ?? []).filter((other) => other !== keeper)
  )
}

function set(server: Movable, list: readonly ConnectionKeeper[]): void {
  keepers.set(server, list)
  server.setKeeper(list.length > 1 ? new All(list) : list[0])
}

/** Tells several. */
class All implements ConnectionKeeper {
  readonly #keepers: readonly ConnectionKeeper[]

  constructor(list: readonly ConnectionKeeper[]) {
    this.#keepers = list
  }

  parked(row: number): void {
    for (const keeper of this.#keepers) keeper.parked(row)
  }

  leaving(row: number): void {
    for (const keeper of this.#keepers) keeper.leaving(row)
  }

  stopped(): void {
    for (const keeper of this.#keepers) keeper.stopped()
  }
}

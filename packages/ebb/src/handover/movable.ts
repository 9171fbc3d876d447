/** What a handover needs of a server, whatever kind it is. */
import type { ConnectionKeeper, Elsewhere, MovedConnection, Order } from '../socket/moved.js'
import type { Welcome } from './protocol.js'

/** Times of a handover, in ms. */
export interface Patience {
  /** How long this process may be blocked. */
  timeout: number
  /** How long connections that are not at rest may go on in the process that has them. */
  grace: number
}

/** A server whose connections can move to another process. */
export interface Movable {
  /** The same in both processes. */
  readonly name: string
  /** Only servers of one kind hand over to each other. */
  readonly kind: string
  /** Number of open connections. */
  readonly size: number
  /** Size of the attachments of all connections, in bytes. */
  readonly attachmentBytes: number
  /** What ids of new connections must be above, wherever they are made: see `Table`, and `Reactor.skip()`. */
  readonly mostUses: number
  /** Flags that connections may have. */
  readonly flags: number
  /**
   * Whether the program may have something to write to a connection that has moved, as long as this process runs and
   * `grace` lasts.
   */
  readonly lingers: boolean
  /** Names of those that take upgraded connections. */
  readonly upgrades: readonly string[]
  /** The listening socket; undefined if the server does not listen, or others listen on its socket as well. */
  listening(): { fd: number; path: string; backlog: number } | undefined
  /**
   * Parks the awake connections that are at rest.
   *
   * @param part of the time that counts as rest, from 1 to 0
   */
  parkResting(part: number): void
  /** Calls `then` each time that a connection may have come to rest. @returns a function that ends this */
  onRest(then: () => void): () => void
  /**
   * Returns the connections that can move now, by a number of this server, in ascending order.
   *
   * @param upgrades names of those that take upgraded connections in the other process; undefined: all
   * @param most size of what upgraded connections need, in bytes. Those above it are left for the next time
   */
  rows(upgrades: ReadonlySet<string> | undefined, most: number): readonly number[]
  describe(row: number): MovedConnection
  /** Whether a connection, parked or not, can be kept for the case that this process is killed. */
  canKeep(row: number): boolean
  /** Sets who is told of parked connections. */
  setKeeper(keeper: ConnectionKeeper | undefined): void
  idOf(row: number): number
  /**
   * The ids of the connections that do not move now.
   *
   * @param broadcasts those that broadcasts go to, or the others
   * @param leaving the others: a result of {@link rows}
   */
  stayingIds(broadcasts: boolean, leaving: readonly number[]): Iterable<number>
  /** Gives up a connection that another process has by now. */
  surrender(row: number): void
  /** Leaves the listening socket to another process. */
  surrenderListening(): void
  /** Ends a server that has left its listening socket to another process. @param all whether its connections, too */
  end(all: boolean): void
  /** Shuts down a server that the other process does not have. */
  shutDown(grace: number): void
  /** Emits an event of the handover, in a later turn. */
  emit(event: 'handedOver' | 'handoverFailed', argument: unknown): void
  /** Calls `then` when the server has closed. */
  onClose(then: () => void): void

  /** Starts to listen as the application wants. */
  listen(): Promise<void>
  /**
   * Listens on a socket that came from another process, within this turn.
   *
   * @throws {SystemError}; the descriptor is then closed
   */
  listenOn(fd: number, path: string, backlog: number): void
  /** Resolves when the server has emitted `listening`. */
  listened(): Promise<void>
  /** Undoes {@link listenOn}, without an effect on the other process. */
  unlisten(): void
  /**
   * Keeps the ids of connections that come now or later.
   *
   * @param leastUses {@link mostUses} of the other process
   * @returns false if one of them is not valid
   */
  reserve(ids: readonly number[], leastUses: number): boolean
  isReserved(id: number): boolean
  release(id: number): void
  /** Prepares for a connection that may come with this descriptor, so that {@link adopt} takes less time. */
  expect?(fd: number): void
  /**
   * Checks a connection that has come.
   *
   * @param state what its protocol needs, if it is upgraded
   * @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid
   */
  check(flags: number, state: string | undefined): void
  adopt(moved: readonly MovedConnection[]): void
  /** Gives up connections that were adopted, without an effect on the other process. */
  unadopt(ids: readonly number[]): void
  /** Called when connections that were adopted are this process's for good. It may call the program. */
  onTaken(ids: readonly number[]): void
  /** Sets who passes on orders for connections that the process before, or after, this one has. */
  setElsewhere(side: Side, elsewhere: Elsewhere | undefined): void
  /** The ids of the connections that the process before this one has. @param broadcasts as in {@link stayingIds} */
  arrivingIds(broadcasts: boolean): Iterable<number>
  /**
   * Carries out an order of another process.
   *
   * @param id 0: for all upgraded connections
   * @param from the side on which that process is
   * @throws {EbbError} `ERR_EBB_HANDOVER` if the order is not valid
   */
  carryOut(id: number, order: Order, bytes: Buffer, from: Side): void
}

/** The process before, or after, this one. */
export type Side = 'before' | 'after'

/** Returns what this process says of itself in HELLO, WELCOME and ATTACH. */
export function introduction(servers: readonly Movable[]): Welcome {
  const told = servers.map(({ name, kind, upgrades }) => ({ name, kind, upgrades }))
  return { pid: process.pid, node: process.version, servers: told }
}

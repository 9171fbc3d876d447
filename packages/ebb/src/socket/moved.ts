/** Connections that move to another process, or come from one: what `handover/` and the servers tell each other. */

/** What another process needs to go on with a connection. */
export interface MovedConnection {
  /** Its descriptor, in the process that has this object. */
  fd: number
  id: number
  /** Bits that only servers of its kind understand. */
  flags: number
  wakes: number
  /** Requests so far, if the server limits them. */
  requests: number
  /** Milliseconds until its timeout; 0: none. */
  left: number
  /** Length, in ms, of the timeout that the application has set; 0: none. */
  duration: number
  /** A serialised attachment. */
  attachment: string | undefined
  /** What the protocol of an upgraded connection needs: see `UpgradedMoving.describe()`. */
  state: string | undefined
  /** Addresses that a balancer has told: a record of `proxy-header.ts`. */
  proxied: Uint8Array | undefined
}

/** What is done with a connection that another process has. `'upgraded'` is an order of its protocol. */
export type Order = 'send' | 'end' | 'close' | 'pause' | 'resume' | 'upgraded'

/** Passes on what the application does with connections that another process has. */
export interface Elsewhere {
  /** Ids of connections that may still come. @param broadcasts those that broadcasts go to, or the others */
  ids(broadcasts: boolean): Iterable<number>
  has(id: number): boolean
  /** @returns whether it was passed on */
  pass(id: number, order: Order, bytes?: Uint8Array): boolean
  /** Passes on an order of their protocol for all upgraded connections that the other process has. */
  passToAll(order: Uint8Array): void
}

/** Keeps duplicates of connections, for the case that this process is killed: see `handover/keeping.ts`. */
export interface ConnectionKeeper {
  /** A connection has come to rest, or what another process needs of it has changed. */
  parked(row: number): void
  /** A connection that may be kept is about to be read, woken or closed. */
  leaving(row: number): void
  /** The server closes its listening socket. */
  stopped(): void
}

/** What the event `handedOver` tells. */
export interface HandedOver {
  /** Process id of the successor. */
  pid: number
  /** Connections that it has got at once. */
  connections: number
  /** Connections that were not at rest. They follow within `grace`, or end here. */
  awake: number
  /** Milliseconds for which this process was blocked. */
  ms: number
}

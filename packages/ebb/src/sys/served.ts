/** The servers of this library in this thread, so that others can count their connections. */

/** A server and its connections. */
export interface ServerReport {
  /** `127.0.0.1:80`, `[::1]:80`, a path, or `@name` for an abstract one. Undefined if the server does not listen. */
  address: string | undefined
  /** `tcp` (also for `listen()`), `tls`, `http`, `https` or `http2`, as in the metrics of `ebb/metrics`. */
  protocol: string
  /** Connections without a socket: bare descriptors in epoll. */
  parked: number
  /** Connections with a socket. */
  awake: number
  /** All open connections: `parked + awake`. */
  connections: number
  /** Connections that speak WebSocket, parked and awake. Part of `connections`. */
  webSockets: number
}

/** A server that listens or has connections. */
export interface Served {
  report(): ServerReport
}

// A program may load two copies of this library: they have one list. Change the number when you change a report.
const KEY = Symbol.for('ebb.served.1')
const scope = globalThis as { [KEY]?: Set<Served> }

/** Adds a server to the list, which keeps it from garbage collection until {@link leaveServed}. */
export function joinServed(server: Served): void {
  scope[KEY] ??= new Set()
  scope[KEY].add(server)
}

/** Takes a server off the list. */
export function leaveServed(server: Served): void {
  scope[KEY]?.delete(server)
}

/** Returns a report of each server, in the order in which they joined. */
export function servedNow(): ServerReport[] {
  return [...(scope[KEY] ?? [])].map((server) => server.report())
}

/**
 * The internals of `net.Server` and `tls.Server` that ebb uses. Node does not document these properties, but every
 * version from 20 to 26 has them.
 */
import type { Server } from 'node:net'
import type { ListeningHandle } from './handle.js'

/** A `net.Server` with properties that Node keeps for itself. */
export interface ServerInternals extends Server {
  noDelay: boolean
  keepAlive: boolean
  /** Seconds. */
  keepAliveInitialDelay: number
  allowHalfOpen: boolean
  pauseOnConnect: boolean
  highWaterMark?: number
  blockList?: { check(address: string, family: 'ipv4' | 'ipv6'): boolean }
  /** The listening handle. */
  _handle: ListeningHandle | null
  /** Number of open connections: `getConnections()` returns it, and `maxConnections` limits it. */
  _connections: number
  /** Path of a Unix socket, in place of an address. */
  _pipeName?: string
  /** Whether `unref()` was called. */
  _unref: boolean
  /** Emits `close` if the server is closed and has no connections. */
  _emitCloseIfDrained(): void
  /** Makes the listening handle, or takes the one that is set, and listens. */
  _listen2(...args: unknown[]): void
}

/** Counts one more open connection. */
export function countConnection(server: ServerInternals): void {
  server._connections++
}

/** Counts one open connection less. */
export function uncountConnection(server: ServerInternals): void {
  server._connections--
}

/** Emits `close` if the server is closed and has no connections. */
export function emitCloseIfDrained(server: ServerInternals): void {
  server._emitCloseIfDrained()
}

/** Until Node 21, a `maxConnections` of 0 meant no limit. */
const zeroIsALimit = Number(process.versions.node.split('.', 1)[0]) >= 21

/** Whether the server has as many connections as `maxConnections` allows. */
export function isFull({ maxConnections, _connections }: ServerInternals): boolean {
  if (maxConnections == null || (maxConnections === 0 && !zeroIsALimit)) return false
  return _connections >= maxConnections
}

/** Returns the handle that the server listens with; null if it does not listen. */
export function handleOf(server: ServerInternals): ListeningHandle | null {
  return server._handle
}

/** Replaces the handle that the server listens with. The caller closes the old one. */
export function setHandle(server: ServerInternals, handle: ListeningHandle | null): void {
  server._handle = handle
}

/** Sets the path that `server.address()` returns. */
export function setPath(server: ServerInternals, path: string): void {
  server._pipeName = path
}

/** Whether `server.unref()` was called. */
export function isUnreferenced(server: ServerInternals): boolean {
  return server._unref
}

/**
 * Returns the object that `server.listen()` takes its options from: a server or a socket is replaced by its handle.
 */
export function listenTarget(options: object): object {
  const { _handle, handle } = options as { _handle?: object; handle?: object }
  return _handle || handle || options
}

/** Whether options of `listen()` name a handle or a descriptor in place of an address. */
export function namesHandle(options: object): boolean {
  const { fd } = options as { fd?: unknown }
  return 'getsockname' in options || (typeof fd === 'number' && fd >= 0)
}

/** Calls `then` in the turn in which the server gets a listening handle, before Node can accept a connection. */
export function onHandleSet(server: ServerInternals, then: () => void): void {
  const setUp = server._listen2
  server._listen2 = function (...args) {
    setUp.apply(this, args)
    then()
  }
}

/** Node's default of `handshakeTimeout`, in ms. */
const HANDSHAKE_TIMEOUT = 120_000

/** Returns `handshakeTimeout` of a `tls.Server`, in ms; Node's default if Node keeps it elsewhere. */
export function handshakeTimeout(server: Server): number {
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'handshake-timeout')
  const timeout = symbol && (server as unknown as Record<symbol, unknown>)[symbol]
  return typeof timeout === 'number' ? timeout : HANDSHAKE_TIMEOUT
}

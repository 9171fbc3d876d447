/**
 * The internals of `net.Server` and `tls.Server` that ebb uses. Node does not document these properties, but every
 * version from 20 to 26 has them.
 */
import { AsyncResource } from 'node:async_hooks'
import type { Server, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { outside } from '../../sys/node/callback-scope.js'
import { symbolOf, symbolProperty } from '../../sys/node/symbols.js'
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
  /** Whether `unref()` was called. */
  _unref: boolean
  /** Emits `close` if the server is closed and has no connections. */
  _emitCloseIfDrained(): void
  /** Makes the listening handle, or takes the one that is set, and listens. */
  _listen2(...request: HandleRequest): void
}

/** Sets what `address()` returns for a Unix socket whose path Node does not know. */
export function setPipeName(server: Server, path: string): void {
  ;(server as Server & { _pipeName?: string })._pipeName = path
}

/** Counts one more open connection. */
export function countConnection(server: ServerInternals): void {
  server._connections++
}

/** Counts one open connection less. */
export function uncountConnection(server: ServerInternals): void {
  server._connections--
}

/**
 * Has the `close` event of a server emitted in an empty context. Its listeners are not those of whoever closes the
 * server; only the callback of `close()` is, and it is called in the context of its caller.
 */
export function closeOutside(server: ServerInternals): void {
  const { close } = server
  server.close = function (callback) {
    const bound = typeof callback === 'function' ? AsyncResource.bind(callback) : callback
    return outside(() => close.call(this, bound))
  }
}

/**
 * Calls `fn`, in which Node makes a socket and emits `connection`. The event gets `connectionOf(socket)` as its second
 * argument.
 */
export function withConnectionOf(server: Server, connectionOf: (socket: Socket) => unknown, fn: () => void): void {
  const { emit } = server
  const isOwn = Object.hasOwn(server, 'emit')
  const restore = (): void => {
    if (isOwn) server.emit = emit
    else Reflect.deleteProperty(server, 'emit')
  }
  server.emit = (...args: [event: string, ...unknown[]]): boolean => {
    if (args[0] !== 'connection') return Reflect.apply(emit, server, args)
    restore()
    return Reflect.apply(emit, server, ['connection', args[1], connectionOf(args[1] as Socket)])
  }
  try {
    fn()
  } finally {
    restore()
  }
}

/** Whether the server is closed and has no connections. */
export function isDrained({ _handle, _connections }: ServerInternals): boolean {
  return _handle === null && _connections === 0
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
export function setHandle(server: ServerInternals, handle: ListeningHandle): void {
  server._handle = handle
}

/** Whether `server.unref()` was called. */
export function isUnreferenced(server: ServerInternals): boolean {
  return server._unref
}

/** Arguments with which Node makes a listening handle. */
export type HandleRequest = [
  /** The IP address, or the path; null: all interfaces. */
  address: string | null,
  port: number | null,
  /** 4, 6, or -1 for a path. */
  addressType: number | null,
  backlog: unknown,
  fd: number | undefined,
  flags: number | undefined
]

/** Takes part when a server starts to listen. */
export interface ListenHooks {
  /** Called before Node makes a handle. @returns the handle to listen with; undefined: Node makes one */
  provide(request: HandleRequest): ListeningHandle | undefined
  /**
   * Called before Node calls `handle.listen()`.
   *
   * @param given whether the caller of `server.listen()` has passed the handle
   */
  prepare(handle: ListeningHandle, given: boolean, request: HandleRequest): void
  /** Called when `handle.listen()` has succeeded, in the same turn, before Node can accept a connection. */
  listens(handle: ListeningHandle): void
}

/** Calls `hooks` each time the server starts to listen. */
export function hookListening(server: ServerInternals, hooks: ListenHooks): void {
  const setUp = server._listen2
  server._listen2 = function (...args) {
    const given = this._handle !== null
    const provided = given ? undefined : hooks.provide(args)
    if (provided !== undefined) this._handle = provided
    if (this._handle !== null) hooks.prepare(this._handle, given, args)
    else onHandleSet(this, (handle) => hooks.prepare(handle, false, args))
    try {
      setUp.apply(this, args)
    } finally {
      define(this, { value: this._handle, writable: true })
    }
    if (this._handle !== null) hooks.listens(this._handle)
  }
}

/** Calls `then` when Node sets the handle of the server, until `_handle` is defined anew. */
function onHandleSet(server: ServerInternals, then: (handle: ListeningHandle) => void): void {
  let current: ListeningHandle | null = null
  define(server, {
    get: () => current,
    set: (handle: ListeningHandle | null) => {
      current = handle
      if (handle !== null) then(handle)
    }
  })
}

function define(server: ServerInternals, property: PropertyDescriptor): void {
  Object.defineProperty(server, '_handle', { configurable: true, enumerable: true, ...property })
}

/**
 * Calls `fn` with each socket of a `tls.Server`, before the application gets it. A listener of `secureConnection` would
 * be seen, so `emit()` is replaced.
 */
export function onSecureConnection(server: Server, fn: (socket: TLSSocket) => void): void {
  const { emit } = server
  server.emit = function (this: Server, ...args: [event: string, ...unknown[]]) {
    if (args[0] === 'secureConnection') fn(args[1] as TLSSocket)
    return Reflect.apply(emit, this, args)
  }
}

/** A session of an `http2` server. */
interface Session {
  /** Ends the session when its streams have ended. */
  close(): void
  readonly destroyed: boolean
}

/**
 * Returns the sessions of an `http2` server, some of which may be destroyed. Before Node 24 the server keeps no list of
 * them. Then `emit()` keeps one from now on, because a listener of `session` would be seen.
 */
export function sessionsOf(server: Server): ReadonlySet<Session> {
  const kept = symbolProperty(server, 'sessions')
  if (kept instanceof Set) return kept
  const sessions = new Set<Session>()
  let limit = 16
  const { emit } = server
  server.emit = function (this: Server, ...args: [event: string, ...unknown[]]) {
    if (args[0] === 'session') {
      if (sessions.size >= limit) {
        for (const session of sessions) if (session.destroyed) sessions.delete(session)
        limit = Math.max(16, 2 * sessions.size)
      }
      sessions.add(args[1] as Session)
    }
    return Reflect.apply(emit, this, args)
  }
  return sessions
}

/** Node's default of `handshakeTimeout`, in ms. */
const HANDSHAKE_TIMEOUT = 120_000

/** The property under which a `tls.Server` keeps its `handshakeTimeout`. */
const HANDSHAKE = 'handshake-timeout'

/** Returns `handshakeTimeout` of a `tls.Server`, in ms; Node's default if Node keeps it elsewhere. */
export function handshakeTimeout(server: Server): number {
  const timeout = symbolProperty(server, HANDSHAKE)
  return typeof timeout === 'number' ? timeout : HANDSHAKE_TIMEOUT
}

/** Calls `fn`, in which a `tls.Server` takes a connection, with another `handshakeTimeout` (ms). */
export function withHandshakeTimeout(server: Server, timeout: number, fn: () => void): void {
  const property = symbolOf(server, HANDSHAKE)
  if (property === undefined) {
    fn()
    return
  }
  const properties = server as unknown as Record<symbol, unknown>
  const own = properties[property]
  properties[property] = timeout
  try {
    fn()
  } finally {
    properties[property] = own
  }
}

/**
 * The internals of `net.Socket` that ebb uses. Node does not document these properties, but every version from 20 to 26
 * has them.
 */
import { channel } from 'node:diagnostics_channel'
import type { EventEmitter } from 'node:events'
import { type Server, Socket, type SocketConstructorOpts } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { systemError } from '../../sys/errors.js'
import { captureEmitterOptions } from '../../sys/node/handles.js'
import { passiveSocket } from '../../sys/node/passive-socket.js'
import { symbolOf, symbolProperty } from '../../sys/node/symbols.js'
import type { Reactor } from '../../sys/reactor.js'
import { duplicateDescriptor } from '../../sys/socket.js'
import { peek } from '../../sys/transfer.js'
import { type ClientHandle, type HandleClass, handleClassOf } from './handle.js'
import { waitsForChannel } from './ipc.js'
import type { ServerInternals } from './server.js'

/** `TCPConstants.SOCKET` and `PipeConstants.SOCKET`: a handle for a connection. */
const SOCKET = 0

/** What a socket keeps of its handle. */
interface SocketHandle extends ClientHandle {
  readonly writeQueueSize?: number
  readonly reading?: boolean
  hasRef?(): boolean
}

interface SocketInternals extends Socket {
  _handle: SocketHandle | null
  server: Server | null
  _server: Server | null
  /** Called at the timeout of `setTimeout()`: emits `timeout`. */
  _onTimeout(): void
  /** Starts the timeout again. */
  _unrefTimer(): void
}

const accepted = channel('net.server.socket')

/**
 * Makes the handle that Node would have made for an accepted connection. It owns `fd`.
 *
 * The caller knows the class of handles from the server. `new Socket({ fd })` would need four system calls to find it.
 *
 * @throws {SystemError} if Node cannot open the descriptor; then `fd` is closed
 */
export function clientHandle(reactor: Reactor, Handle: HandleClass, fd: number): ClientHandle {
  const handle = new (watchedClass(Handle))(SOCKET)
  const result = reactor.handOver(fd, handle)
  if (result === 0) return handle
  handle.close()
  throw systemError('open', -result)
}

/** Learns when a handle has closed. */
export interface HandleObserver {
  /** The socket that the observer watches. */
  readonly socket: Socket | undefined
  /**
   * Called before a handle is closed or reset by its socket.
   *
   * @param reset whether with a RST
   */
  onHandleClosing(fd: number, reset: boolean): void
  /** Called once, in a callback of Node, when the descriptor of the handle is closed. */
  onHandleClose(): void
}

const kObserver = Symbol('ebb.observer')
type Observed = ClientHandle & { [kObserver]?: HandleObserver | undefined }

/**
 * Has `observer` learn when the handle of `socket` closes, whoever closes it: the socket, a `TLSSocket` or a session
 * over it, or Node after it has sent the handle to another process. A `close` listener would not do, because the
 * application may remove all listeners, or take the handle from the socket.
 *
 * @param observer undefined: nobody
 */
export function observeHandle(socket: Socket, observer: HandleObserver | undefined): void {
  const handle = (socket as SocketInternals)._handle as Observed | null
  if (handle === null) return
  if (!(kObserver in handle)) watch(handle)
  handle[kObserver] = observer
}

/** Node's classes of handles, each with a class of the same name whose handles have observers. */
const watchedClasses = new WeakMap<HandleClass, HandleClass>()

function watchedClass(Handle: HandleClass): HandleClass {
  if (kObserver in Handle.prototype) return Handle
  let Watched = watchedClasses.get(Handle)
  if (Watched === undefined) {
    Watched = class extends Handle {}
    Object.defineProperty(Watched, 'name', { value: Handle.name })
    watch(Watched.prototype)
    watchedClasses.set(Handle, Watched)
  }
  return Watched
}

/** Replaces the methods of a handle, or of the prototype of handles, that close it. */
function watch(handle: Observed): void {
  const hidden = { enumerable: false, configurable: true, writable: true }
  Object.defineProperty(handle, kObserver, { ...hidden, value: undefined })
  for (const name of ['close', 'reset'] as const) {
    const method = handle[name]
    if (method === undefined) continue
    Object.defineProperty(handle, name, { ...hidden, value: closing(method, name === 'reset') })
  }
}

type Close = (this: Observed, done?: () => void) => unknown

/** Makes a method that closes a handle and tells its observer. */
function closing(method: Close, reset: boolean): Close {
  return function (done) {
    const observer = this[kObserver]
    if (observer === undefined) return method.call(this, done)
    // A socket that was sent to another process has given up its handle by now.
    if (observer.socket !== undefined && (observer.socket as SocketInternals)._handle === this)
      observer.onHandleClosing(this.fd, reset)
    return method.call(this, () => {
      try {
        observer.onHandleClose()
      } finally {
        done?.call(this)
      }
    })
  }
}

/**
 * Makes the socket that Node would have made for an accepted connection of `server`.
 *
 * @param writable false if a FIN was already sent
 */
export function socketFor(server: ServerInternals, handle: ClientHandle, writable: boolean): Socket {
  const socket = new Socket(optionsFor(server, handle, writable)) as SocketInternals
  // One more for the connection: see setConnection().
  if (symbolCount === 0) symbolCount = Object.getOwnPropertySymbols(socket).length + 1
  socket._onTimeout = onTimeout
  socket.server = server
  socket._server = server
  if (accepted.hasSubscribers) accepted.publish({ socket })
  return socket
}

/**
 * Returns the options of a socket. They have all properties that the constructor sets on its copy of them: V8 of Node
 * 20 would give each copy that gets further properties a hidden class of its own, and a socket would take 14 us more.
 */
function optionsFor(
  server: ServerInternals,
  handle: ClientHandle | undefined,
  writable: boolean
): SocketConstructorOpts & Record<string, unknown> {
  return {
    handle,
    allowHalfOpen: server.allowHalfOpen,
    pauseOnCreate: server.pauseOnConnect,
    readable: true,
    writable,
    readableHighWaterMark: server.highWaterMark,
    writableHighWaterMark: server.highWaterMark,
    emitClose: false,
    autoDestroy: true,
    decodeStrings: false
  }
}

/** Returns options like those that Node copies for each socket of a server. To get them, makes one without a handle. */
export function exampleOptions(server: ServerInternals): object | undefined {
  return captureEmitterOptions(() => void new Socket(optionsFor(server, undefined, true)))
}

/**
 * The `_onTimeout()` of sockets. After a delay of the event loop, a socket can time out although its peer has sent
 * bytes in time, which wait in the kernel. Node would close the connection, with a RST for the peer. Here, the bytes
 * are read first, and the timeout starts again.
 */
function onTimeout(this: SocketInternals): void {
  const fd = this._handle?.reading === true ? this._handle.fd : -1
  if (fd >= 0 && peek(fd, 1) > 0) this._unrefTimer()
  else (Socket.prototype as SocketInternals)._onTimeout.call(this)
}

/**
 * Makes the timeout of a `TLSSocket` look for bytes in the kernel first, as that of other sockets here. If they contain
 * nothing for the application, such as a part of a record, the next timeout is not put off.
 */
export function lookBeforeTimeout(socket: TLSSocket): void {
  const internals = socket as unknown as SocketInternals
  let looked = -1
  internals._onTimeout = function () {
    const { bytesRead } = this
    if (bytesRead === looked) (Socket.prototype as SocketInternals)._onTimeout.call(this)
    else {
      looked = bytesRead
      onTimeout.call(this)
    }
  }
}

/** Does what Node does at the timeout of a socket. */
export function timeOut(socket: Socket): void {
  ;(socket as SocketInternals)._onTimeout()
}

/**
 * Whether somebody else has taken over the connection of an awake socket: another process, another server, a
 * `TLSSocket`, an HTTP/2 session, or another socket on its handle. Its bytes then mean nothing to `server`.
 */
export function isTaken(socket: Socket, server: Server): boolean {
  const { _handle: handle, server: owner } = socket as SocketInternals
  if (handle === null) return !socket.destroyed
  return owner !== server || hasOtherReader(handle, socket) || hasSession(socket) || waitsForChannel(socket)
}

/** Property of a handle under which Node keeps the socket that reads from it; looked up once. */
let ownerSymbol: symbol | undefined

function hasOtherReader(handle: SocketHandle, socket: Socket): boolean {
  // A TLSSocket replaces this property of the handle below it by an accessor.
  if (Object.getOwnPropertyDescriptor(handle, 'reading')?.get !== undefined) return true
  ownerSymbol ??= symbolOf(handle, 'owner_symbol')
  if (ownerSymbol === undefined) return false
  return (handle as unknown as Record<symbol, unknown>)[ownerSymbol] !== socket
}

/** Whether `http2` has made a session on a socket. */
function hasSession(socket: Socket): boolean {
  // Most sockets have no symbols but those of their constructor, and of ebb.
  const count = Object.getOwnPropertySymbols(socket).length
  if (count <= symbolCount && !('undefined' in socket)) return false
  return sessionOf(socket) !== undefined || symbolProperty(socket, 'server') !== undefined
}

/** Number of symbols that a new socket has. */
let symbolCount = 0

/** Returns the session that `http2` has made on a socket. */
export function sessionOf(socket: Socket): EventEmitter | undefined {
  // By a mistake in Node, the symbol is undefined in `http2`, so the property has this name.
  const session = (socket as unknown as Record<string, unknown>).undefined
  return (session ?? symbolProperty(socket, 'kBoundSession')) as EventEmitter | undefined
}

/**
 * Marks both streams of a socket as ended, without an event, before it is destroyed. Otherwise `for await`,
 * `finished()` and `pipeline()` would report a premature close.
 */
export function endQuietly(socket: Socket): void {
  const { _readableState, _writableState } = socket as unknown as Record<string, { ended: boolean }>
  if (_readableState !== undefined) _readableState.ended = true
  if (_writableState !== undefined) _writableState.ended = true
}

/** Options of the kernel that a socket remembers. */
export interface SocketOptions {
  noDelay: boolean
  keepAlive: boolean
  /** Time before the first probe, in seconds, if it is known. */
  keepAliveDelay?: number | undefined
}

/** Symbols by description, under which every socket keeps its state; looked up once. */
let symbols: Map<string, symbol> | undefined

/** Returns a property that every socket has, by the description of its symbol. */
function propertyOf(socket: Socket, name: string): unknown {
  symbols ??= new Map(Object.getOwnPropertySymbols(socket).map((symbol) => [symbol.description ?? '', symbol]))
  const symbol = symbols.get(name)
  return symbol === undefined ? undefined : (socket as unknown as Record<symbol, unknown>)[symbol]
}

/** Returns which options the socket believes to be set. */
export function optionsOf(socket: Socket): SocketOptions {
  return {
    noDelay: propertyOf(socket, 'kSetNoDelay') === true,
    keepAlive: propertyOf(socket, 'kSetKeepAlive') === true
  }
}

/**
 * Tells a new socket which options are set on its connection. Otherwise `setNoDelay(false)` would do nothing, because
 * the socket believes that the option is not set.
 */
export function rememberOptions(socket: Socket, { noDelay, keepAlive, keepAliveDelay }: SocketOptions): void {
  const properties = socket as unknown as Record<symbol, unknown>
  const set = (name: string, value: unknown): void => {
    const known = propertyOf(socket, name) !== undefined
    if (known) properties[symbols?.get(name) as symbol] = value
  }
  if (noDelay) set('kSetNoDelay', true)
  if (keepAlive) set('kSetKeepAlive', true)
  if (keepAlive && keepAliveDelay !== undefined) set('kSetKeepAliveInitialDelay', keepAliveDelay)
}

/** Whether a socket keeps the process running: false after `unref()`. */
export function hasReference(socket: Socket): boolean {
  return (socket as SocketInternals)._handle?.hasRef?.() ?? true
}

/** A timer of Node. */
interface Timer {
  _idleStart: number
  _idleTimeout: number
  _destroyed: boolean
  refresh(): void
}

/**
 * Returns the time, in ms, until the timeout that `setTimeout()` has set on a socket; 0 if there is none, or if it is
 * over; undefined if Node keeps the timer elsewhere. The timeout starts again, so the socket must be destroyed next.
 */
export function remainingTimeout(socket: Socket): number | undefined {
  const timer = propertyOf(socket, 'timeout') as Timer | null | undefined
  if (timer === undefined) return undefined
  if (timer === null || timer._destroyed) return 0
  const start = timer._idleStart
  // Only a timer shows the clock of Node's timers, which stands still during a turn of the event loop.
  timer.refresh()
  return Math.max(1, start + timer._idleTimeout - timer._idleStart)
}

/** Returns the descriptor of a socket; -1 if it has none, or shares it with another object (TLS). */
export function descriptorOf(socket: Socket): number {
  return (socket as SocketInternals)._handle?.fd ?? -1
}

/** Returns Node's class of handles for a socket that has a descriptor. */
export function handleClassOfSocket(socket: Socket): HandleClass {
  return handleClassOf((socket as unknown as { _handle: ClientHandle })._handle)
}

/** Returns Node's class of handles for a descriptor, which the caller still owns. */
export function handleClassOfDescriptor(fd: number): HandleClass | undefined {
  const copy = duplicateDescriptor(fd)
  if (copy < 0) return undefined
  const socket = passiveSocket(copy)
  const handleClass = handleClassOfSocket(socket)
  socket.destroy()
  return handleClass
}

/**
 * Whether a socket is open in both directions, with nothing buffered in either. A paused socket is not quiet, because
 * bytes may wait in the kernel that its reader does not want yet.
 */
export function isQuiet(socket: Socket): boolean {
  const handle = (socket as SocketInternals)._handle
  return (
    handle !== null &&
    !socket.destroyed &&
    !socket.connecting &&
    socket.readable &&
    socket.writable &&
    socket.readableLength === 0 &&
    socket.writableLength === 0 &&
    // With a `readable` listener, isPaused() is true although the socket reads.
    (!socket.isPaused() || socket.listenerCount('readable') > 0) &&
    handle.reading !== false &&
    (handle.writeQueueSize ?? 0) === 0
  )
}

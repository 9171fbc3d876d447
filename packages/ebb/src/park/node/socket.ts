/**
 * The internals of `net.Socket` that ebb uses. Node does not document these properties, but every version from 20 to 26
 * has them.
 */
import { channel } from 'node:diagnostics_channel'
import { type Server, Socket, type SocketConstructorOpts } from 'node:net'
import { systemError } from '../../sys/errors.js'
import { passiveSocket } from '../../sys/node/passive-socket.js'
import type { Reactor } from '../../sys/reactor.js'
import { duplicateDescriptor } from '../../sys/socket.js'
import { type ClientHandle, type HandleClass, handleClassOf } from './handle.js'
import type { ServerInternals } from './server.js'

/** `TCPConstants.SOCKET` and `PipeConstants.SOCKET`: a handle for a connection. */
const SOCKET = 0

interface SocketInternals extends Socket {
  _handle: { readonly fd: number; readonly writeQueueSize?: number; readonly reading?: boolean } | null
  server: Server | null
  _server: Server | null
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
  const handle = new Handle(SOCKET)
  const result = reactor.handOver(fd, handle)
  if (result === 0) return handle
  handle.close()
  throw systemError('open', -result)
}

/**
 * Makes the socket that Node would have made for an accepted connection of `server`.
 *
 * @param writable false if a FIN was already sent
 */
export function socketFor(server: ServerInternals, handle: ClientHandle, writable: boolean): Socket {
  const options: SocketConstructorOpts & Record<string, unknown> = {
    handle,
    readable: true,
    writable,
    allowHalfOpen: server.allowHalfOpen,
    pauseOnCreate: server.pauseOnConnect
  }
  if (server.highWaterMark !== undefined) {
    options.readableHighWaterMark = server.highWaterMark
    options.writableHighWaterMark = server.highWaterMark
  }
  const socket = new Socket(options) as SocketInternals
  socket.server = server
  socket._server = server
  if (server.noDelay || server.keepAlive) rememberOptions(socket, server)
  if (accepted.hasSubscribers) accepted.publish({ socket })
  return socket
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

/** Symbols by description, under which a socket remembers its options; looked up once. */
let optionSymbols: Map<string, symbol> | undefined

/**
 * Tells a socket which options its connection inherited from the listening socket. Otherwise `setNoDelay(false)` would
 * do nothing, because the socket believes that the option is not set.
 */
function rememberOptions(socket: Socket, server: ServerInternals): void {
  optionSymbols ??= new Map(Object.getOwnPropertySymbols(socket).map((symbol) => [symbol.description ?? '', symbol]))
  const set = (name: string, value: unknown): void => {
    const symbol = optionSymbols?.get(name)
    if (symbol !== undefined) (socket as unknown as Record<symbol, unknown>)[symbol] = value
  }
  if (server.noDelay) set('kSetNoDelay', true)
  if (!server.keepAlive) return
  set('kSetKeepAlive', true)
  set('kSetKeepAliveInitialDelay', server.keepAliveInitialDelay)
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

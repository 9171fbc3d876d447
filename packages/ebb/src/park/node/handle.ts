/** Node's handles, the objects below servers and sockets, and the listening handle of a parked server. */
import { closeSocket, type ListeningSocket } from '../../socket/listening-socket.js'
import { E } from '../../sys/constants.js'
import { systemError } from '../../sys/errors.js'
import { passiveSocket } from '../../sys/node/passive-socket.js'
import { closeDescriptor, duplicateDescriptor } from '../../sys/socket.js'

/** What `net.Server` calls on its listening handle. */
export interface ListeningHandle {
  readonly fd?: number
  close(done?: () => void): void
  ref(): void
  unref(): void
  /** @returns 0, or a negative errno */
  listen(backlog: number): number
  getsockname?(out: object): number
  /** Changes the mode of a Unix socket's file. @returns 0, or a negative errno */
  fchmod?(mode: number): number
  onconnection?: ((error: number, client?: ClientHandle) => void) | undefined
}

/** The handle below the socket of a connection. */
export interface ClientHandle {
  readonly fd: number
  /** @returns 0, or a negative errno */
  open(fd: number): number
  close(): void
}

/** Node's class of handles for one kind of socket (TCP, Unix). */
export type HandleClass = new (type: number) => ClientHandle

/** Returns the class of a handle. */
export function handleClassOf(handle: ListeningHandle | ClientHandle): HandleClass {
  return handle.constructor as HandleClass
}

/** Makes a handle that `server.listen()` accepts for a bound socket. The handle owns `fd`. */
export function listeningHandle(fd: number): ListeningHandle {
  const socket = passiveSocket(fd) as unknown as { _handle: ListeningHandle | null }
  const handle = socket._handle as ListeningHandle
  socket._handle = null
  return handle
}

/** Whether a cluster's worker shares this handle with others: Node replaces its `close()` to tell the primary. */
export function isShared(handle: ListeningHandle): boolean {
  return Object.hasOwn(handle, 'close')
}

/** The server that accepts in place of a handle of Node. */
export interface HandleOwner {
  stopListening(): void
  /** Sets whether the listening socket keeps the process running. */
  keepRunning(on: boolean): void
}

/**
 * Takes the connections that come through a handle of Node.
 *
 * @param take called with a new descriptor for each connection, which it owns
 */
export function interceptConnections(
  handle: ListeningHandle,
  owner: HandleOwner,
  take: (fd: number, handleClass: HandleClass) => void
): void {
  const { onconnection, close } = handle
  handle.onconnection = function (this: unknown, error: number, client?: ClientHandle) {
    const fd = error || client === undefined ? -1 : duplicateDescriptor(client.fd)
    if (fd < 0 || client === undefined) {
      onconnection?.call(this, error, client)
      return
    }
    client.close()
    take(fd, handleClassOf(client))
  }
  handle.close = function (this: ListeningHandle, done?: () => void) {
    owner.stopListening()
    close.call(this, done)
  }
}

/** `TCPConstants.SERVER` and `PipeConstants.SERVER`: a handle that listens. */
const SERVER = 1

/** Handles whose socket the reactor watches. */
const reactorHandles = new WeakSet<object>()
/** Descriptors of {@link reactorHandles}. */
const reactorDescriptors = new Set<number>()
/** Prototypes whose `open()` refuses {@link reactorDescriptors}. */
const guarded = new WeakSet<object>()

/** Whether the reactor watches the socket of this handle. */
export function isReactorHandle(handle: ListeningHandle): boolean {
  return reactorHandles.has(handle)
}

/** Owns the listening socket of a parked server: see {@link reactorHandle}. */
export interface ReactorHandle {
  handle: ListeningHandle
  /** The socket, for the reactor. Its `close` closes the handle, and the descriptor with it. */
  socket: ListeningSocket
}

/**
 * Makes the listening handle of a server whose socket is watched by the reactor.
 *
 * It is a real handle of Node, because Node's native code reads it when the server is sent to another process, or when
 * another server listens on it. libuv does not watch its descriptor before somebody calls `listen()` on it. Then the
 * handle is handed over: the parked server accepts no more, and Node does, as for two servers with one handle. When
 * either server is closed, the handle is closed.
 *
 * @param like the handle that it replaces
 * @param socket the handle owns its descriptor, in a worker thread until the thread ends
 * @throws {SystemError} if Node cannot open the descriptor; then it is closed
 */
export function reactorHandle(owner: HandleOwner, like: ListeningHandle, socket: ListeningSocket): ReactorHandle {
  const { fd } = socket
  const HandleOf = handleClassOf(like)
  guardOpen(HandleOf.prototype)
  const handle = new HandleOf(SERVER) as unknown as ListeningHandle & Pick<ClientHandle, 'open'>
  const error = handle.open(fd)
  if (error !== 0) {
    handle.close()
    closeDescriptor(fd)
    throw systemError('open', -error)
  }
  reactorHandles.add(handle)
  reactorDescriptors.add(fd)
  copyOwner(like, handle)

  const { close, ref, unref, listen } = handle
  let closed = false
  let onClose: (() => void) | undefined
  const closeHandle = (): void => close.call(handle, onClose)
  const owned: ListeningSocket = { ...socket, close: closeHandle }
  const leave = (): void => {
    if (reactorHandles.delete(handle)) reactorDescriptors.delete(fd)
  }
  handle.close = (done) => {
    if (closed) return
    closed = true
    onClose = done
    const handedOver = !reactorHandles.has(handle)
    leave()
    if (handedOver) closeSocket({ ...socket, close: closeHandle })
    else owner.stopListening()
    // Does nothing if the handle is closed by now. The owner leaves it open if it could not listen.
    closeHandle()
  }
  handle.listen = (backlog) => {
    if (reactorHandles.has(handle)) {
      leave()
      owned.close = () => {}
      owned.path = undefined
      owner.stopListening()
    }
    return listen.call(handle, backlog)
  }
  handle.ref = () => {
    ref.call(handle)
    if (reactorHandles.has(handle)) owner.keepRunning(true)
  }
  handle.unref = () => {
    unref.call(handle)
    if (reactorHandles.has(handle)) owner.keepRunning(false)
  }
  return { handle, socket: owned }
}

/** Copies what Node keeps on a listening handle: its server, and the function that takes connections. */
function copyOwner(from: ListeningHandle, to: ListeningHandle): void {
  const { onconnection } = from
  to.onconnection = onconnection
  for (const symbol of Object.getOwnPropertySymbols(from)) {
    Object.defineProperty(to, symbol, Object.getOwnPropertyDescriptor(from, symbol) as PropertyDescriptor)
  }
}

/**
 * Makes `open()` of a class of handles refuse the descriptor of a parked server, as libuv refuses a descriptor that it
 * watches. With two owners, libuv would abort the process when one of them closes it.
 */
function guardOpen(prototype: ClientHandle): void {
  if (guarded.has(prototype)) return
  guarded.add(prototype)
  const { open } = prototype
  prototype.open = function (this: ClientHandle, fd: number) {
    return reactorDescriptors.has(fd) ? -E.EEXIST : open.call(this, fd)
  }
}

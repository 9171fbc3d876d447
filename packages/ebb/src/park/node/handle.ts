/** Node's handles, the objects below servers and sockets, and the listening handle of a parked server. */
import { E } from '../../sys/constants.js'
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
  /** A handle of a Unix socket has none. @returns 0, or a negative errno */
  getsockname?(out: object): number
  onconnection?: ((error: number, client?: ClientHandle) => void) | undefined
}

/** The handle below the socket of a connection. */
export interface ClientHandle {
  readonly fd: number
  /** @returns 0, or a negative errno */
  open(fd: number): number
  close(done?: () => void): void
  /** Closes the handle with a RST. Only TCP has it. @returns 0, or a negative errno */
  reset?(done?: () => void): number
}

interface Address {
  address: string
  family: string
  port: number
}

/** Makes a handle tell other addresses than the kernel's: all sockets over it show them, also those of TLS. */
export function tellAddresses(handle: ClientHandle, peer: Address, own: Address): void {
  const told = (address: Address) => (out: object) => {
    Object.assign(out, address)
    return 0
  }
  Object.assign(handle, { getpeername: told(peer), getsockname: told(own) })
}

/** Node's class of handles for one kind of socket (TCP, Unix). */
export type HandleClass = new (type: number) => ClientHandle

/** Returns the class of a handle. */
export function handleClassOf(handle: ListeningHandle | ClientHandle): HandleClass {
  return handle.constructor as HandleClass
}

/** Makes a listening handle for a bound socket. The handle owns `fd`. */
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
  /**
   * Closes the listening socket, or leaves it to another server.
   *
   * @param closing whether the server is closed, and not only its socket handed over
   */
  stopListening(closing: boolean): void
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
    owner.stopListening(true)
    close.call(this, done)
  }
}

/** Called by libuv, or by ebb in its place, with each connection that a handle has accepted. */
export type OnConnection = NonNullable<ListeningHandle['onconnection']>

/** Returns a function that returns the `onconnection` of a handle, if somebody replaces it from now on. */
export function replacedOnConnection(handle: ListeningHandle): () => OnConnection | undefined {
  const { onconnection } = handle
  return () => (handle.onconnection === onconnection ? undefined : handle.onconnection?.bind(handle))
}

/** `TCPConstants.SERVER` and `PipeConstants.SERVER`: a handle that listens. */
const SERVER = 1

/** Handles whose socket the reactor watches, and the server that accepts for each. */
const watched = new WeakMap<ListeningHandle, Watch>()
/** Descriptors of {@link watched}. */
const watchedDescriptors = new Set<number>()
/** Prototypes whose `open()` refuses {@link watchedDescriptors}. */
const guarded = new WeakSet<object>()

/** Ends the watch of a handle: nobody accepts then, until Node listens. */
type Watch = () => void

/** Whether the reactor watches the socket of this handle. */
export function isWatched(handle: ListeningHandle): boolean {
  return watched.has(handle)
}

/**
 * Whether a TCP handle has no port. libuv reports a port that is in use not at `bind()`, but at `listen()`; until then,
 * the handle has no port.
 */
export function isUnbound(handle: ListeningHandle): boolean {
  if (handle.getsockname === undefined) return false
  const address: { port?: number } = {}
  return handle.getsockname(address) !== 0 || address.port === 0
}

/**
 * Makes `listen()` of a handle, which Node is about to call, start a server that accepts in place of libuv.
 *
 * The handle stays Node's, because Node's native code reads it when the server is sent to another process, or when
 * another server listens on it. libuv does not watch its descriptor before somebody calls `listen()` on it again. Then
 * the handle is handed over: this server accepts no more, and the other one does, as for two servers with one handle.
 * When either server is closed, the handle is closed.
 *
 * @param start starts to accept, and returns 0 or a negative errno. Its argument closes the handle, and the descriptor
 * @param libuvListens whether libuv has to listen after all; asked when Node calls `listen()`
 */
export function watchOnListen(
  handle: ListeningHandle,
  owner: HandleOwner,
  start: (close: () => void) => number,
  libuvListens: () => boolean
): void {
  const native = Object.getPrototypeOf(handle) as ListeningHandle
  const fd = handle.fd as number
  handle.listen = (backlog) => {
    watched.get(handle)?.()
    if (libuvListens()) {
      handle.listen = native.listen
      return native.listen.call(handle, backlog)
    }
    let onClose: (() => void) | undefined
    const closeHandle = (): void => native.close.call(handle, onClose)
    let closes = closeHandle
    const error = start(() => closes())
    if (error !== 0) return error

    guardOpen(handleClassOf(handle).prototype)
    watchedDescriptors.add(fd)
    const forget = (): void => {
      watched.delete(handle)
      watchedDescriptors.delete(fd)
    }
    const end: Watch = () => {
      closes = () => {}
      forget()
      owner.stopListening(false)
    }
    watched.set(handle, end)
    handle.listen = (length) => {
      watched.get(handle)?.()
      return native.listen.call(handle, length)
    }
    handle.close = (done) => {
      onClose = done
      if (watched.get(handle) === end) {
        forget()
        owner.stopListening(true)
      }
      // Does nothing if the handle is closed by now.
      closeHandle()
    }
    const keepRunning = (on: boolean): void => {
      ;(on ? native.ref : native.unref).call(handle)
      if (watched.get(handle) === end) owner.keepRunning(on)
    }
    handle.ref = () => keepRunning(true)
    handle.unref = () => keepRunning(false)
    return 0
  }
}

/**
 * Makes a handle for the socket of another one, with the same owner. The caller closes the other one.
 *
 * @returns a negative errno if there is no descriptor left
 */
export function copyOf(handle: ListeningHandle): ListeningHandle | number {
  const fd = duplicateDescriptor(handle.fd as number)
  if (fd < 0) return fd
  const copy = new (handleClassOf(handle))(SERVER) as unknown as ListeningHandle & Pick<ClientHandle, 'open'>
  const error = copy.open(fd)
  if (error !== 0) {
    copy.close()
    closeDescriptor(fd)
    return error
  }
  // Node keeps the server of a handle, and the function that takes its connections, on the handle.
  const { onconnection } = handle
  copy.onconnection = onconnection
  for (const symbol of Object.getOwnPropertySymbols(handle)) {
    Object.defineProperty(copy, symbol, Object.getOwnPropertyDescriptor(handle, symbol) as PropertyDescriptor)
  }
  return copy
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
    return watchedDescriptors.has(fd) ? -E.EEXIST : open.call(this, fd)
  }
}

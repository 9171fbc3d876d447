/** Node's handles, the objects below servers and sockets, and a stand-in for a listening one. */
import { passiveSocket } from '../../sys/node/passive-socket.js'
import type { AddressInfo } from '../../sys/sockaddr.js'
import { duplicateDescriptor } from '../../sys/socket.js'

/** What `net.Server` calls on its listening handle. */
export interface ListeningHandle {
  readonly fd?: number
  close(done?: () => void): void
  ref(): void
  unref(): void
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

/** Stands in for the listening handle of a `net.Server` whose socket is watched by the reactor. */
export class ReactorHandle implements ListeningHandle {
  readonly fd: number
  readonly getsockname?: (out: object) => number
  readonly #owner: HandleOwner

  constructor(owner: HandleOwner, fd: number, address: AddressInfo) {
    this.#owner = owner
    this.fd = fd
    if (!('path' in address)) {
      this.getsockname = (out) => {
        Object.assign(out, address)
        return 0
      }
    }
  }

  close(done?: () => void): void {
    this.#owner.stopListening()
    if (done !== undefined) setImmediate(done)
  }

  ref(): void {
    this.#owner.keepRunning(true)
  }

  unref(): void {
    this.#owner.keepRunning(false)
  }

  hasRef(): boolean {
    return true
  }

  getAsyncId(): number {
    return 0
  }
}

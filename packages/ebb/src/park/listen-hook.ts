/**
 * `server.listen()` of a parked server: Node's own, except that the reactor watches the listening socket.
 *
 * Node handles arguments, host names, permissions, errors and clusters, and makes and binds the handle. When it calls
 * `handle.listen()`, the hook listens on the handle's socket, and the parked server accepts. Node sees a connection of
 * that socket only when it is woken.
 *
 * Where libuv has to accept, each connection is taken from the handle: in a worker of a cluster that gets connections
 * from the primary or shares a handle with it, and on a handle that libuv watches already.
 */
import { describeSocket } from '../socket/listening-socket.js'
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY
} from '../sys/constants.js'
import type { SystemError } from '../sys/errors.js'
import { isListening, listenOn, setOption } from '../sys/socket.js'
import {
  copyOf,
  interceptConnections,
  isShared,
  isUnbound,
  isWatched,
  type ListeningHandle,
  watchOnListen
} from './node/handle.js'
import { handleOf, hookListening, isUnreferenced, type ServerInternals, setHandle } from './node/server.js'
import type { Parking } from './parking.js'
import { bindsSharedPorts } from './reuse-port.js'

/** Default backlog. Node's own is 511, which refuses connections in a storm. */
const BACKLOG = 4096

/** Makes `server` give its listening socket to `parking` each time it starts to listen. */
export function hookListen(server: ServerInternals, parking: Parking): void {
  hookListening(server, {
    provide: bindsSharedPorts(server),
    prepare(handle, given, [, , , backlog, descriptor]) {
      if (handle.fd === undefined || handle.fd < 0) return
      if (!isWatched(handle) && (isShared(handle) || (given && isListening(handle.fd)))) return
      const isOpened = typeof descriptor === 'number'
      giveOnListen(server, parking, handle, backlogOf(backlog), () => !isOpened && isUnbound(handle))
    },
    listens(handle) {
      if (!isWatched(handle)) takeConnections(server, parking, handle)
    }
  })
  if (server.listening) takeOver(server, parking)
}

/** Returns the length of a backlog, a 32-bit integer for Node. To the kernel, a negative one is the longest. */
function backlogOf(value: unknown): number {
  const length = ((value || BACKLOG) as number) | 0
  return length < 0 ? 2 ** 31 - 1 : length
}

/** Gives the socket of a handle to `parking` when Node calls `handle.listen()`, unless libuv has to listen. */
function giveOnListen(
  server: ServerInternals,
  parking: Parking,
  handle: ListeningHandle,
  backlog: number,
  libuvListens: () => boolean
): void {
  const fd = handle.fd as number
  const start = (close: () => void): number => {
    try {
      listenOn(fd, backlog)
      const socket = { fd, ...describeSocket(fd, backlog), path: parking.socketPath, close }
      if (!('path' in socket.address)) setInheritedOptions(server, fd)
      parking.listen(socket, handle)
      return 0
    } catch (error) {
      return -(error as SystemError).errno
    }
  }
  watchOnListen(handle, parking, start, libuvListens)
}

/** Takes over a server that listens already. libuv watches its handle as long as the handle is open. */
function takeOver(server: ServerInternals, parking: Parking): void {
  const handle = handleOf(server)
  if (handle === null || isWatched(handle)) return
  // libuv removes the file of a Unix socket when it closes the handle.
  const isPath = typeof server.address() === 'string'
  const copy = handle.fd === undefined || handle.fd < 0 || isShared(handle) || isPath ? -1 : copyOf(handle)
  if (typeof copy === 'number') {
    takeConnections(server, parking, handle)
    return
  }
  giveOnListen(server, parking, copy, BACKLOG, () => false)
  const error = copy.listen(BACKLOG)
  if (error !== 0) {
    copy.close()
    takeConnections(server, parking, handle)
    return
  }
  setHandle(server, copy)
  handle.close()
  if (isUnreferenced(server)) copy.unref()
}

/** Sets the server's options on its listening socket. Accepted sockets inherit them, which saves a system call each. */
function setInheritedOptions(server: ServerInternals, fd: number): void {
  if (server.noDelay) setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1)
  if (server.keepAlive) {
    setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    const seconds = server.keepAliveInitialDelay
    if (seconds > 0) {
      setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds)
      // As libuv sets them: a dead peer is detected 10 s after the first probe.
      setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1)
      setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 10)
    }
  }
}

/** Parks the connections that a handle of Node accepts. */
function takeConnections(server: ServerInternals, parking: Parking, handle: ListeningHandle): void {
  parking.listenThroughNode()
  interceptConnections(handle, parking, (fd, handleClass) => {
    // The primary's socket has not got the options of this server.
    if ('setNoDelay' in handleClass.prototype) setInheritedOptions(server, fd)
    parking.takeConnection(fd, handleClass)
  })
}

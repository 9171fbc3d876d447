/**
 * `server.listen()` of a parked server: takes the same arguments as Node's, and lets the reactor watch the listening
 * socket.
 *
 * Node handles arguments, host names, permissions, errors and clusters, and listens. In the same turn, before Node can
 * accept a connection, the hook duplicates the listening socket, closes Node's handle, and gives the server another one
 * ({@link reactorHandle}) in its place. Node sees a connection of that socket only when it is woken.
 *
 * The hook binds two kinds of sockets itself, before Node listens:
 *
 * - A Unix socket, because libuv removes its file when it closes its handle.
 * - A TCP socket with `SO_REUSEPORT`, if the caller asks for it (also on a Node that does not know `reusePort`), and in
 * a worker of a cluster: the kernel then distributes connections, and the primary does not have to pass them on.
 */
import { isIP, type ListenOptions as NodeListenOptions } from 'node:net'
import { getSystemErrorMap } from 'node:util'
import { describeSocket, openUnownedSocket } from '../socket/listening-socket.js'
import {
  E,
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY
} from '../sys/constants.js'
import { type SystemError, systemError } from '../sys/errors.js'
import { duplicateDescriptor, listenOn, setOption } from '../sys/socket.js'
import { type ListenRequest, parseListenArguments } from './listen-arguments.js'
import { inCluster, tellPrimary } from './node/cluster.js'
import {
  handleClassOf,
  interceptConnections,
  isReactorHandle,
  isShared,
  type ListeningHandle,
  listeningHandle,
  reactorHandle
} from './node/handle.js'
import { handleOf, isUnreferenced, onHandleSet, type ServerInternals, setHandle, setPath } from './node/server.js'
import type { Parking } from './parking.js'

/** Default backlog. Node's own is 511, which refuses connections in a storm. */
const BACKLOG = 4096

/** The listening socket that Node is about to make. */
interface PendingSocket {
  backlog: number
  /** Path of a Unix socket that the hook has bound, and whose file it removes. */
  path: string | undefined
  /** Whether Node has bound a Unix socket, whose file it removes when it closes the handle. */
  boundByNode: boolean
}

/** Makes `server` give its listening socket to `parking` each time it starts to listen. */
export function hookListen(server: ServerInternals, parking: Parking): void {
  const listen = server.listen
  let pending: PendingSocket = { backlog: BACKLOG, path: undefined, boundByNode: false }

  const takeOver = (): void => {
    const handle = handleOf(server)
    if (handle === null || isReactorHandle(handle)) return
    if (handle.fd === undefined || handle.fd < 0 || isShared(handle) || pending.boundByNode) {
      takeConnections(parking, handle)
    } else takeSocket(server, parking, handle, pending)
  }

  server.listen = ((...args: unknown[]) => {
    if (handleOf(server)) return listen.apply(server, args as [handle: unknown])
    const request = parseListenArguments(args)
    const { backlog = BACKLOG, path } = request ?? {}
    const bound = request !== undefined && path !== undefined && bindsPath(path, request.options)
    pending = { backlog, path: bound ? path : undefined, boundByNode: path !== undefined && !bound && path[0] !== '\0' }
    if (request === undefined) return listen.apply(server, args as [handle: unknown])
    const { options, callback } = request
    if (bound) {
      const fd = bindPath(server, path, backlog)
      if (fd === undefined) return server
      listen.call(server, { fd, backlog, signal: options.signal } as NodeListenOptions, callback)
      setPath(server, path)
      const result = setSocketMode(handleOf(server), options)
      if (result !== 0) {
        handleOf(server)?.close()
        setHandle(server, null)
        throw systemError('uv_pipe_chmod', -result)
      }
      return server
    }
    if (sharesPort(request)) {
      listenOnSharedPort(server, request, backlog, (handle) => {
        listen.call(server, handle as NodeListenOptions, callback)
        if (options.signal) closeOnAbort(server, options.signal)
      })
      return server
    }
    return listen.apply(server, args as [handle: unknown])
  }) as ServerInternals['listen']

  // Not at `listening`: if the caller closes the server in the turn in which it listens, `parking` has to remove the
  // file of a Unix socket, because Node does not.
  onHandleSet(server, takeOver)
  if (server.listening) takeOver()
}

/** `UV_READABLE`, `UV_WRITABLE`. */
const [READABLE, WRITABLE] = [1, 2]

/**
 * Makes the file of a Unix socket readable or writable for all users, if the options ask for it.
 *
 * @returns 0, or a negative errno
 */
function setSocketMode(handle: ListeningHandle | null, { readableAll, writableAll }: NodeListenOptions): number {
  const mode = (readableAll === true ? READABLE : 0) | (writableAll === true ? WRITABLE : 0)
  return mode === 0 ? 0 : (handle?.fchmod?.(mode) ?? 0)
}

/** Takes over the listening socket of a handle. The handle is closed. */
function takeSocket(server: ServerInternals, parking: Parking, handle: ListeningHandle, pending: PendingSocket): void {
  const { backlog, path } = pending
  try {
    const fd = duplicateDescriptor(handle.fd as number)
    if (fd < 0) throw systemError('fcntl', -fd)
    const { handle: own, socket } = reactorHandle(parking, handle, { fd, ...describeSocket(fd, backlog), path })
    setHandle(server, own)
    handle.close()
    // Node has listened with its own default.
    if (backlog === BACKLOG) listenOn(fd, backlog)
    if (!('path' in socket.address)) setInheritedOptions(server, fd)
    parking.listen(socket, handleClassOf(handle))
    if (isUnreferenced(server)) own.unref()
  } catch (error) {
    process.nextTick(() => server.emit('error', error))
    server.close()
  }
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

/** Parks the connections that a handle of Node accepts: in a cluster's worker, for a path or for port 0. */
function takeConnections(parking: Parking, handle: ListeningHandle): void {
  parking.listenThroughNode()
  interceptConnections(handle, parking, (fd, handleClass) => parking.takeConnection(fd, handleClass))
}

/** Whether this server binds its TCP port with `SO_REUSEPORT`. */
function sharesPort({ port, options: { reusePort, exclusive } }: ListenRequest): boolean {
  if (port === undefined) return false
  if (reusePort === true) return true
  // Port 0 must become the same port for all workers, which only the primary can ensure.
  return inCluster && !exclusive && port > 0 && reusePort !== false
}

/** Whether the hook binds this Unix socket itself. Node shortens a path that contains NUL, or refuses it. */
function bindsPath(path: string, { exclusive }: ListenRequest['options']): boolean {
  return !path.includes('\0') && (!inCluster || exclusive === true)
}

/** Binds a Unix socket and listens on it. @returns its descriptor, or undefined after reporting an error */
function bindPath(server: ServerInternals, path: string, backlog: number): number | undefined {
  try {
    return openUnownedSocket({ path, backlog }).fd
  } catch (error) {
    // libuv reports a missing folder as EACCES.
    const noFolder = (error as SystemError).code === 'ENOENT'
    fail(server, noFolder ? systemError('bind', E.EACCES) : error, path, -1)
    return undefined
  }
}

/**
 * Binds a TCP socket with `SO_REUSEPORT`, after looking up `host`.
 *
 * @param ready called with a handle that owns the socket
 */
function listenOnSharedPort(
  server: ServerInternals,
  { options: { host, ipv6Only }, port = 0 }: ListenRequest,
  backlog: number,
  ready: (handle: ListeningHandle) => void
): void {
  const open = (address: string, fallback?: string): void => {
    try {
      const { fd } = openUnownedSocket({
        host: address,
        port,
        backlog,
        ipv6Only: ipv6Only === true,
        reusePort: true,
        noDelay: false
      })
      ready(listeningHandle(fd))
      tellPrimary(server, host ? address : null, port)
    } catch (error) {
      // All interfaces, on a machine without IPv6.
      if (fallback !== undefined && (error as SystemError).code !== 'EADDRINUSE') open(fallback)
      else fail(server, error, address, port)
    }
  }
  if (!host) open('::', '0.0.0.0')
  else if (isIP(host) !== 0) open(host)
  else {
    process.getBuiltinModule('node:dns').lookup(host, (error, address) => {
      if (error) server.emit('error', error)
      else open(address)
    })
  }
}

/** Emits the error that `net.Server` emits when it cannot listen. */
function fail(server: ServerInternals, error: unknown, address: string, port: number): void {
  const { code, errno } = error as SystemError
  const [, message] = getSystemErrorMap().get(errno) ?? []
  const where = port > 0 ? `${address}:${port}` : address
  const reported =
    message === undefined
      ? error
      : Object.assign(new Error(`listen ${code}: ${message} ${where}`), {
          code,
          errno,
          syscall: 'listen',
          address,
          port: port > 0 ? port : -1
        })
  process.nextTick(() => server.emit('error', reported))
}

/** Closes the server when the signal aborts. */
function closeOnAbort(server: ServerInternals, signal: AbortSignal): void {
  const close = () => server.close()
  if (signal.aborted) process.nextTick(close)
  else {
    signal.addEventListener('abort', close, { once: true })
    server.once('close', () => signal.removeEventListener('abort', close))
  }
}

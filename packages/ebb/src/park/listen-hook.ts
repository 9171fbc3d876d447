/**
 * `server.listen()` of a parked server. It takes every form that Node takes, but the reactor watches the listening
 * socket.
 *
 * Node handles arguments, names, permissions, errors and clusters, and listens. In the same turn, before Node can
 * accept a connection, the hook duplicates the listening socket, closes Node's handle, and gives the server a stand-in
 * ({@link ReactorHandle}) in its place. Node sees a connection of that socket only when it is woken.
 *
 * The hook binds two kinds of sockets itself, before Node listens:
 *
 * - A Unix socket, because libuv removes its file when it closes its handle.
 * - A TCP socket with `SO_REUSEPORT`, if the caller asks for it (also on a Node that does not know `reusePort`), and in
 * a worker of a cluster: the kernel then distributes connections, and the primary does not have to pass them on.
 */
import { isIP, type ListenOptions as NodeListenOptions } from 'node:net'
import { getSystemErrorMap } from 'node:util'
import { describeSocket, openSocket, ownInWorker } from '../socket/listening-socket.js'
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
import { closeDescriptor, duplicateDescriptor, listenOn, setOption } from '../sys/socket.js'
import { type ListenRequest, parseListenArguments } from './listen-arguments.js'
import { inCluster, tellPrimary } from './node/cluster.js'
import {
  handleClassOf,
  interceptConnections,
  isShared,
  type ListeningHandle,
  listeningHandle,
  ReactorHandle
} from './node/handle.js'
import { handleOf, isUnreferenced, type ServerInternals, setHandle, setPath } from './node/server.js'
import type { Parking } from './parking.js'

/** Default backlog. Node's own is 511, which refuses connections in a storm. */
const BACKLOG = 4096

/** The listening socket that Node is about to make. */
interface PendingSocket {
  backlog: number
  /** Path of a Unix socket that the hook has bound, and whose file it removes. */
  path: string | undefined
}

/** Has `server` hand its listening socket to `parking` whenever it listens. */
export function hookListen(server: ServerInternals, parking: Parking): void {
  const listen = server.listen
  let pending: PendingSocket = { backlog: BACKLOG, path: undefined }

  const take = (): void => {
    const handle = handleOf(server)
    if (handle === null || handle instanceof ReactorHandle) return
    if (handle.fd === undefined || handle.fd < 0 || isShared(handle)) takeConnections(parking, handle)
    else takeSocket(server, parking, handle, pending)
  }

  server.listen = ((...args: unknown[]) => {
    const request = parseListenArguments(args)
    const backlog = request?.options.backlog ?? BACKLOG
    pending = { backlog, path: undefined }
    if (request === undefined || handleOf(server)) return listen.apply(server, args as [handle: unknown])
    const { options, callback } = request
    if (options.path && !options.path.startsWith('\0') && options.port === undefined && !inCluster) {
      pending.path = options.path
      listenOnPath(server, options, backlog, (fd) => {
        listen.call(server, { fd, backlog, signal: options.signal } as NodeListenOptions, callback)
        setPath(server, options.path as string)
        const failed = allowAccess(handleOf(server), options)
        // Not later: if the server is closed in this turn, the hook's socket must be closed, which removes the file.
        take()
        if (failed !== 0) {
          handleOf(server)?.close()
          setHandle(server, null)
          throw systemError('uv_pipe_chmod', -failed)
        }
      })
      return server
    }
    if (sharesPort(options)) {
      listenOnSharedPort(server, options, backlog, (handle) => {
        listen.call(server, handle as NodeListenOptions, callback)
        if (options.signal) closeOnAbort(server, options.signal)
      })
      return server
    }
    return listen.apply(server, args as [handle: unknown])
  }) as ServerInternals['listen']

  server.prependListener('listening', take)
  if (server.listening) take()
}

/** `UV_READABLE`, `UV_WRITABLE`. */
const [READABLE, WRITABLE] = [1, 2]

/**
 * Sets the mode of a Unix socket's file, by libuv.
 *
 * @returns 0, or a negative errno
 */
function allowAccess(handle: ListeningHandle | null, { readableAll, writableAll }: NodeListenOptions): number {
  const mode = (readableAll === true ? READABLE : 0) | (writableAll === true ? WRITABLE : 0)
  return mode === 0 ? 0 : (handle?.fchmod?.(mode) ?? 0)
}

/** Takes over the listening socket of a handle. The handle is closed. */
function takeSocket(server: ServerInternals, parking: Parking, handle: ListeningHandle, pending: PendingSocket): void {
  const { backlog, path } = pending
  const fd = duplicateDescriptor(handle.fd as number)
  if (fd < 0) throw systemError('fcntl', -fd)
  const close = ownInWorker(fd)
  try {
    // Node has listened with its own default.
    if (backlog === BACKLOG) listenOn(fd, backlog)
    const socket = { fd, ...describeSocket(fd, backlog), path, close }
    if (!('path' in socket.address)) setInheritedOptions(server, fd)
    parking.listen(socket, handleClassOf(handle))
    setHandle(server, new ReactorHandle(parking, fd, socket.address))
    if (isUnreferenced(server)) parking.hold(false)
    handle.close()
  } catch (error) {
    if (close !== undefined) close()
    else closeDescriptor(fd)
    server.close()
    server.emit('error', error)
  }
}

/** Sets the server's options on its listening socket. Accepted sockets inherit them: no system call for each. */
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

/** Parks the connections that something else accepts: the primary of a cluster, for a path or for port 0. */
function takeConnections(parking: Parking, handle: ListeningHandle): void {
  parking.listenElsewhere()
  interceptConnections(handle, parking, (fd, handleClass) => parking.take(fd, handleClass))
}

/** Whether this server binds its TCP port with `SO_REUSEPORT`. */
function sharesPort({ port, path, reusePort, exclusive }: ListenRequest['options']): boolean {
  if (path !== undefined || port === undefined || !(Number(port) >= 0)) return false
  if (reusePort === true) return true
  // Port 0 must become the same port for all workers, which only the primary can ensure.
  return inCluster && !exclusive && Number(port) > 0 && reusePort !== false
}

/** Binds a Unix socket. @param ready gets its descriptor */
function listenOnPath(
  server: ServerInternals,
  { path = '' }: NodeListenOptions,
  backlog: number,
  ready: (fd: number) => void
): void {
  let fd: number
  try {
    fd = openSocket({ path, backlog }).fd
  } catch (error) {
    // libuv reports a missing folder as EACCES.
    const noFolder = (error as SystemError).code === 'ENOENT'
    fail(server, noFolder ? systemError('bind', E.EACCES) : error, path, -1)
    return
  }
  ready(fd)
}

/** Binds a TCP socket with `SO_REUSEPORT`, after looking up `host`. @param ready gets a handle that owns the socket */
function listenOnSharedPort(
  server: ServerInternals,
  { host, port, ipv6Only = false }: ListenRequest['options'],
  backlog: number,
  ready: (handle: ListeningHandle) => void
): void {
  const open = (address: string, fallback?: string): void => {
    try {
      const { fd } = openSocket({
        host: address,
        port: Number(port),
        backlog,
        ipv6Only,
        reusePort: true,
        noDelay: false
      })
      ready(listeningHandle(fd))
      tellPrimary(server, host === undefined || host === '' ? null : address, Number(port))
    } catch (error) {
      // All interfaces, on a machine without IPv6.
      if (fallback !== undefined && (error as SystemError).code !== 'EADDRINUSE') open(fallback)
      else fail(server, error, address, Number(port))
    }
  }
  if (host === undefined || host === '') open('::', '0.0.0.0')
  else if (isIP(host) !== 0) open(host)
  else {
    process.getBuiltinModule('node:dns').lookup(host, (error, address) => {
      if (error) server.emit('error', error)
      else open(address)
    })
  }
}

/** Emits the error with which `net.Server` reports that it cannot listen. */
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
          ...(port > 0 ? { port } : { port: -1 })
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

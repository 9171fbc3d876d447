/**
 * `server.listen()` of a parked server: as Node has it in every form, but that the listening socket ends up in our epoll.
 *
 * Node does the listening: arguments, names, permissions, errors, cluster. When it is done, and before it has accepted anything
 * (both happen in the same turn), its socket is duplicated, its handle closed, and a handle of ours is put in its place, which answers
 * what `net.Server` asks of it. Node never sees a connection of that socket until it is woken.
 *
 * Two things are done before: a Unix socket is bound here, because libuv removes its file with its handle; and in a cluster's
 * worker, or where this Node does not know `reusePort`, a socket with `SO_REUSEPORT`, so that the kernel shares out connections
 * among processes and none has to be passed on.
 */
import type { Cluster } from 'node:cluster'
import { isIP, type ListenOptions as NodeListenOptions } from 'node:net'
import { getSystemErrorMap } from 'node:util'
import { isMainThread } from 'node:worker_threads'
import { describe, keeper, openSocket } from '../socket/listening-socket.js'
import { type SystemError, systemError } from '../sys/errors.js'
import * as libc from '../sys/libc.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import { setOption } from '../sys/socket-options.js'
import { type ClientHandle, handleClassOf, handleFor, type ListeningHandle, type ServerInside } from './node/socket.js'
import type { Parking } from './parking.js'

/** Connections that wait to be accepted, where the caller does not say: a storm must not be refused. Node's own is 511. */
const BACKLOG = 4096

/** Not imported: a server in a process of its own does not pay for it. */
const inCluster =
  process.channel !== undefined &&
  (process.getBuiltinModule('node:cluster') as unknown as Cluster).isWorker &&
  isMainThread

interface Request {
  options: NodeListenOptions & { reusePort?: boolean }
  callback: (() => void) | undefined
}

/** Has `server` hand its listening socket to `parking`, whenever it listens. */
export function takeListening(server: ServerInside, parking: Parking): void {
  const listen = server.listen
  // The backlog and the path of the socket that is being made.
  let asked: { backlog: number; path: string | undefined } = { backlog: BACKLOG, path: undefined }

  server.listen = ((...args: unknown[]) => {
    const request = read(args)
    asked = { backlog: request?.options.backlog ?? BACKLOG, path: undefined }
    if (request === undefined || server._handle) return listen.apply(server, args as [handle: unknown])
    const { options, callback } = request
    if (options.path && !options.path.startsWith('\0') && options.port === undefined && !inCluster) {
      asked.path = options.path
      listenOnPath(server, options, asked.backlog, (fd) => {
        listen.call(server, { fd, backlog: asked.backlog, signal: options.signal } as NodeListenOptions, callback)
        server._pipeName = options.path as string
        const failed = allow(server._handle, options)
        // At once: who closes it in this turn closes ours, which removes the file.
        take()
        if (failed !== 0) {
          server._handle?.close()
          server._handle = null
          throw systemError('uv_pipe_chmod', -failed)
        }
      })
      return server
    }
    if (sharesPort(options)) {
      listenOnSharedPort(server, options, asked.backlog, (handle) => {
        listen.call(server, handle as NodeListenOptions, callback)
        if (options.signal) closeOnAbort(server, options.signal)
      })
      return server
    }
    return listen.apply(server, args as [handle: unknown])
  }) as ServerInside['listen']

  const take = (): void => {
    const handle = server._handle
    if (handle === null || handle instanceof OwnHandle) return
    if (handle.fd === undefined || handle.fd < 0 || isShared(handle)) takeClients(parking, handle)
    else takeSocket(server, parking, handle, asked)
  }
  server.prependListener('listening', take)
  if (server.listening) take()
}

/** `UV_READABLE`, `UV_WRITABLE`. */
const [READABLE, WRITABLE] = [1, 2]

/**
 * Lets others read and write the file of a Unix socket, by libuv: from 1.51 on they may do that alone, before, that too.
 *
 * @returns 0, or a negative errno
 */
function allow(handle: ListeningHandle | null, { readableAll, writableAll }: NodeListenOptions): number {
  const mode = (readableAll === true ? READABLE : 0) | (writableAll === true ? WRITABLE : 0)
  return mode === 0 ? 0 : (handle?.fchmod?.(mode) ?? 0)
}

/** The listening socket becomes ours. */
function takeSocket(
  server: ServerInside,
  parking: Parking,
  handle: ListeningHandle,
  { backlog, path }: { backlog: number; path: string | undefined }
): void {
  const fd = libc.check(libc.fcntl(handle.fd as number, libc.F_DUPFD_CLOEXEC, 0), 'fcntl')
  const close = keeper(fd)
  try {
    if (backlog === BACKLOG) libc.check(libc.listenOn(fd, backlog), 'listen')
    const socket = { fd, ...describe(fd, backlog), path, close }
    if (!('path' in socket.address)) inheritOptions(server, fd)
    parking.listen(socket, handleClassOf(handle))
    server._handle = new OwnHandle(parking, fd, socket.address)
    if (server._unref) parking.hold(false)
    handle.close()
  } catch (error) {
    if (close !== undefined) close()
    else libc.close(fd)
    server.close()
    server.emit('error', error)
  }
}

/** Accepted sockets have the options of the socket that they come from: no call for each. */
function inheritOptions(server: ServerInside, fd: number): void {
  if (server.noDelay) setOption(fd, libc.IPPROTO_TCP, libc.TCP_NODELAY, 1)
  if (server.keepAlive) {
    setOption(fd, libc.SOL_SOCKET, libc.SO_KEEPALIVE, 1)
    const seconds = server.keepAliveInitialDelay
    if (seconds > 0) {
      setOption(fd, libc.IPPROTO_TCP, libc.TCP_KEEPIDLE, seconds)
      // libuv's: a dead peer is noticed ten seconds after the first probe.
      setOption(fd, libc.IPPROTO_TCP, libc.TCP_KEEPINTVL, 1)
      setOption(fd, libc.IPPROTO_TCP, libc.TCP_KEEPCNT, 10)
    }
  }
}

/**
 * Somebody else listens and passes connections on (a cluster's primary, for a path or for port 0): they are parked as they come.
 */
function takeClients(parking: Parking, handle: ListeningHandle): void {
  parking.listenElsewhere()
  const accept = handle.onconnection
  handle.onconnection = function (this: unknown, error: number, client?: ClientHandle) {
    const fd = error || client === undefined ? -1 : libc.fcntl(client.fd, libc.F_DUPFD_CLOEXEC, 0)
    if (fd === -1) {
      accept?.call(this, error, client)
      return
    }
    client?.close()
    parking.take(fd, handleClassOf(client as ClientHandle))
  }
  const close = handle.close
  handle.close = function (this: ListeningHandle, done?: () => void) {
    parking.stopListening()
    close.call(this, done)
  }
}

/** A handle that this worker has in common with others: closing it tells the primary. */
function isShared(handle: ListeningHandle): boolean {
  return Object.hasOwn(handle, 'close')
}

/** What `net.Server` has in place of Node's handle. */
class OwnHandle implements ListeningHandle {
  readonly fd: number
  readonly getsockname?: (out: object) => number
  readonly #parking: Parking

  constructor(parking: Parking, fd: number, address: AddressInfo) {
    this.#parking = parking
    this.fd = fd
    if (!('path' in address)) {
      this.getsockname = (out) => {
        Object.assign(out, address)
        return 0
      }
    }
  }

  close(done?: () => void): void {
    this.#parking.stopListening()
    if (done !== undefined) setImmediate(done)
  }

  ref(): void {
    this.#parking.hold(true)
  }

  unref(): void {
    this.#parking.hold(false)
  }

  hasRef(): boolean {
    return true
  }

  getAsyncId(): number {
    return 0
  }
}

/** What `listen()` was asked for; undefined where Node is to see to it: a handle, a descriptor, an error of the caller's. */
function read(args: unknown[]): Request | undefined {
  const last = args.at(-1)
  const callback = typeof last === 'function' ? (last as () => void) : undefined
  const [first, second, third] = args
  if (typeof first === 'object' && first !== null) {
    if ('fd' in first || '_handle' in first || 'handle' in first || 'getsockname' in first) return undefined
    return { options: { ...first }, callback }
  }
  const backlog = number(second) || number(third)
  const options: NodeListenOptions = backlog > 0 ? { backlog } : {}
  if (typeof first === 'string' && Number.isNaN(Number(first)))
    return { options: { ...options, path: first }, callback }
  if (typeof first !== 'number' && typeof first !== 'string') return { options: { ...options, port: 0 }, callback }
  return {
    options: { ...options, port: Number(first), ...(typeof second === 'string' && { host: second }) },
    callback
  }
}

function number(value: unknown): number {
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : 0
}

function sharesPort({ port, path, reusePort, exclusive }: Request['options']): boolean {
  if (path !== undefined || port === undefined || !(Number(port) >= 0)) return false
  if (reusePort === true) return true
  // Port 0 is the same for all workers: only the primary can see to that.
  return inCluster && !exclusive && Number(port) > 0 && reusePort !== false
}

function listenOnPath(
  server: ServerInside,
  { path = '' }: NodeListenOptions,
  backlog: number,
  ready: (fd: number) => void
): void {
  let fd: number
  try {
    fd = openSocket({ path, backlog }).fd
  } catch (error) {
    // libuv's word for a folder that is not there.
    const noFolder = (error as SystemError).code === 'ENOENT'
    fail(server, noFolder ? systemError('bind', libc.E.EACCES) : error, path, -1)
    return
  }
  ready(fd)
}

function listenOnSharedPort(
  server: ServerInside,
  { host, port, ipv6Only = false }: Request['options'],
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
      ready(handleFor(fd))
      tellPrimary(server, host === undefined || host === '' ? null : address, Number(port))
    } catch (error) {
      // Every interface, on a machine without IPv6.
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

/** As `net.Server` reports what kept it from listening. */
function fail(server: ServerInside, error: unknown, address: string, port: number): void {
  const { code, errno } = error as SystemError
  const [, message] = getSystemErrorMap().get(errno) ?? []
  const where = port > 0 ? `${address}:${port}` : address
  const said =
    message === undefined
      ? error
      : Object.assign(new Error(`listen ${code}: ${message} ${where}`), {
          code,
          errno,
          syscall: 'listen',
          address,
          ...(port > 0 ? { port } : { port: -1 })
        })
  process.nextTick(() => server.emit('error', said))
}

function closeOnAbort(server: ServerInside, signal: AbortSignal): void {
  const close = () => server.close()
  if (signal.aborted) process.nextTick(close)
  else {
    signal.addEventListener('abort', close, { once: true })
    server.once('close', () => signal.removeEventListener('abort', close))
  }
}

/**
 * What a worker's own listening is to the primary: it emits `listening` for what workers tell it in this form; and when it
 * disconnects a worker (`cluster.disconnect()`), that closes its servers.
 */
function tellPrimary(server: ServerInside, address: string | null, port: number): void {
  if (!inCluster) return
  const close = () => server.close()
  process.once('disconnect', close)
  server.once('close', () => process.off('disconnect', close))
  server.once('listening', () => {
    const addressType = address !== null && isIP(address) === 6 ? 6 : 4
    process.send?.({ cmd: 'NODE_CLUSTER', act: 'listening', address, port, addressType, fd: undefined })
  })
}

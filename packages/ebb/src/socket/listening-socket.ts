/** The listening socket: made from options, described, and closed. */
import { readFileSync, unlinkSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { checkBoolean } from '../sys/arguments.js'
import { IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_NODELAY } from '../sys/constants.js'
import { invalidArgument, shown, withCode } from '../sys/errors.js'
import { passiveSocket } from '../sys/node/passive-socket.js'
import { type Address, type AddressInfo, formatAddress } from '../sys/sockaddr.js'
import { bindSocket, closeDescriptor, listenOn, localAddress, setOption } from '../sys/socket.js'

/** Where to listen, and with which socket options. Exactly one of `port` and `path` is required. */
export interface SocketOptions {
  /** TCP port; 0 lets the kernel choose one. */
  port?: number
  /** IP address of the interface, or `localhost`. `0.0.0.0` and `::` are all interfaces. Default: `127.0.0.1`. */
  host?: string
  /** Path of a Unix socket; abstract if it begins with NUL. The file is removed on close. */
  path?: string
  /**
   * Maximum number of connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`. Default: 4096.
   */
  backlog?: number
  /** With an IPv6 `host` such as `::`: refuse IPv4. Default: false. */
  ipv6Only?: boolean
  /**
   * `SO_REUSEPORT`: several processes of one user listen on the same port, and the kernel distributes connections among
   * them. Default: false.
   */
  reusePort?: boolean
  /** `TCP_NODELAY`: send small segments at once. Default: true. */
  noDelay?: boolean
  /** `SO_KEEPALIVE`: the kernel detects dead peers, after its `net.ipv4.tcp_keepalive_*` times. Default: false. */
  keepAlive?: boolean
}

/** The names of {@link SocketOptions}. */
export const SOCKET_OPTIONS = {
  port: 0,
  host: 0,
  path: 0,
  backlog: 0,
  ipv6Only: 0,
  reusePort: 0,
  noDelay: 0,
  keepAlive: 0
} satisfies Record<keyof SocketOptions, 0>

/** A socket that listens, with all that is needed to close it. */
export interface ListeningSocket {
  /** Its descriptor. */
  fd: number
  /** Its address, with the port that the kernel chose. */
  address: AddressInfo
  /** Maximum number of connections that wait to be accepted, after the kernel's cap. */
  backlog: number
  /** Path of a Unix socket, whose file is removed on close. */
  path?: string | undefined
  /** Closes the descriptor, if an object of Node owns it. */
  close?: (() => void) | undefined
}

const DEFAULT_BACKLOG = 4096

/**
 * Creates a socket, binds it and listens on it. In a worker thread, an object of Node closes it when the thread ends.
 *
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ... of `socket`, `bind` or `listen`
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`, `ERR_MISSING_ARGS` for options that are not valid
 */
export function openSocket(options: SocketOptions): ListeningSocket {
  const socket = openUnownedSocket(options)
  return { ...socket, close: ownInWorker(socket.fd) }
}

/**
 * Creates a socket, binds it and listens on it, for a caller that gives the descriptor to its one owner.
 *
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ... of `socket`, `bind` or `listen`
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`, `ERR_MISSING_ARGS` for options that are not valid
 */
export function openUnownedSocket(options: SocketOptions): Omit<ListeningSocket, 'close'> {
  const address = toAddress(options)
  const { backlog = DEFAULT_BACKLOG, path, ipv6Only = false, reusePort = false } = options
  if (!Number.isInteger(backlog) || backlog < 0) {
    throw invalidArgument(`backlog must be a whole number from 0 on, not ${shown(backlog)}`)
  }
  for (const name of ['ipv6Only', 'reusePort', 'noDelay', 'keepAlive'] as const) checkBoolean(options[name], name)
  const fd = bindSocket(address, { reuseAddress: true, reusePort, ipv6Only })
  try {
    if (path === undefined) {
      // On Linux, accepted sockets inherit these from the listening socket: no system call for each connection.
      if (options.noDelay ?? true) setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1)
      if (options.keepAlive ?? false) setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    }
    listenOn(fd, Math.min(backlog, 2 ** 31 - 1), formatAddress(address))
    return { fd, ...describeSocket(fd, backlog), path }
  } catch (error) {
    removePath(path)
    closeDescriptor(fd)
    throw error
  }
}

/** Returns the address and the effective backlog of a listening socket. */
export function describeSocket(fd: number, backlog: number): { address: AddressInfo; backlog: number } {
  return { address: localAddress(fd), backlog: Math.min(backlog, longestBacklog()) }
}

/** Closes a socket that is not watched, and removes its file. */
export function closeSocket({ fd, path, close }: ListeningSocket): void {
  // Removed first: after the close, another server may listen on the same path.
  removePath(path)
  if (close !== undefined) close()
  else closeDescriptor(fd)
}

/** Removes the file of a Unix socket, so that no client can connect to it any more. */
export function removeFile(socket: Pick<ListeningSocket, 'path'>): void {
  removePath(socket.path)
  // By the time of the close, another server may have made a file of its own there.
  socket.path = undefined
}

/**
 * In a worker thread, gives `fd` to an object of Node that closes it when the thread ends. `terminate()` runs no
 * cleanup code, and a socket that went on listening would take connections that nobody serves.
 *
 * @returns a function that closes the descriptor; undefined in the main thread, where the caller owns it
 */
function ownInWorker(fd: number): (() => void) | undefined {
  if (isMainThread) return undefined
  const socket = passiveSocket(fd)
  socket.unref()
  return () => socket.destroy()
}

/** Removes the file of a Unix socket. */
function removePath(path: string | undefined): void {
  if (path === undefined || path.startsWith('\0')) return
  try {
    unlinkSync(path)
  } catch {
    // Another process removed the file, or replaced it by its own.
  }
}

function toAddress({ port, host = '127.0.0.1', path }: SocketOptions): Address {
  if (path !== undefined && port !== undefined) {
    throw invalidArgument('listen() takes a port or a path, not both: leave one out')
  }
  if (path !== undefined) return { path }
  if (port === undefined)
    throw withCode(
      new TypeError('listen() needs a port or a path: listen({ port: 3033 }, handlers)'),
      'ERR_MISSING_ARGS'
    )
  return { host: host === 'localhost' ? '127.0.0.1' : host, port }
}

/** Returns the kernel's cap on backlogs. */
function longestBacklog(): number {
  try {
    return Number(readFileSync('/proc/sys/net/core/somaxconn', 'latin1'))
  } catch {
    // Not readable in some containers: 128 was the kernel's default until Linux 5.4.
    return 128
  }
}

/** The listening socket: from options to a descriptor that listens, and its end. */
import { readFileSync, unlinkSync } from 'node:fs'
import { Socket, type SocketConstructorOpts } from 'node:net'
import { isMainThread } from 'node:worker_threads'
import type { GovernorOptions } from '../govern/connection-governor.js'
import { invalidArgument } from '../sys/errors.js'
import * as libc from '../sys/libc.js'
import {
  type Address,
  type AddressInfo,
  decodeAddress,
  formatAddress,
  SOCKADDR_SIZE,
  SocketAddress
} from '../sys/sockaddr.js'
import { setOption } from '../sys/socket-options.js'

/** Where and how to listen. One of `port` and `path`. */
export interface ListenOptions {
  /** 0: the kernel chooses; see {@link Listener.address}. */
  port?: number
  /** An IP address, or `localhost`. Default: `127.0.0.1`; `0.0.0.0` and `::` are every interface. */
  host?: string
  /** A Unix socket. One that begins with NUL is abstract. The file is removed on close. */
  path?: string
  /** Connections that wait to be accepted, at most; the kernel caps it at `net.core.somaxconn`. Default: 4096. */
  backlog?: number
  /** With `host: '::'`: refuse IPv4. Default: false. */
  ipv6Only?: boolean
  /** `SO_REUSEPORT`: several processes of one user listen on the port, and the kernel shares out connections. Default: false. */
  reusePort?: boolean
  /** `TCP_NODELAY`: send at once. Default: true. */
  noDelay?: boolean
  /** `SO_KEEPALIVE`: the kernel notices dead peers, after its `tcp_keepalive_*` times. Default: false. */
  keepAlive?: boolean
  /** Give memory back when the crowd has gone. `false`: never. Default: true, with the defaults of {@link GovernorOptions}. */
  giveBack?: boolean | GovernorOptions
}

/** A socket that listens. */
export interface ListeningSocket {
  fd: number
  /** With the port that the kernel chose, if it did. */
  address: AddressInfo
  /** Connections that may wait to be accepted. */
  queue: number
  /** The file of a Unix socket that goes with it. */
  path?: string | undefined
  /** Closes it, where something else owns the descriptor. */
  close?: (() => void) | undefined
}

/**
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ... of `socket`, `bind` or `listen`
 * @throws TypeError for options that cannot be
 */
export function openSocket(options: ListenOptions): ListeningSocket {
  const address = toAddress(options)
  const { backlog = 4096 } = options
  if (!Number.isInteger(backlog) || backlog < 0) {
    throw invalidArgument(`backlog must be a whole number from 0 on, not ${backlog}`)
  }
  const target = new SocketAddress(address)
  const what = formatAddress(address)
  const type = libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC
  const fd = libc.check(libc.socket(target.family, type, 0), 'socket', what)
  let bound = false
  try {
    if (target.family !== libc.AF_UNIX) {
      setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1)
      if (options.reusePort ?? false) setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT, 1)
      // Accepted sockets inherit both from the listening one on Linux: no call for each.
      if (options.noDelay ?? true) setOption(fd, libc.IPPROTO_TCP, libc.TCP_NODELAY, 1)
      if (options.keepAlive ?? false) setOption(fd, libc.SOL_SOCKET, libc.SO_KEEPALIVE, 1)
    }
    if (target.family === libc.AF_INET6) {
      setOption(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, (options.ipv6Only ?? false) ? 1 : 0)
    }
    libc.check(libc.bindAddress(fd, target.pointer, target.length), 'bind', what)
    bound = true
    libc.check(libc.listenOn(fd, Math.min(backlog, 2 ** 31 - 1)), 'listen', what)
    return { fd, ...describe(fd, backlog), path: options.path, close: keeper(fd) }
  } catch (error) {
    if (bound) removePath(options.path)
    libc.close(fd)
    throw error
  }
}

/** What is to be known of a socket that listens. */
export function describe(fd: number, backlog: number): { address: AddressInfo; queue: number } {
  return { address: localAddress(fd), queue: Math.min(backlog, longestQueue()) }
}

/** Closes a socket that nobody watches, and removes its file. */
export function closeSocket({ fd, path, close }: ListeningSocket): void {
  // Before it is closed: afterwards the path may be another server's.
  removePath(path)
  if (close !== undefined) close()
  else libc.close(fd)
}

/**
 * In a worker thread, a handle of Node's that owns `fd`: nothing of ours runs when the thread is ended by `terminate()`, and a
 * socket that went on listening would take connections that nobody serves.
 *
 * @returns how to close it; undefined where the descriptor is the caller's
 */
export function keeper(fd: number): (() => void) | undefined {
  if (isMainThread) return undefined
  // `manualStart`: it only holds it.
  const socket = new Socket({ fd, manualStart: true } as SocketConstructorOpts)
  socket.unref()
  return () => socket.destroy()
}

/** @throws {SystemError} */
export function localAddress(fd: number): AddressInfo {
  return askAddress(libc.getsockname, 'getsockname', fd)
}

/** The address of the other side; undefined when it has gone. */
export function peerAddress(fd: number): AddressInfo | undefined {
  try {
    return askAddress(libc.getpeername, 'getpeername', fd)
  } catch {
    // ENOTCONN: it has been reset, and the event that says so is on its way.
    return undefined
  }
}

/** Removes the file of a Unix socket, if it has one. */
function removePath(path: string | undefined): void {
  if (path === undefined || path.startsWith('\0')) return
  try {
    unlinkSync(path)
  } catch {
    // Somebody else removed it, or made it theirs: not ours to say anything about.
  }
}

function toAddress({ port, host = '127.0.0.1', path }: ListenOptions): Address {
  if (path !== undefined && port !== undefined) {
    throw invalidArgument('listen() takes a port or a path, not both')
  }
  if (path !== undefined) return { path }
  if (port === undefined) {
    throw Object.assign(new TypeError('listen() needs a port or a path'), { code: 'ERR_MISSING_ARGS' })
  }
  return { host: host === 'localhost' ? '127.0.0.1' : host, port }
}

/** What the kernel makes of a longer backlog. */
function longestQueue(): number {
  try {
    return Number(readFileSync('/proc/sys/net/core/somaxconn', 'latin1'))
  } catch {
    // Hidden in some containers: 128 was the default until Linux 5.4.
    return 128
  }
}

function askAddress(ask: typeof libc.getsockname, syscall: string, fd: number): AddressInfo {
  const bytes = Buffer.alloc(SOCKADDR_SIZE)
  const length = new Uint32Array([SOCKADDR_SIZE])
  libc.check(ask(fd, libc.addressOf(bytes), libc.addressOf(length)), syscall)
  return decodeAddress(bytes, length[0] as number)
}

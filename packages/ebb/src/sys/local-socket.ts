/**
 * Stream sockets between two processes of one machine, by a name in the abstract namespace of Unix sockets
 * (`man 7 unix`): no file is made, and the name goes with the socket.
 *
 * The functions do not wait. Those that can be called at any time return a negative errno and do not throw.
 */
import * as libc from './libc.js'
import { SocketAddress } from './sockaddr.js'
import { bindTo, createSocket, startConnect } from './socket.js'

/**
 * Listens at an abstract name.
 *
 * @param backlog number of processes that may wait
 * @returns a descriptor, which the caller owns; a negative errno: the name is taken (`EADDRINUSE`), there is no
 *   descriptor left (`EMFILE`), or sockets are not allowed here (`EACCES`, `EPERM`, `EAFNOSUPPORT`)
 */
export function listenAtName(name: string, backlog: number): number {
  return withSocket((fd) => {
    const errno = bindTo(fd, abstractAddress(name))
    return errno === 0 && libc.listenOn(fd, backlog) === -1 ? libc.errno() : errno
  })
}

/**
 * Connects to the process that listens at an abstract name.
 *
 * @returns a descriptor, which the caller owns; a negative errno: nobody listens (`ECONNREFUSED`), too many processes
 *   wait already (`EAGAIN`), and those of {@link listenAtName}
 */
export function connectToName(name: string): number {
  return withSocket((fd) => startConnect(fd, abstractAddress(name)))
}

function abstractAddress(name: string): SocketAddress {
  return new SocketAddress({ path: `\0${name}` })
}

/** @param use returns 0 or an errno */
function withSocket(use: (fd: number) => number): number {
  const fd = createSocket(libc.AF_UNIX)
  if (fd < 0) return fd
  const errno = use(fd)
  if (errno === 0) return fd
  libc.close(fd)
  return -errno
}

/** Accepts a connection. @returns a descriptor, which the caller owns, or a negative errno: `EAGAIN` if nobody waits */
export function acceptAtName(listening: number): number {
  const fd = libc.accept4(listening, 0, 0, libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK)
  return fd === -1 ? -libc.errno() : fd
}

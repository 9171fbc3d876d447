/** Connects to Unix sockets. */
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from './constants.js'
import { systemError } from './errors.js'
import * as libc from './libc.js'
import { SocketAddress } from './sockaddr.js'

/**
 * Connects a non-blocking stream socket to a Unix socket and returns its descriptor, which the caller must close.
 *
 * @param path of the socket in the file system; a leading NUL names an abstract socket
 * @throws {SystemError} `ECONNREFUSED`: nothing listens there; `EAGAIN`: its backlog is full; `ENOENT`, `EACCES`,
 *   `EMFILE`
 */
export function connectUnix(path: string): number {
  const address = new SocketAddress({ path })
  const fd = libc.check(libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), 'socket')
  if (libc.connect(fd, address.pointer, address.length) === -1) {
    const error = systemError('connect', libc.errno(), path)
    libc.close(fd)
    throw error
  }
  return fd
}

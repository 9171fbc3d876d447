/** Connects to Unix sockets. */
import { AF_UNIX } from './constants.js'
import { systemError } from './errors.js'
import { SocketAddress } from './sockaddr.js'
import { closeDescriptor, createSocket, startConnect } from './socket.js'

/**
 * Connects a non-blocking stream socket to a Unix socket and returns its descriptor, which the caller must close.
 *
 * @param path of the socket in the file system; a leading NUL names an abstract socket
 * @throws {SystemError} `ECONNREFUSED`: nothing listens there; `EAGAIN`: its backlog is full; `ENOENT`, `EACCES`,
 *   `EMFILE`
 */
export function connectUnix(path: string): number {
  const address = new SocketAddress({ path })
  const fd = createSocket(AF_UNIX)
  if (fd < 0) throw systemError('socket', -fd)
  const errno = startConnect(fd, address)
  if (errno !== 0) {
    closeDescriptor(fd)
    throw systemError('connect', errno, path)
  }
  return fd
}

/** One port for several processes: `SO_REUSEPORT` (`man 7 socket`). */
import { type AddressInfo, decodeAddress, formatAddress, libc, SOCKADDR_SIZE, SocketAddress, setOption } from 'ebb/sys'

/** A port that is kept for those who share it. */
export interface HeldPort {
  port: number
  /** Lets go of it. */
  close(): void
}

/**
 * Takes a port for processes that are to share it, and keeps it while they come and go: nobody else gets it meanwhile, as its own port
 * or as that of an outgoing connection.
 *
 * It does not listen, so that no connection is given to it. And it is bound before it can be shared, so that a port which
 * somebody shares already is taken, as it is for a server that shares with nobody.
 *
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, ...
 */
export function holdPort(host: string, port: number): HeldPort {
  const fd = bound(host, port, [])
  try {
    // Beside a socket that does not listen, SO_REUSEADDR on both would let anybody listen.
    setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 0)
    setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT, 1)
    return { port: portOf(fd), close: () => libc.close(fd) }
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/**
 * A descriptor that is bound to a shared port, for `node:net` to listen on. The caller's.
 *
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, ...
 */
export function bindShared(host: string, port: number): number {
  return bound(host, port, [libc.SO_REUSEPORT])
}

function bound(host: string, port: number, options: readonly number[]): number {
  const address = new SocketAddress({ host, port })
  const what = formatAddress({ host, port })
  const type = libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC
  const fd = libc.check(libc.socket(address.family, type, 0), 'socket', what)
  try {
    for (const option of [libc.SO_REUSEADDR, ...options]) setOption(fd, libc.SOL_SOCKET, option, 1)
    // Whatever the machine's default: `::` is IPv4, too.
    if (address.family === libc.AF_INET6) setOption(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, 0)
    libc.check(libc.bindAddress(fd, address.pointer, address.length), 'bind', what)
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

function portOf(fd: number): number {
  const bytes = Buffer.alloc(SOCKADDR_SIZE)
  const length = new Uint32Array([SOCKADDR_SIZE])
  libc.check(libc.getsockname(fd, libc.addressOf(bytes), libc.addressOf(length)), 'getsockname')
  const address: AddressInfo = decodeAddress(bytes, length[0] as number)
  if ('path' in address) throw new Error('a TCP socket has a port')
  return address.port
}

/** Shares one TCP port among several processes with `SO_REUSEPORT` (`man 7 socket`). */
import { type AddressInfo, decodeAddress, formatAddress, libc, SOCKADDR_SIZE, SocketAddress, setOption } from 'ebb/sys'

/** A port that is reserved for the processes that share it. */
export interface HeldPort {
  port: number
  /** Frees the port. */
  close(): void
}

/**
 * Reserves a port for processes that share it, and keeps it while those processes come and go. No other process can get
 * the port meanwhile, neither to listen on nor for an outgoing connection.
 *
 * The reserving socket does not listen, so the kernel gives it no connections. It is bound without `SO_REUSEPORT` at
 * first, so that the call fails if other processes already share the port, as it does for a server that shares with
 * nobody.
 *
 * @throws SystemError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ... if the port cannot be bound
 */
export function holdPort(host: string, port: number): HeldPort {
  const fd = bind(host, port, [])
  try {
    // With SO_REUSEADDR on both sockets, any process could listen beside a socket that does not listen.
    setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 0)
    setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT, 1)
    return { port: portOf(fd), close: () => libc.close(fd) }
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/**
 * Returns a descriptor that is bound to a shared port, for `node:net` to listen on. The caller owns the descriptor.
 *
 * @throws SystemError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ... if the port cannot be bound
 */
export function bindShared(host: string, port: number): number {
  return bind(host, port, [libc.SO_REUSEPORT])
}

function bind(host: string, port: number, options: readonly number[]): number {
  const address = new SocketAddress({ host, port })
  const what = formatAddress({ host, port })
  const type = libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC
  const fd = libc.check(libc.socket(address.family, type, 0), 'socket', what)
  try {
    for (const option of [libc.SO_REUSEADDR, ...options]) setOption(fd, libc.SOL_SOCKET, option, 1)
    // `::` accepts IPv4 as well, whatever the default of this machine is.
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
  if ('path' in address) throw new Error('a TCP socket has no port')
  return address.port
}

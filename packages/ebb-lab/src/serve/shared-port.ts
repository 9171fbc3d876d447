/** Shares one TCP port among several processes with `SO_REUSEPORT` (`man 7 socket`). */
import { bindSocket, closeDescriptor, constants, localAddress, setOption } from 'ebb/sys'
import { noPortError } from './address.js'

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
  const fd = bindSocket({ host, port }, { reuseAddress: true })
  try {
    // With SO_REUSEADDR on both sockets, any process could listen beside a socket that does not listen.
    setOption(fd, constants.SOL_SOCKET, constants.SO_REUSEADDR, 0)
    setOption(fd, constants.SOL_SOCKET, constants.SO_REUSEPORT, 1)
    return { port: portOf(fd, host), close: () => closeDescriptor(fd) }
  } catch (error) {
    closeDescriptor(fd)
    throw error
  }
}

/**
 * Returns a descriptor that is bound to a shared port, for `node:net` to listen on. The caller owns the descriptor.
 *
 * @throws SystemError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ... if the port cannot be bound
 */
export function bindShared(host: string, port: number): number {
  return bindSocket({ host, port }, { reuseAddress: true, reusePort: true })
}

function portOf(fd: number, host: string): number {
  const address = localAddress(fd)
  if ('path' in address) throw noPortError(host)
  return address.port
}

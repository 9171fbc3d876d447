/** Which accepted connections a server takes. */
import type { Reactor } from '../sys/reactor.js'
import { localAddress, peerAddress } from '../sys/socket.js'
import { isFull, type ServerInternals } from './node/server.js'

/**
 * Refuses connections above `server.maxConnections`, and those that `server.blockList` blocks, as `net.Server` does.
 */
export class AcceptGate {
  readonly #server: ServerInternals
  #dropped = 0

  constructor(server: ServerInternals) {
    this.#server = server
  }

  /** Number of connections refused since the start. */
  get dropped(): number {
    return this.#dropped
  }

  /** Decides about an accepted connection. @returns false if it is refused, and then it is closed */
  admits(fd: number, reactor: Reactor): boolean {
    if (isFull(this.#server)) {
      this.#drop(fd, reactor)
      return false
    }
    if (this.#server.blockList === undefined || !this.#isBlocked(fd)) return true
    this.#dropped++
    reactor.discard(fd)
    return false
  }

  #drop(fd: number, reactor: Reactor): void {
    this.#dropped++
    try {
      if (this.#server.listenerCount('drop') > 0) this.#server.emit('drop', ...dropEvent(fd))
    } finally {
      // Also if a listener threw.
      reactor.discard(fd)
    }
  }

  #isBlocked(fd: number): boolean {
    const peer = peerAddress(fd)
    if (peer === undefined || 'path' in peer) return false
    return this.#server.blockList?.check(peer.address, peer.family === 'IPv6' ? 'ipv6' : 'ipv4') ?? false
  }
}

/** Returns the arguments of a `drop` event: both addresses of the connection; nothing for a Unix socket. */
function dropEvent(fd: number): object[] {
  const local = localAddress(fd)
  if ('path' in local) return []
  const remote = peerAddress(fd)
  return [
    {
      localAddress: local.address,
      localPort: local.port,
      localFamily: local.family,
      ...(remote !== undefined &&
        !('path' in remote) && {
          remoteAddress: remote.address,
          remotePort: remote.port,
          remoteFamily: remote.family
        })
    }
  ]
}

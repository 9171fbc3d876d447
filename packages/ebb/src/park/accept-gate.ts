/** Which accepted connections a server takes. */
import type { CallbackScopes } from '../sys/node/callback-scope.js'
import type { Reactor } from '../sys/reactor.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import { localAddress, peerAddress } from '../sys/socket.js'
import { isFull, type ServerInternals } from './node/server.js'

/**
 * Refuses connections above `server.maxConnections`, and those that `server.blockList` blocks, as `net.Server` does.
 */
export class AcceptGate {
  readonly #server: ServerInternals
  readonly #scopes: CallbackScopes
  #dropped = 0

  constructor(server: ServerInternals, scopes: CallbackScopes) {
    this.#server = server
    this.#scopes = scopes
  }

  /** Number of connections refused since the start. */
  get dropped(): number {
    return this.#dropped
  }

  /**
   * Decides about an accepted connection, and closes it if it is refused. A listener of `drop` may do anything: close
   * the server, let it listen again, throw.
   *
   * @returns false if the connection is refused
   * @throws what the block list throws; then the connection is refused and closed
   */
  admits(fd: number, reactor: Reactor): boolean {
    let admitted = false
    try {
      const full = isFull(this.#server)
      admitted = !full && (this.#server.blockList === undefined || !this.isBlocked(peerAddress(fd)))
      if (!admitted) this.#dropped++
      if (full && this.#server.listenerCount('drop') > 0) {
        this.#scopes.runForServer(() => this.#server.emit('drop', ...dropEvent(fd)), undefined)
      }
    } finally {
      if (!admitted) reactor.discard(fd)
    }
    return admitted
  }

  /** Whether the block list has this address. */
  isBlocked(peer: AddressInfo | undefined): boolean {
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

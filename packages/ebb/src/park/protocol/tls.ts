/** Connections of a `tls.Server` or `https.Server`. */
import type { Server } from 'node:net'
import { handshakeTimeout, withHandshakeTimeout } from '../node/server.js'
import { BaseProtocol, type TimeoutAction } from './protocol.js'

/** A connection is parked until the first byte of its handshake. After that, its session lives in this process. */
export class TlsProtocol extends BaseProtocol {
  readonly parksAgain = false
  readonly isPlain = false
  readonly seesFin = false
  readonly #server: Server

  constructor(server: Server) {
    super()
    this.#server = server
  }

  override firstByteTimeout(): number {
    return handshakeTimeout(this.#server)
  }

  /**
   * If the application listens for failed handshakes, Node makes its `TLSSocket` after all, and ends the handshake that
   * has not begun.
   */
  override onTimeout(): TimeoutAction {
    const server = this.#server
    if (server.listenerCount('tlsClientError') === 0) return {}
    return {
      wake: {
        announced: true,
        around: (wake) => withHandshakeTimeout(server, 1, wake),
        onTimeout: () => {}
      }
    }
  }

  mayPark(): boolean {
    return false
  }
}

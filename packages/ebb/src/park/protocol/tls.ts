/** Connections of a `tls.Server` or `https.Server`. */
import type { Server } from 'node:net'
import { EbbError } from '../../sys/errors.js'
import { handshakeTimeout } from '../node/server.js'
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

  override onTimeout(): TimeoutAction {
    const server = this.#server
    if (server.listenerCount('tlsClientError') === 0) return {}
    return {
      wake: {
        announced: false,
        onTimeout(socket) {
          // In place of the TLSSocket that Node would pass, whose errors do not crash the process either.
          socket.on('error', () => {})
          server.emit('tlsClientError', new EbbError('ERR_TLS_HANDSHAKE_TIMEOUT', 'TLS handshake timeout'), socket)
          socket.destroy()
        }
      }
    }
  }

  mayPark(): boolean {
    return false
  }
}

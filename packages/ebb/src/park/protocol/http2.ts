/** Connections of an `http2.Server` without TLS. */
import type { Server, Socket } from 'node:net'
import type { ServerInternals } from '../node/server.js'
import { sessionOf } from '../node/socket.js'
import type { TimeoutAction } from './protocol.js'
import { TcpProtocol } from './tcp.js'

/** A connection is parked until its first byte. After that, both sides keep a session for as long as it is open. */
export class Http2Protocol extends TcpProtocol {
  override readonly isPlain = false
  override readonly connectionListeners = Number.POSITIVE_INFINITY
  readonly #server: Server & { timeout?: number }

  constructor(server: ServerInternals) {
    super(server, false)
    this.#server = server
  }

  override firstByteTimeout(): number {
    return this.#server.timeout ?? 0
  }

  /** The `timeout` listeners of the server get the session of the connection. Without listeners, it is closed. */
  override onTimeout(): TimeoutAction {
    if (this.#server.listenerCount('timeout') === 0) return {}
    return { wake: { announced: true, onTimeout: (socket: Socket) => void sessionOf(socket)?.emit('timeout') } }
  }
}

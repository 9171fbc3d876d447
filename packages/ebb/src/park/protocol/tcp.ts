/** Connections of a `net.Server`. */
import type { Socket } from 'node:net'
import type { ServerInternals } from '../node/server.js'
import { isQuiet } from '../node/socket.js'
import { BaseProtocol, type TimeoutAction } from './protocol.js'

/** A connection is parked when it is quiet; the application closes it. */
export class TcpProtocol extends BaseProtocol {
  readonly isPlain: boolean = true
  override readonly connectionListeners: number = 0
  readonly parksAgain: boolean
  readonly #server: ServerInternals

  constructor(server: ServerInternals, parksAgain: boolean) {
    super()
    this.#server = server
    this.parksAgain = parksAgain
  }

  get seesFin(): boolean {
    return this.#server.allowHalfOpen
  }

  /** Without a listener, a timeout of a socket does nothing. */
  override idleTimeout(socket: Socket): number {
    return socket.listenerCount('timeout') > 0 ? (socket.timeout ?? 0) : 0
  }

  /**
   * Passes the timeout to the listeners of a new socket. If the application has added none, it cannot be told, so the
   * connection is closed.
   */
  override onTimeout(): TimeoutAction {
    const onTimeout = (socket: Socket): void => void (socket.emit('timeout') || socket.destroy())
    return { wake: { announced: true, onTimeout } }
  }

  mayPark(socket: Socket): boolean {
    return isQuiet(socket)
  }
}

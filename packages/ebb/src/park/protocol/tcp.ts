/** Connections of a `net.Server`. */
import type { Socket } from 'node:net'
import type { ServerInternals } from '../node/server.js'
import { isQuiet } from '../node/socket.js'
import { BaseProtocol } from './protocol.js'

/** A connection is parked when it is quiet; the application closes it. */
export class TcpProtocol extends BaseProtocol {
  readonly isPlain = true
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

  mayPark(socket: Socket): boolean {
    return isQuiet(socket)
  }
}

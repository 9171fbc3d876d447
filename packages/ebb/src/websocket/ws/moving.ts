/** How the WebSockets of a `WebSocketServer` move to another process, and come from one. */
import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { upgradeRequest } from '../../park/node/request.js'
import { restored } from '../../socket/attachments.js'
import { reportLater } from '../../sys/node/callback-scope.js'
import { NO_CODE } from '../frames.js'
import type { MovingHandlers } from '../handlers.js'
import { broken, type WebSocketOrder } from '../orders.js'
import type { WebSockets } from '../web-sockets.js'
import { OPEN, type ServerOptions, type WebSocketClass } from './internals.js'
import { MovedGroup } from './moved-group.js'
import { kGroup, kReceiver, kRow, kSender, kSocket, type ParkedGroup, type ParkedWebSocket } from './parked-class.js'

/** Returns what the next process needs to know of a WebSocket. */
export type Moving = (webSocket: object) => unknown

/** A `WebSocketServer` whose WebSockets move. */
export interface MovingServer extends EventEmitter {
  readonly options: ServerOptions & { path?: string }
  readonly clients?: Set<object>
  /** `close()` waits until the last client has gone. */
  readonly _shouldEmitClose?: boolean
  _state?: number
}

/** What is kept of a request, so that it can move. */
export interface KeptRequest {
  url: string
  rawHeaders: readonly string[]
}

/** The connections of a group, as far as they move. */
export interface GroupHost extends ParkedGroup {
  readonly core: WebSockets
  webSocket(row: number): ParkedWebSocket
  /** Whether something of the connection cannot move: listeners that others have put on its socket. */
  hasListeners(row: number): boolean
  /** Takes a connection that has come. */
  take(row: number, webSocket: ParkedWebSocket): void
  /** Gives up a connection that another process has. */
  forget(row: number): void
}

/** Closed, as `WebSocketServer` counts. */
const SERVER_CLOSED = 2

/** What moves with a connection besides its attachment. */
interface Told extends KeptRequest {
  protocol: string
  binaryType: string
}

/** Moves the connections of one group. */
export class GroupMoving implements MovingHandlers {
  readonly name: string
  readonly #server: MovingServer
  readonly #moving: Moving
  readonly #host: GroupHost
  /** By row. */
  readonly #requests = new Map<number, KeptRequest>()
  /** Ids of connections for which {@link Moving} has thrown. They stay. */
  readonly #failed = new Set<number>()

  constructor(server: MovingServer, moving: Moving, host: GroupHost) {
    this.name = nameOf(server)
    this.#server = server
    this.#moving = moving
    this.#host = host
  }

  /** Keeps what the next process needs of the request of a new connection. */
  keep(row: number, request: KeptRequest | undefined): void {
    if (request !== undefined) this.#requests.set(row, request)
  }

  /** Forgets a connection that is closed. */
  delete(row: number): void {
    this.#requests.delete(row)
    if (this.#failed.size > 0) this.#failed.delete(this.#host.core.id(row))
  }

  /** Asks the program what the next process needs to know. */
  prepare(row: number): boolean {
    const { core } = this.#host
    const webSocket = this.#host.webSocket(row)
    const id = core.id(row)
    if (webSocket._readyState !== OPEN || !this.#requests.has(row) || this.#failed.has(id)) return false
    if (this.#host.hasListeners(row)) return false
    try {
      core.attachments.set(row, this.#moving(webSocket))
      return true
    } catch (error) {
      this.#failed.add(id)
      reportLater(error)
      return false
    }
  }

  describe(row: number): string {
    const { _binaryType: binaryType, _protocol: protocol } = this.#host.webSocket(row)
    const told: Told = { ...(this.#requests.get(row) as KeptRequest), protocol, binaryType }
    return Buffer.from(JSON.stringify(told)).toString('latin1')
  }

  check(own: string): void {
    toldOf(own)
  }

  restore(row: number, own: string): void {
    const { url, rawHeaders, protocol, binaryType } = toldOf(own)
    const { options, clients } = this.#server
    const webSocket = new (options.WebSocket as WebSocketClass)(null, undefined, options) as ParkedWebSocket
    webSocket._readyState = OPEN
    webSocket._protocol = protocol
    webSocket._binaryType = binaryType
    webSocket[kSocket] = webSocket[kReceiver] = webSocket[kSender] = null
    webSocket[kGroup] = this.#host
    webSocket[kRow] = row
    this.#host.take(row, webSocket)
    this.#requests.set(row, { url, rawHeaders })
    if (clients === undefined) return
    clients.add(webSocket)
    webSocket.on('close', () => this.#onGone(webSocket))
  }

  /** As `ws` does when a client has closed. */
  #onGone(webSocket: object): void {
    const server = this.#server
    server.clients?.delete(webSocket)
    if (server._shouldEmitClose !== true || server.clients?.size !== 0) return
    process.nextTick(() => {
      server._state = SERVER_CLOSED
      server.emit('close')
    })
  }

  onTaken(row: number): void {
    const { core } = this.#host
    const data = restored(core.attachments.get(row))
    core.attachments.delete(row)
    this.#server.emit('moved', this.#host.webSocket(row), this.#requestOf(row), data)
  }

  #requestOf(row: number): IncomingMessage {
    const { url, rawHeaders } = this.#requests.get(row) as KeptRequest
    const address = this.#host.core.remoteAddress(row)
    // As after the connection was parked: a socket that is gone, and still tells the client's address.
    const socket = new Socket().destroy()
    if (address !== undefined && 'address' in address) {
      const { address: remoteAddress, port: remotePort, family: remoteFamily } = address
      for (const [name, value] of Object.entries({ remoteAddress, remotePort, remoteFamily })) {
        Object.defineProperty(socket, name, { value, configurable: true, writable: true })
      }
    }
    return upgradeRequest(socket, url, rawHeaders)
  }

  onMoved(row: number): void {
    const { core } = this.#host
    const webSocket = this.#host.webSocket(row)
    webSocket[kGroup] = new MovedGroup(core, core.id(row), this.name)
    this.#server.clients?.delete(webSocket)
    this.#requests.delete(row)
    this.#host.forget(row)
  }

  carryOut(row: number, { kind, data, code }: WebSocketOrder): void {
    if (row === -1) return
    const webSocket = this.#host.webSocket(row)
    if (webSocket._readyState !== OPEN) return
    if (kind === 'ping') webSocket.ping(data)
    else if (kind !== 'close') webSocket.send(data, { binary: kind === 'binary' })
    else if (code === NO_CODE) webSocket.close()
    else webSocket.close(code, data)
  }
}

/** Returns the name of a server's connections, the same in the next process. */
export function nameOf({ options }: MovingServer): string {
  return `ws ${options.path ?? ''}`
}

function toldOf(own: string): Told {
  let value: Partial<Told> | null
  try {
    value = JSON.parse(Buffer.from(own, 'latin1').toString()) as Partial<Told> | null
  } catch {
    throw broken('what is known of it is not JSON')
  }
  const { url, rawHeaders, protocol, binaryType } = value ?? {}
  const isText = [url, protocol, binaryType].every((text) => typeof text === 'string')
  const isList = Array.isArray(rawHeaders) && rawHeaders.every((text) => typeof text === 'string')
  if (!isText || !isList) throw broken('what is known of it is not complete')
  return value as Told
}

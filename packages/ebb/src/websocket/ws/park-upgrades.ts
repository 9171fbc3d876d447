/**
 * Parks the WebSockets of an HTTP server whose `WebSocketServer` is not known: in programs that do not call ebb, and in
 * bundles, where `ws` has no name.
 *
 * `setSocket()` of `ws` puts the new WebSocket on the socket, and then calls `socket.setTimeout(0)`. The sockets of
 * upgrades have a `setTimeout()` that looks for it, and makes its class a parked class.
 */
import type { IncomingMessage } from 'node:http'
import { type Server, Socket } from 'node:net'
import { webSocketsOf } from '../of-server.js'
import type { WebSockets } from '../web-sockets.js'
import { ConnectionGroup } from './connection-group.js'
import {
  DEFLATE,
  type OpeningWebSocket,
  openingWebSocket,
  plainServerOf,
  prototypeOf,
  type SocketOptions,
  socketOptionsOf
} from './internals.js'
import { type Adopter, kSetSocket, moveProperties, type ParkedWebSocket, parkPrototype } from './parked-class.js'

/** Options of {@link parkUpgrades}. */
export interface UpgradeOptions {
  /** Time without a byte, in ms, after which an awake connection is parked. */
  idle: number
  /** Whether to negotiate permessage-deflate without context takeover. */
  deflate: boolean
}

/** Servers whose WebSockets are parked. */
const servers = new WeakMap<Server, UpgradeOptions>()

/** Parks the WebSockets of `server` that will be opened. */
export function parkUpgrades(server: Server, options: UpgradeOptions): void {
  if (servers.has(server)) return
  servers.set(server, options)
  const { emit } = server
  // Not a listener of `upgrade`: with one, `http` would take every such request for an upgrade.
  const value = function (this: Server, ...args: [event: string, ...unknown[]]): boolean {
    if (args[0] === 'upgrade') onUpgrade(args[1] as IncomingMessage, args[2], options)
    return Reflect.apply(emit, this, args)
  }
  Object.defineProperty(server, 'emit', { value, configurable: true, writable: true })
}

function onUpgrade({ headers }: IncomingMessage, socket: unknown, { deflate }: UpgradeOptions): void {
  if (!(socket instanceof Socket) || plainServerOf(socket) === undefined) return
  const offers = headers['sec-websocket-extensions']
  if (deflate && offers !== undefined) headers['sec-websocket-extensions'] = withoutContext(offers)
  socket.setTimeout = setTimeoutOfUpgrade
}

const PARAMETERS = ['server_no_context_takeover', 'client_no_context_takeover']

/** Adds to the offers of permessage-deflate that neither side keeps its context. A server may answer so unasked. */
function withoutContext(offers: string): string {
  if (offers.includes('"')) return offers
  const adding = (offer: string): string => {
    const [name = '', ...present] = offer.split(';').map((part) => part.trim())
    if (name !== DEFLATE) return offer
    return [offer, ...PARAMETERS.filter((parameter) => !present.includes(parameter))].join('; ')
  }
  return offers.split(',').map(adding).join(',')
}

function setTimeoutOfUpgrade(this: Socket, ms: number, callback?: () => void): Socket {
  const webSocket = openingWebSocket(this)
  if (webSocket !== undefined && !(kSetSocket in webSocket)) parkClassOf(webSocket, this)
  return Socket.prototype.setTimeout.call(this, ms, callback)
}

/** Parks the WebSockets of a class from the given one on, the first that is seen. */
function parkClassOf(webSocket: OpeningWebSocket, socket: Socket): void {
  const prototype = prototypeOf(webSocket)
  const adopter = new UpgradeAdopter(prototype)
  const options = socketOptionsOf(webSocket)
  if (!parkPrototype(prototype, adopter)) return
  moveProperties(webSocket)
  const parked = webSocket as unknown as ParkedWebSocket
  parked.prependOnceListener('open', () => adopter.adopt(parked, socket, Buffer.alloc(0), options))
}

/** Parks the WebSockets of one copy of `ws`, on servers that {@link parkUpgrades} was called for. */
class UpgradeAdopter implements Adopter {
  readonly #prototype: object
  /** For each HTTP server: connections that have the same settings. */
  readonly #groups = new WeakMap<WebSockets, Map<string, ConnectionGroup>>()

  constructor(prototype: object) {
    this.#prototype = prototype
  }

  adopt(webSocket: ParkedWebSocket, socket: Socket, head: Buffer, options: SocketOptions): void {
    const server = plainServerOf(socket)
    const settings = server && servers.get(server)
    // `parkWebSockets()` derives a class of its own, which parks the connection.
    const isDerived = webSocket[kSetSocket] !== (this.#prototype as ParkedWebSocket)[kSetSocket]
    if (server === undefined || settings === undefined || isDerived) return
    const core = webSocketsOf(server)
    if (core !== undefined)
      this.#groupOf(core, webSocket, options, settings.idle).adopt(webSocket, socket, head, options)
  }

  #groupOf(core: WebSockets, webSocket: ParkedWebSocket, options: SocketOptions, idle: number): ConnectionGroup {
    const groups = this.#groups.get(core) ?? new Map<string, ConnectionGroup>()
    this.#groups.set(core, groups)
    const { _autoPong: autoPong, _closeTimeout: closeTimeout } = webSocket
    const { allowSynchronousEvents, maxBufferedChunks, maxFragments, maxPayload, skipUTF8Validation } = options
    const isCompressed = webSocket._extensions[DEFLATE] !== undefined
    const ofServer = { autoPong, closeTimeout, maxPayload, skipUTF8Validation }
    const ofSocket = { allowSynchronousEvents, maxBufferedChunks, maxFragments }
    const key = JSON.stringify([isCompressed, ofServer, ofSocket])
    const group = groups.get(key) ?? new ConnectionGroup(core, ofServer, idle, isCompressed)
    groups.set(key, group)
    return group
  }
}

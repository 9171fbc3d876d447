/** `parkWebSockets()`: a `WebSocketServer` of the package `ws`, with its idle connections parked. */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { warnUnsupported } from '../../park/parking-of.js'
import { addUpgradeOwner } from '../../park/upgrade-owners.js'
import { checkBoolean, checkFunction, checkObject } from '../../sys/arguments.js'
import { milliseconds } from '../../sys/duration.js'
import { invalidArgument, shown } from '../../sys/errors.js'
import { reactorFault } from '../../sys/reactor.js'
import { warnOfUnknown } from '../../sys/unknown.js'
import { webSocketsOf } from '../of-server.js'
import type { WebSockets } from '../web-sockets.js'
import { ConnectionGroup } from './connection-group.js'
import {
  DEFLATE,
  httpServerOf,
  plainServerOf,
  type ServerOptions,
  type SocketOptions,
  type WebSocketClass
} from './internals.js'
import { type KeptRequest, type Moving, type MovingServer, nameOf } from './moving.js'
import { type Adopter, isParked, kGroup, kRow, type ParkedWebSocket, parkedClass } from './parked-class.js'
import { shareHeaders } from './shared-headers.js'

/** Options of {@link parkWebSockets}. All are optional. */
export interface WebSocketParkOptions {
  /**
   * Time without a byte after which an awake connection is parked: milliseconds, or a string with a unit (`'250ms'`,
   * `'5s'`, `'2m'`). Default: `'1s'`.
   */
  idle?: number | string
  /**
   * Whether the server negotiates permessage-deflate without context takeover, so that compressed connections can be
   * parked. Messages are then compressed one by one, which takes no memory between two messages, but compresses similar
   * messages less well. `false`: what `perMessageDeflate` of the `WebSocketServer` says. Without
   * `client_no_context_takeover`, a connection stays awake from the first compressed message that it receives. Default:
   * false.
   */
  deflate?: boolean
  /**
   * Lets connections move to the process that takes over with `handover()`. Called for each parked connection when it
   * is about to move. Returns what the next process needs to know of it: a value that `structuredClone` takes, of at
   * most 16,384 bytes. There, the `WebSocketServer` emits `moved` with a new `WebSocket`, its request, and this value.
   * Both processes need the option. If it throws, the connection stays. Default: connections stay.
   */
  moving?: (webSocket: object) => unknown
}

/** A `WebSocketServer` of the package `ws`, as far as `parkWebSockets()` needs it. */
export interface WebSocketServerLike {
  /** Its options. */
  options: object
  /** Makes a WebSocket of a request. */
  handleUpgrade(...args: never[]): void
}

const OPTIONS = ['idle', 'deflate', 'moving'] as const satisfies (keyof WebSocketParkOptions)[]

/** Default of `idle`, in ms. */
const IDLE = 1000

/** The connections of one `WebSocketServer`. */
class Parker implements Adopter {
  readonly #options: ServerOptions
  readonly #idle: number
  readonly #moves: { server: MovingServer; moving: Moving } | undefined
  /** What is kept of the request on a socket. */
  readonly #requests = new WeakMap<object, KeptRequest>()
  /** For each HTTP server: connections without compression, and with it. */
  readonly #groups = new WeakMap<WebSockets, [ConnectionGroup, ConnectionGroup]>()

  constructor(server: MovingServer, idle: number, moving: Moving | undefined) {
    this.#options = server.options
    this.#idle = idle
    this.#moves = moving && { server, moving }
    const httpServer = httpServerOf(server)
    if (moving === undefined || httpServer === undefined) return
    addUpgradeOwner(httpServer, {
      name: nameOf(server),
      prepare: () => {
        const core = webSocketsOf(httpServer)
        if (core !== undefined) this.#groupsOf(core)[0].join()
      }
    })
  }

  /** Called with each request for an upgrade, and its socket. */
  onRequest({ url = '', rawHeaders }: IncomingMessage, socket: object): void {
    if (this.#moves !== undefined) this.#requests.set(socket, { url, rawHeaders })
  }

  adopt(webSocket: ParkedWebSocket, socket: Socket, head: Buffer, options: SocketOptions): void {
    const server = plainServerOf(socket)
    const core = server && webSocketsOf(server)
    if (core === undefined) return
    const isCompressed = webSocket._extensions[DEFLATE] !== undefined
    this.#groupsOf(core)[isCompressed ? 1 : 0].adopt(webSocket, socket, head, options, this.#requests.get(socket))
  }

  #groupsOf(core: WebSockets): [ConnectionGroup, ConnectionGroup] {
    let groups = this.#groups.get(core)
    if (groups === undefined) {
      groups = [
        new ConnectionGroup(core, this.#options, this.#idle, false, this.#moves),
        new ConnectionGroup(core, this.#options, this.#idle, true)
      ]
      this.#groups.set(core, groups)
    }
    return groups
  }
}

const parked = new WeakSet<object>()

/**
 * Parks the idle connections of a `WebSocketServer` of the package `ws` (8.8 or newer). To the application, the server
 * and its `WebSocket` objects behave as before.
 *
 * ```ts
 * const wss = parkWebSockets(new WebSocketServer({ port: 8080 }), { idle: '5s' })
 * ```
 *
 * Call it before the first connection: it has no effect on connections that are already open. A parked connection has
 * no socket, receiver and sender. It receives and sends whole messages, pings and pongs, and closes, without them. It
 * wakes for a message in fragments or of more than one packet, and when the program asks for `_socket`.
 *
 * Connections of TLS, and connections that are paused, stay awake. So do all connections where parking is not
 * supported; a process warning with code `EBB_UNSUPPORTED` then says why.
 *
 * @returns `server`
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid, for anything that is not a
 *   `WebSocketServer`, and for a server that was passed before
 */
export function parkWebSockets<S extends WebSocketServerLike>(server: S, options: WebSocketParkOptions = {}): S {
  const serverOptions = optionsOf(server)
  checkObject(options, 'options of parkWebSockets()')
  warnOfUnknown(options, OPTIONS, 'parkWebSockets()')
  const { idle = IDLE, deflate = false, moving } = options
  const idleTime = milliseconds(idle, 'idle')
  checkBoolean(deflate, 'deflate')
  checkFunction(moving, 'moving')
  if (parked.has(server)) {
    throw invalidArgument('this WebSocketServer is parked already: call parkWebSockets() once for each server')
  }
  parked.add(server)
  const fault = reactorFault()
  if (fault !== undefined) warnUnsupported('parkWebSockets()', fault, 'WebSockets stay awake, as with ws alone')
  const parker = new Parker(server as unknown as MovingServer, idleTime, moving)
  serverOptions.WebSocket = parkedClass(serverOptions.WebSocket as WebSocketClass, parker)
  shareHeadersOf(server, parker)
  if (deflate && serverOptions.perMessageDeflate) {
    serverOptions.perMessageDeflate = {
      ...(serverOptions.perMessageDeflate as object),
      serverNoContextTakeover: true,
      clientNoContextTakeover: true
    }
  }
  return server
}

/** Has the requests of a server share their headers, before its listeners can keep them. */
function shareHeadersOf(server: WebSocketServerLike, parker: Parker): void {
  const { handleUpgrade } = server as unknown as Record<'handleUpgrade', (...args: unknown[]) => void>
  const value = function (this: WebSocketServerLike, ...args: unknown[]): void {
    shareHeaders(args[0] as IncomingMessage)
    parker.onRequest(args[0] as IncomingMessage, args[1] as object)
    Reflect.apply(handleUpgrade, this, args)
  }
  Object.defineProperty(server, 'handleUpgrade', { value, enumerable: false, configurable: true, writable: true })
}

function optionsOf(server: unknown): ServerOptions {
  const { options } = (server ?? {}) as { options?: ServerOptions }
  if (typeof options?.WebSocket === 'function') return options
  throw invalidArgument(
    `parkWebSockets() takes a WebSocketServer of the package ws, 8.8 or newer, not ${shown(server)}`
  )
}

/**
 * Whether the connection of a `WebSocket` is parked now.
 *
 * ```ts
 * const parked = [...wss.clients].filter(isWebSocketParked).length
 * ```
 */
export function isWebSocketParked(webSocket: object): boolean {
  return kRow in webSocket && isParked(webSocket as ParkedWebSocket)
}

/** Parks the connection of a `WebSocket` now, for tests. @returns whether it is parked */
export function parkWebSocket(webSocket: object): boolean {
  if (!(kGroup in webSocket)) return false
  const known = webSocket as ParkedWebSocket
  return known[kGroup]?.park(known) === true
}

/** The class of a `WebSocketServer`. */
type ServerClass<S> = new (...args: never[]) => S

/**
 * Derives a class whose instances are parked with {@link parkWebSockets}, for programs that make their
 * `WebSocketServer` themselves from a class they are given, as socket.io and engine.io do.
 *
 * ```ts
 * const io = new Server(server, { wsEngine: parkedWebSocketServer(WebSocketServer, { idle: '5s' }) })
 * ```
 */
export function parkedWebSocketServer<C extends ServerClass<WebSocketServerLike>>(
  WebSocketServer: C,
  options: WebSocketParkOptions = {}
): C {
  const Base = WebSocketServer as unknown as new (...args: unknown[]) => WebSocketServerLike
  class Parked extends Base {
    constructor(...args: unknown[]) {
      super(...args)
      parkWebSockets(this, options)
    }
  }
  Object.defineProperty(Parked, 'name', { value: WebSocketServer.name })
  return Parked as unknown as C
}

/** `hibernate()`: a WebSocket server without an object for any connection. */
import { once } from 'node:events'
import { createServer, Server, type ServerResponse } from 'node:http'
import type { GovernorOptions } from '../../govern/connection-governor.js'
import { park } from '../../park/park.js'
import { parkingOf } from '../../park/parking-of.js'
import { openUnownedSocket, removeFile, SOCKET_OPTIONS, type SocketOptions } from '../../socket/listening-socket.js'
import type { ProxyProtocolOptions } from '../../socket/proxy-protocol.js'
import { checkBoolean, checkObject } from '../../sys/arguments.js'
import { IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_NODELAY } from '../../sys/constants.js'
import { invalidArgument, shown } from '../../sys/errors.js'
import { reactor } from '../../sys/reactor.js'
import { closeDescriptor, setOption } from '../../sys/socket.js'
import { warnOfUnknown } from '../../sys/unknown.js'
import { GOING_AWAY } from '../frames.js'
import { checkClose, checkData, type WebSocketConnection } from './connection.js'
import { Hub } from './hub.js'
import { Opening } from './opening.js'
import { checkHandlers, type HibernateHandlers, type HibernateOptions, settingsOf } from './options.js'
import { checkTag } from './tags.js'

/**
 * Where {@link hibernate} listens, if it is not given a server. Exactly one of `port` and `path` is required, unless
 * `listen` is false.
 */
export interface HibernateListenOptions extends SocketOptions {
  /** False if `handover()`, or `hub.server.listen()`, is to choose where to listen, and when. Default: true. */
  listen?: boolean
  /**
   * Whether connections begin with a header of the PROXY protocol, with which a balancer tells the client's address: as
   * in `park()`. Default: false.
   */
  proxyProtocol?: boolean | ProxyProtocolOptions
  /**
   * Whether to release memory to the operating system when many connections have closed: as in `park()`. Default: true.
   */
  giveBack?: boolean | GovernorOptions
}

const LISTEN_OPTIONS = Object.keys({
  ...SOCKET_OPTIONS,
  listen: 0,
  proxyProtocol: 0,
  giveBack: 0
} satisfies Record<keyof HibernateListenOptions, 0>)

/** The WebSocket connections of one server. Made by {@link hibernate}. */
export interface Hibernation<A = unknown> {
  /** The HTTP server: the one that was given, or one of its own, which answers other requests with status 426. */
  readonly server: Server
  /** Number of open connections. */
  readonly size: number
  /** Returns the connection with this id; undefined if it is closed. */
  get(id: number): WebSocketConnection<A> | undefined
  /**
   * The open connections, or those that have `tag` when the walk begins. Connections may come and go meanwhile. Those
   * that have closed are left out.
   *
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `tag` is not a string
   */
  sockets(tag?: string): IterableIterator<WebSocketConnection<A>>
  /** Returns how many connections are open, or have `tag`. It takes no time. */
  count(tag?: string): number
  /**
   * Sends a message to all connections, or to those that have `tag`: a string as text, bytes as binary.
   *
   * It works in slices of a few ms, and the event loop goes on in between. Broadcasts run one after the other. A
   * connection that is opened, or whose tags change, meanwhile may or may not get the message. What is sent with
   * `send()` meanwhile may arrive first.
   *
   * @returns how many connections the message was sent to
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` (rejects) for anything but a string or a `Uint8Array`, or a tag that is
   *   not a string
   */
  broadcast(data: string | Uint8Array, tag?: string): Promise<number>
  /** Returns when the connection last got an automatic response; undefined if it has got none, or is closed. */
  autoResponseTimestamp(id: number): Date | undefined
  /**
   * Takes no more connections, and begins the closing handshake of all that are open. A server of its own stops
   * listening.
   *
   * @param code of the close frame. Default: 1001, going away
   * @returns a promise that resolves when all connections are closed, at the latest after `closeTimeout`
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` (rejects) as {@link WebSocketConnection.close}
   */
  close(code?: number, reason?: string): Promise<void>
}

/**
 * Serves WebSockets that have no object. A connection is a row of numbers and a bare descriptor, also while it receives
 * and sends messages. The handlers are shared by all connections.
 *
 * ```ts
 * const hub = hibernate({ port: 8080 }, {
 *   upgrade: ({ headers }) => headers.origin === 'https://example.org' && { tags: ['news'], attachment: { seen: 0 } },
 *   message: (socket, data) => hub.broadcast(data, 'news')
 * })
 * ```
 *
 * With an `http.Server`, which may serve Express or Fastify, it takes the requests for WebSockets. With options of its
 * own port, it listens when this function returns, and does handshakes while connections are parked.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`, `ERR_MISSING_ARGS` for arguments that are not valid
 * @throws {SystemError} EADDRINUSE, EACCES, EMFILE, ... of `socket`, `bind` or `listen`
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED` where connections cannot be parked
 */
export function hibernate<A = unknown>(
  server: Server | HibernateListenOptions,
  handlers: HibernateHandlers<A> = {},
  options: HibernateOptions = {}
): Hibernation<A> {
  checkTarget(server)
  checkHandlers(handlers)
  const settings = settingsOf(options)
  // Throws if connections cannot be parked.
  reactor()
  const hub = new Hub(handlers, settings)
  const own = server instanceof Server ? undefined : serve(server)
  const http = own?.server ?? (server as Server)
  const { upgrade } = handlers
  const opening = new Opening(http, hub, {
    path: settings.path,
    upgrade: upgrade && ((...args) => handlers.upgrade?.(...args))
  })
  const upgrades = own && parkingOf(http)?.upgrades
  if (upgrades !== undefined) opening.whileParked(upgrades)
  let closed: Promise<void> | undefined
  return {
    server: http,
    get size() {
      return hub.size
    },
    get: (id) => hub.get(id),
    sockets(tag) {
      checkTag(tag)
      return hub.sockets(tag)
    },
    count(tag) {
      checkTag(tag)
      return tag === undefined ? hub.size : hub.count(tag)
    },
    async broadcast(data, tag) {
      checkData(data)
      checkTag(tag)
      return await hub.broadcast(data, tag)
    },
    autoResponseTimestamp: (id) => hub.autoResponseTimestamp(id),
    async close(code = GOING_AWAY, reason) {
      const frame = checkClose(code, reason)
      closed ??= end(opening, hub, own, frame)
      await closed
    }
  }
}

/** A server that {@link hibernate} has made. */
interface OwnServer {
  server: Server
  /** Path of a Unix socket. */
  path?: string | undefined
}

async function end<A>(
  opening: Opening<A>,
  hub: Hub<A>,
  own: OwnServer | undefined,
  frame: [code: number, reason: Uint8Array]
): Promise<void> {
  opening.close()
  const isListening = own?.server.listening === true
  if (isListening) {
    removeFile(own)
    own.server.close()
  }
  const isClosed = isListening ? once(own.server, 'close') : undefined
  await hub.closeAll(...frame)
  await isClosed
}

/** Makes a server. Unless `listen` is false, it listens when this returns. */
function serve(options: HibernateListenOptions): OwnServer {
  const { noDelay = true, keepAlive = false, listen = true, proxyProtocol, giveBack, backlog } = options
  checkBoolean(listen, 'listen')
  if (!listen) checkNoAddress(options)
  const server = park(createServer({ noDelay, keepAlive }), {
    ...(proxyProtocol !== undefined && { proxyProtocol }),
    ...(giveBack !== undefined && { giveBack })
  })
  server.on('request', (_, response: ServerResponse) => {
    // The program may answer requests itself.
    if (server.listenerCount('request') > 1) return
    response.writeHead(426, { Connection: 'close, Upgrade', Upgrade: 'websocket' }).end('Upgrade Required')
  })
  if (!listen) {
    server.on('listening', () => setOptions(server, noDelay, keepAlive))
    return { server }
  }
  const socket = openUnownedSocket(options)
  try {
    // The server owns the descriptor from here on.
    server.listen({ fd: socket.fd, exclusive: true, backlog: backlog ?? socket.backlog })
  } catch (error) {
    closeDescriptor(socket.fd)
    throw error
  }
  return { server, path: socket.path }
}

/** Sets the options of connections on the listening socket: they inherit them, also those that stay parked. */
function setOptions(server: Server, noDelay: boolean, keepAlive: boolean): void {
  const fd = parkingOf(server)?.listeningDescriptor ?? -1
  if (fd === -1 || typeof server.address() === 'string') return
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, noDelay ? 1 : 0)
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, keepAlive ? 1 : 0)
}

function checkNoAddress(options: HibernateListenOptions): void {
  for (const name of ['port', 'host', 'path', 'backlog', 'ipv6Only', 'reusePort'] as const) {
    if (options[name] !== undefined) throw invalidArgument(`${name} of hibernate() needs listen: true`)
  }
}

function checkTarget(target: unknown): void {
  if (target instanceof Server) return
  if (target !== null && typeof target === 'object' && 'listen' in target && typeof target.listen === 'function') {
    const remedy = 'a proxy has to terminate TLS, because a connection whose keys are in the process cannot be parked'
    throw invalidArgument(`hibernate() takes an http.Server, not ${shown(target)}; ${remedy}`)
  }
  checkObject(target, 'server of hibernate(), an http.Server or options such as { port: 8080 },')
  warnOfUnknown(target as object, LISTEN_OPTIONS, 'hibernate()')
}

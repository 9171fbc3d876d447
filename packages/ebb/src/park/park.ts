/** `park()`: any `net`, `http`, `https` or `tls` server, with its idle connections as bare descriptors in epoll. */
import type { ServerResponse } from 'node:http'
import { Server, type Socket } from 'node:net'
import { Governor, type GovernorOptions } from '../govern/connection-governor.js'
import { tuneAllocator } from '../memory/thresholds.js'
import { ATTACHMENT_LIMIT } from '../socket/attachments.js'
import type { ProxyProtocolOptions } from '../socket/proxy-protocol.js'
import type { ShutdownOptions, ShutdownReport } from '../socket/shutdown.js'
import { checkFromZero, checkFunction, checkId, checkObject } from '../sys/arguments.js'
import { milliseconds } from '../sys/duration.js'
import { EbbError, invalidArgument, shown, warn } from '../sys/errors.js'
import { reactorFault } from '../sys/reactor.js'
import { warnOfUnknown } from '../sys/unknown.js'
import { type Connection, connectionOf } from './connection.js'
import { withoutForwarding } from './detached-socket.js'
import { hookListen } from './listen-hook.js'
import { watchChannels } from './node/ipc.js'
import { closeOutside, onSecureConnection, type ServerInternals } from './node/server.js'
import { lookBeforeTimeout } from './node/socket.js'
import { Parking } from './parking.js'
import { knownParking, RELEASE_THRESHOLDS, setParking, warnUnsupported } from './parking-of.js'
import { isHttp, isTls } from './protocol/kind.js'
import type { QueueLimit } from './sender.js'
import { ParkedShutdown } from './shutdown.js'
import type { ParkStats } from './stats.js'

/** Options of {@link park}. All are optional. */
export interface ParkOptions {
  /**
   * Idle time after which an awake connection is parked again: milliseconds, or a string with a unit (`'250ms'`,
   * `'5s'`, `'2m'`). `false`: never. Default: `'1s'` for HTTP, between two requests; `false` for other servers, because
   * their `connection` listeners may not expect a second call for the same connection.
   *
   * Connections of TLS and HTTP/2, and connections after an upgrade, are never parked again.
   */
  idle?: number | string | false
  /**
   * Which side sends the first byte. With `'server'` (SMTP, SSH), a connection is awake from the start. Default:
   * `'client'`.
   */
  first?: 'client' | 'server'
  /**
   * Time after which a connection that has not sent a byte is closed: milliseconds, or a string with a unit as in
   * `idle`. `false`: never. Default: the timeout that `connection` listeners set on sockets (`socket.setTimeout()` with
   * a listener of `timeout`). If no client has spoken within 1 s after the first one has connected, the listeners are
   * called for one silent client, once for each server, because only they know this timeout.
   *
   * Only for servers of `net` and `http2`, with `first: 'client'`. Servers of HTTP and TLS have `headersTimeout` and
   * `handshakeTimeout`.
   */
  firstByteTimeout?: number | string | false
  /** Maximum size of a serialised attachment, in bytes. Default: 16384. */
  attachmentLimit?: number
  /**
   * Maximum number of bytes that {@link Parked.send} and {@link Parked.broadcast} let wait for one connection, because
   * its peer reads slowly. Bytes that nothing waits before are taken in any case, so one message may be larger.
   * `Infinity`: no limit. Default: 16 MiB for streams, and no limit for other connections, as with `socket.write()`.
   */
  maxQueued?: number
  /**
   * What happens at `maxQueued`: `'close'` closes the connection with a RST, and releases what waits for it; `'drop'`
   * drops the new bytes, always a whole call. In both cases `send()` returns false. Default: `'close'`.
   */
  overflow?: 'close' | 'drop'
  /**
   * Names of properties of a socket (`request.socket`) that survive sleep: the next socket of the connection gets them,
   * before `connection` is emitted. The values are kept by reference, with all that they refer to, while the connection
   * is parked. A property that is not named here is lost. Default: none.
   */
  carry?: (string | symbol)[]
  /**
   * Whether connections begin with a header of the PROXY protocol (version 1 or 2), with which a balancer tells the
   * client's address. `true`: all connections. An object: those {@link ProxyProtocolOptions.from} trusted networks; the
   * bytes of others are taken as they are. Default: false.
   *
   * Every socket of such a connection has the client's `remoteAddress`, `remotePort` and `remoteFamily`, and
   * `localAddress` and `localPort` are those that the client has connected to. A connection without a valid header is
   * closed, and the server emits `proxyError`.
   */
  proxyProtocol?: boolean | ProxyProtocolOptions
  /**
   * Whether to release memory to the operating system when many connections were parked or closed. `false`: never.
   * Default: true, with the {@link GovernorOptions} `least: 500` and `worth: 2_000_000` (2 MB).
   */
  giveBack?: boolean | GovernorOptions
}

/** What a parked server has in addition to its own methods. */
export interface Parked {
  /**
   * Whether connections can be parked. False without Linux or koffi: then the server runs as a plain Node server, and
   * all of this works on awake connections.
   */
  readonly supported: boolean
  /** Returns the figures of this server. */
  stats(): ParkStats
  /** Returns the connection behind a socket; undefined for a socket of another server. */
  connection(socket: Socket): Connection | undefined
  /**
   * Sends bytes to a connection, parked or awake.
   *
   * A parked connection stays parked, unless the kernel does not take all bytes at once. Then it is woken, and its new
   * socket sends the rest before anything else. As with `socket.write()`, `bytes` must not be changed while they may
   * still be buffered for an awake connection.
   *
   * @returns false when the connection is closed or broken. Always false for a server of TLS, because only its sockets
   *   can encrypt.
   */
  send(id: number, bytes: string | Uint8Array): boolean
  /**
   * Sends bytes to all connections; of an HTTP server, to its streams only.
   *
   * It works in slices of a few ms, and the event loop goes on in between. Broadcasts run one after the other. A
   * connection that is accepted meanwhile may or may not get the bytes. Bytes given to {@link send} meanwhile may
   * arrive first.
   *
   * @param filter called with the id of each connection; false leaves the connection out
   * @returns how many connections the bytes were sent to
   */
  broadcast(bytes: string | Uint8Array, filter?: (id: number) => boolean): Promise<number>
  /** Closes one connection, parked or awake. Bytes that are still buffered are lost. @returns false if it was closed */
  closeConnection(id: number): boolean
  /**
   * Closes all connections, parked and awake, as `http.Server` does. If the server was closed before, it emits `close`
   * after this.
   */
  closeAllConnections(): void
  /**
   * Shuts the server down, and loses no request that it can still answer.
   *
   * The server takes the connections that wait in the kernel's accept queue, and stops listening. Open connections may
   * go on for the {@link ShutdownOptions.grace}. Each HTTP response is the last one of its connection (`Connection:
   * close`); HTTP/2 clients are told with GOAWAY. When the grace is over, all other connections are closed.
   *
   * While a shutdown goes on, another call returns the same promise, and its options are ignored.
   *
   * ```ts
   * process.once('SIGTERM', async () => {
   *   console.log(await server.shutdown({ grace: '20s' }))
   * })
   * ```
   *
   * @returns a promise that resolves when the last connection is closed. A server that does not listen and has no
   *   connections is shut down at once.
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid; the server then goes on
   */
  shutdown(options?: ShutdownOptions): Promise<ShutdownReport>
  /** Returns how many bytes wait for a peer that reads slowly; 0 for a parked or closed connection. */
  queued(id: number): number
  /**
   * Makes the connection of an HTTP response a stream without end (server-sent events), and parks it.
   *
   * Sends the headers and finishes `response`. After that, {@link send} and {@link broadcast} send to the stream, and
   * what the client sends is dropped. The stream lasts until either side closes. The response to a HEAD request is
   * ended, and its connection does not become a stream.
   *
   * @throws {EbbError} `ERR_HTTP_HEADERS_SENT` if the headers are sent, or have a Content-Length
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if the response belongs to another server, is ended, or is not the
   *   connection's current one (a pipelined request)
   */
  stream(response: ServerResponse): Connection
}

/** Names of the options of {@link park}. */
export const PARK_OPTIONS = [
  'idle',
  'first',
  'firstByteTimeout',
  'attachmentLimit',
  'carry',
  'maxQueued',
  'overflow',
  'proxyProtocol',
  'giveBack'
] as const satisfies (keyof ParkOptions)[]

/** Default of `idle` for HTTP, in ms. */
const HTTP_IDLE = 1000

/**
 * Parks the connections of `server`: new ones until their first byte, and those of HTTP also between two requests. To
 * the application, the server behaves as before.
 *
 * ```ts
 * park(http.createServer(app), { idle: '5s' }).listen(8080)
 * ```
 *
 * Listeners of `connection` get the {@link Connection} as a second argument. When a connection that was awake at least
 * once is closed, the server emits `disconnect` with the connection and the cause.
 *
 * If connections cannot be parked, `supported` is false, and a process warning with code `EBB_UNSUPPORTED` says why.
 *
 * @returns `server`
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED` with `proxyProtocol`, if connections cannot be parked
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid, for anything that is not a `net.Server`,
 *   and for a server that is already parked
 */
export function park<S extends Server>(server: S, options: ParkOptions = {}): S & Parked {
  return parkFor('park()', server, options)
}

/** Does what {@link park} does, for a public function whose name warnings have. */
export function parkFor<S extends Server>(caller: string, server: S, options: ParkOptions): S & Parked {
  checkServer(server)
  checkObject(options, 'options of park()')
  warnOfUnknown(options, PARK_OPTIONS, 'park()')
  const parking = preloaded.get(server)
  if (parking !== undefined) {
    checkIgnored(options)
    preloaded.delete(server)
    return Object.assign(server, toParked(server, parking, true))
  }
  const { parking: made, supported } = start(caller, server, options)
  return Object.assign(server, toParked(server, made, supported))
}

/** Servers that {@link parkAsIs} has parked, and `park()` was not called for. */
const preloaded = new WeakMap<Server, Parking>()

/**
 * Parks the connections of a server for a program that does not know of it. The server gets none of the methods of
 * {@link Parked}, which may have the names of its own. Where connections cannot be parked, the server stays as it is.
 *
 * @returns whether connections are parked; false also for a server that is parked already
 */
export function parkAsIs(server: Server, options: ParkOptions): boolean {
  // The program may have another copy of this module.
  if (reactorFault() !== undefined || knownParking(server) !== undefined || 'supported' in server) return false
  const { parking } = start('ebb/park', server, options)
  preloaded.set(server, parking)
  if (isHttp(server)) {
    const { closeAllConnections } = toParked(server, parking, true)
    Object.assign(server, { closeAllConnections })
  }
  return true
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` for an option without which the server would not work */
function checkIgnored(options: ParkOptions): void {
  const names = PARK_OPTIONS.filter((name) => options[name] !== undefined)
  if (names.length === 0) return
  const problem = `ebb/park has parked this server when it began to listen: call park() before listen(), for`
  if (options.proxyProtocol) throw invalidArgument(`${problem} proxyProtocol to have an effect`)
  warn('EBB_OPTIONS_IGNORED', `${problem} ${names.join(', ')} to have an effect`)
}

/** Starts to park the connections of `server`. */
function start(caller: string, server: Server, options: ParkOptions): { parking: Parking; supported: boolean } {
  const { idle, first = 'client', firstByteTimeout, attachmentLimit = ATTACHMENT_LIMIT, giveBack = true } = options
  if (first !== 'client' && first !== 'server') {
    throw invalidArgument(`first must be 'client' or 'server', not ${shown(first)}`)
  }
  if (firstByteTimeout !== undefined && firstByteTimeout !== false) checkSilence(server, first)
  if (!Number.isInteger(attachmentLimit) || attachmentLimit < 0) {
    throw invalidArgument(`attachmentLimit must be a whole number of bytes from 0 on, not ${shown(attachmentLimit)}`)
  }
  if (typeof giveBack !== 'boolean') checkObject(giveBack, 'giveBack that is neither true nor false')
  const http = isHttp(server)
  const idleTime = idle === undefined ? http && HTTP_IDLE : idle
  const internals = server as unknown as ServerInternals
  const parking = new Parking(internals, {
    idle: idleTime === false ? undefined : milliseconds(idleTime, 'idle'),
    first,
    firstByteTimeout: toTime(firstByteTimeout),
    attachmentLimit,
    carry: carriedNames(options.carry),
    ...queueLimit(options),
    proxyProtocol: options.proxyProtocol,
    governor:
      giveBack === false ? undefined : new Governor({ ...RELEASE_THRESHOLDS, ...(giveBack === true ? {} : giveBack) })
  })
  const fault = reactorFault()
  const supported = fault === undefined
  // A plain server would take the headers for requests, and trust the balancer's address.
  if (!supported && options.proxyProtocol) {
    throw new EbbError('ERR_EBB_UNSUPPORTED', `proxyProtocol does not work here: ${fault}`)
  }
  if (supported) {
    tuneAllocator({ timer: true })
    watchChannels(presentSocket)
    hookListen(internals, parking)
    setParking(server, parking)
    closeOutside(internals)
    if (isTls(server)) onSecureConnection(server, lookBeforeTimeout)
  } else {
    warnUnsupported(caller, fault, 'the server runs as plain Node')
    server.prependListener('connection', (socket: Socket) => parking.adopt(socket))
  }
  if (http) closeParkedAsIdle(server as HttpServer, parking)
  return { parking, supported }
}

/** Returns the open socket of a connection; `socket` itself if there is no other. */
function presentSocket(socket: Socket): Socket {
  return (socket.destroyed ? connectionOf(socket)?.presentSocket() : undefined) ?? socket
}

/** @returns ms; 0: never; undefined: not set */
function toTime(firstByteTimeout: ParkOptions['firstByteTimeout']): number | undefined {
  if (firstByteTimeout === undefined) return undefined
  return firstByteTimeout === false ? 0 : milliseconds(firstByteTimeout, 'firstByteTimeout')
}

function queueLimit({ maxQueued, overflow = 'close' }: ParkOptions): QueueLimit {
  if (maxQueued !== undefined) checkFromZero(maxQueued, 'maxQueued', 'bytes')
  if (overflow !== 'close' && overflow !== 'drop') {
    throw invalidArgument(`overflow must be 'close' or 'drop', not ${shown(overflow)}`)
  }
  return { maxQueued, overflow }
}

function carriedNames(carry: unknown): (string | symbol)[] {
  const names: unknown = carry ?? []
  const isName = (name: unknown): boolean => typeof name === 'symbol' || (typeof name === 'string' && name !== '')
  if (Array.isArray(names) && names.every(isName)) return [...(names as string[])]
  throw invalidArgument(`carry must be a list of names of properties, such as ['user'], not ${shown(carry)}`)
}

function checkServer(server: unknown): void {
  if (!(server instanceof Server)) {
    const remedy = 'http.createServer(app) makes a server of an application'
    throw invalidArgument(`park() takes a server of net, tls, http, https or http2, not ${shown(server)}; ${remedy}`)
  }
  if ('supported' in server) throw invalidArgument('this server is parked already: call park() once for each server')
}

/** Checks that `firstByteTimeout` means something for this server. */
function checkSilence(server: Server, first: 'client' | 'server'): void {
  if (first === 'server') {
    throw invalidArgument("firstByteTimeout needs first: 'client': with 'server', use socket.setTimeout()")
  }
  const own = isTls(server) ? 'handshakeTimeout' : isHttp(server) ? 'headersTimeout' : undefined
  if (own !== undefined) throw invalidArgument(`firstByteTimeout is for servers of net and http2: set ${own} here`)
}

function toParked(server: Server, parking: Parking, supported: boolean): Parked {
  const { access } = parking
  const shutdown = new ParkedShutdown(server as unknown as ServerInternals, parking)
  const closeAwake = isHttp(server) ? (server as HttpServer).closeAllConnections : undefined
  return {
    supported,
    stats: () => parking.stats(),
    connection: (socket: Socket) => access.connection(socket),
    closeConnection(id: number) {
      checkId(id)
      return access.closeConnection(id)
    },
    queued(id: number) {
      checkId(id)
      return access.queued(id)
    },
    send(id: number, bytes: string | Uint8Array) {
      checkId(id)
      return access.send(id, bytes)
    },
    async broadcast(bytes: string | Uint8Array, filter?: (id: number) => boolean) {
      checkFunction(filter, 'filter of broadcast()')
      return await parking.broadcast(bytes, filter)
    },
    shutdown: (options?: ShutdownOptions) => shutdown.start(options),
    stream: (response: ServerResponse) => parking.stream(response),
    closeAllConnections() {
      // The method of `http` leaves out connections after an upgrade.
      if (closeAwake === undefined) access.closeAwake()
      else closeAwake.call(server)
      access.closeParked()
    }
  }
}

interface HttpServer extends Server {
  closeIdleConnections(): void
  closeAllConnections(): void
}

/** Makes `closeIdleConnections()` close parked connections as well. */
function closeParkedAsIdle(server: HttpServer, parking: Parking): void {
  const { closeIdleConnections } = server
  server.closeIdleConnections = () => {
    if (parking.keepsIdle) return
    withoutForwarding(() => closeIdleConnections.call(server))
    parking.closeIdle()
  }
}

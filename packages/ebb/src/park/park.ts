/** `park()`: any `net`, `http`, `https` or `tls` server, with its silent connections as bare descriptors in epoll. */
import type { ServerResponse } from 'node:http'
import type { Server, Socket } from 'node:net'
import { Governor, type GovernorOptions } from '../govern/connection-governor.js'
import { tuneAllocator } from '../memory/thresholds.js'
import { milliseconds } from '../sys/duration.js'
import { invalidArgument } from '../sys/errors.js'
import { reactor } from '../sys/reactor.js'
import type { Connection } from './connection.js'
import { takeListening } from './listen-hook.js'
import type { ServerInside } from './node/socket.js'
import { Parking, type ParkStats } from './parking.js'
import { isHttp } from './protocol/protocol.js'

/** All optional. */
export interface ParkOptions {
  /**
   * Time without a byte after which an awake connection is parked again: ms, or a text with a unit (`'250ms'`, `'5s'`, `'2m'`).
   * `false`: never. Default: `'1s'` for HTTP between two requests; never for others, whose listener does not expect to be called again.
   * Connections of TLS, HTTP/2, and those that were upgraded stay awake.
   */
  idle?: number | string | false
  /** Who speaks first. `'server'` (SMTP, SSH): a connection is awake from the start. Default: `'client'`. */
  first?: 'client' | 'server'
  /** Bytes of an attachment, serialised, at most. Default: 16384. */
  attachmentLimit?: number
  /** Give memory back when many have gone to sleep, or away. `false`: never. Default: true, from 500 sockets and 2 MB on. */
  giveBack?: boolean | GovernorOptions
}

/** What a parked server has besides its own. */
export interface Parked {
  /** Connections are parked. False (not Linux, no koffi): the server runs as plain Node, and all of this works on awake connections. */
  readonly supported: boolean
  stats(): ParkStats
  /** The connection behind a socket of this server. */
  connection(socket: Socket): Connection | undefined
  /**
   * Sends bytes to a connection, asleep or awake. One that sleeps is not woken, unless the kernel does not take all at once: then
   * its new socket sends the rest before anything else. As with `socket.write()`, `bytes` is not to be changed while it may be on its way
   * to an awake connection.
   *
   * @returns false when the connection is gone, or broken; for a server of TLS, whose sockets alone can encrypt
   */
  send(id: number, bytes: string | Uint8Array): boolean
  /**
   * Sends bytes to all connections, in slices between which the event loop goes on; of an HTTP server, to its streams. One broadcast
   * begins when the one before is through. Those that connect meanwhile may get it or not; what is sent to one of them
   * by {@link send} meanwhile may come first.
   *
   * @param filter asked for each, by id
   * @returns to how many it was sent
   */
  broadcast(bytes: string | Uint8Array, filter?: (id: number) => boolean): Promise<number>
  /** Closes one connection, asleep or awake; what is buffered for it is lost. False: it was gone. */
  closeConnection(id: number): boolean
  /**
   * Closes all connections, asleep and awake; a server that was closed before ends by that. As `http.Server` has it, for every
   * server.
   */
  closeAllConnections(): void
  /** Bytes that wait for a peer that reads slowly; 0 for one that sleeps, or is gone. */
  queued(id: number): number
  /**
   * HTTP only: makes the connection of a response a stream of bytes without end (server-sent events), and parks it. Sends the
   * headers, and finishes `response`. A response to HEAD is ended, and its connection is no stream. What follows goes out by {@link send} and
   * {@link broadcast}; what the client sends is dropped; the stream lasts until either side closes.
   *
   * @throws `ERR_HTTP_HEADERS_SENT` when the headers are sent, or have a length; TypeError for a response of another server, one that is
   *   ended, and one that waits behind another (a pipelined request)
   */
  stream(response: ServerResponse): Connection
}

const HTTP_IDLE = 1000
/** A give-back makes what comes next slower for a while: a hundred busy connections that end are no reason for it. */
const GIVE_BACK: GovernorOptions = { least: 500, worth: 2_000_000 }
const ATTACHMENT_LIMIT = 16_384

/**
 * Parks the connections of `server`: a new one until its first byte; one of HTTP between two requests, too. To the application it
 * is the server that it was.
 *
 * ```ts
 * park(http.createServer(app), { idle: '5s' }).listen(8080)
 * ```
 *
 * Listeners of `connection` get a second argument, the {@link Connection}. Emits `disconnect` (connection, cause) when one that was
 * ever awake is gone, asleep or awake.
 *
 * Where connections cannot be parked, a process warning with code `EBB_UNSUPPORTED` says why, and `supported` is false.
 *
 * @returns `server`
 * @throws TypeError for options that cannot be, and for a server that is parked already
 */
export function park<S extends Server>(server: S, options: ParkOptions = {}): S & Parked {
  const { idle, first = 'client', attachmentLimit = ATTACHMENT_LIMIT, giveBack = true } = options
  if ('supported' in server) throw invalidArgument('this server is parked already')
  if (first !== 'client' && first !== 'server') {
    throw invalidArgument(`first must be 'client' or 'server', not ${JSON.stringify(first)}`)
  }
  if (!Number.isInteger(attachmentLimit) || attachmentLimit < 0) {
    throw invalidArgument(`attachmentLimit must be a whole number of bytes from 0 on, not ${attachmentLimit}`)
  }
  const http = isHttp(server)
  const silence = idle ?? (http ? HTTP_IDLE : false)
  const inside = server as unknown as ServerInside
  const parking = new Parking(inside, {
    idle: silence === false ? undefined : milliseconds(silence, 'idle'),
    first,
    attachmentLimit,
    governor: giveBack === false ? undefined : new Governor({ ...GIVE_BACK, ...(giveBack === true ? {} : giveBack) })
  })
  const supported = isSupported()
  if (supported) {
    tuneAllocator({ timer: true })
    takeListening(inside, parking)
  } else server.prependListener('connection', (socket: Socket) => parking.adopt(socket))
  const closeAwake = http ? (server as unknown as HttpServer).closeAllConnections : undefined
  const parked: Parked = {
    supported,
    stats: () => parking.stats(),
    connection: (socket: Socket) => parking.connection(socket),
    closeConnection: (id: number) => parking.close(id),
    queued: (id: number) => parking.queued(id),
    send: (id: number, bytes: string | Uint8Array) => parking.send(id, bytes),
    broadcast: (bytes: string | Uint8Array, filter?: (id: number) => boolean) => parking.broadcast(bytes, filter),
    stream: (response: ServerResponse) => parking.stream(response),
    closeAllConnections() {
      // Of `http`: those that were upgraded are not its own any more.
      if (closeAwake === undefined) parking.closeAwake()
      else closeAwake.call(server)
      parking.closeParked()
    }
  }
  if (http) countIdle(server as unknown as HttpServer, parking)
  return Object.assign(server, parked)
}

let warned = false

function isSupported(): boolean {
  try {
    reactor()
    return true
  } catch (error) {
    if (!warned)
      process.emitWarning(`${(error as Error).message}; the server runs as plain Node`, { code: 'EBB_UNSUPPORTED' })
    warned = true
    return false
  }
}

interface HttpServer extends Server {
  closeIdleConnections(): void
  closeAllConnections(): void
}

/** Parked connections are idle ones. */
function countIdle(server: HttpServer, parking: Parking): void {
  const { closeIdleConnections } = server
  server.closeIdleConnections = () => {
    closeIdleConnections.call(server)
    parking.closeIdle()
  }
}

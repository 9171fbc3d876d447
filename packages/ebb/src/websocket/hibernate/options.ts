/** Options and handlers of `hibernate()`, and their checks. */
import { checkFromZero, checkFunction, checkObject } from '../../sys/arguments.js'
import { milliseconds } from '../../sys/duration.js'
import type { EbbError } from '../../sys/errors.js'
import { invalidArgument, shown } from '../../sys/errors.js'
import { warnOfUnknown } from '../../sys/unknown.js'
import { type AutoResponse, AutoResponses } from './auto-response.js'
import type { WebSocketConnection } from './connection.js'
import type { UpgradeRequest, UpgradeResult } from './handshake.js'

/** The peer of a connection broke the protocol. */
export interface WebSocketError extends EbbError {
  code: 'ERR_EBB_WEBSOCKET'
  /** Code of the close frame that the peer gets: 1002 (protocol), 1007 (UTF-8) or 1009 (too long). */
  closeCode: number
}

/**
 * Handlers of {@link hibernate}, shared by all connections. All are optional. `A` is the type of attachments.
 *
 * Each runs in the context of its connection: no store of an `AsyncLocalStorage` gets from one connection to another.
 * An exception becomes an `uncaughtException`, and the connection stays open.
 */
export interface HibernateHandlers<A = unknown> {
  /**
   * Called for each request for a WebSocket connection: the place to check its origin and its credentials, and to
   * choose a subprotocol, tags and an attachment. May be asynchronous. Default: every request is accepted, whatever
   * page it comes from.
   *
   * If it throws, or its promise is rejected, the connection is refused with status 500.
   */
  upgrade?(request: UpgradeRequest): UpgradeResult<A> | Promise<UpgradeResult<A>>
  /** Called when a connection is open, before its first message. */
  open?(socket: WebSocketConnection<A>): void
  /**
   * Called in place of {@link open} for each connection that has come from another process by `handover()`: before
   * `handover()` resolves, or later for connections that had to wait.
   */
  moved?(socket: WebSocketConnection<A>): void
  /** Called for each message: text as a string, binary data as a buffer. */
  message?(socket: WebSocketConnection<A>, data: string | Buffer, binary: boolean): void
  /**
   * Called when a connection is closed. `socket.attachment` and `socket.tags` still tell what they were.
   *
   * @param code of the peer's close frame; 1005 if it had no code; 1006 without a close frame
   * @param wasClean whether the closing handshake was finished
   */
  close?(socket: WebSocketConnection<A>, code: number, reason: string, wasClean: boolean): void
  /** Called when the peer broke the protocol. After this, the connection is closed with `error.closeCode`. */
  error?(socket: WebSocketConnection<A>, error: WebSocketError): void
  /** Called when all bytes that waited for a slow peer are sent. */
  drain?(socket: WebSocketConnection<A>): void
}

/** Options of {@link hibernate}. All are optional. */
export interface HibernateOptions {
  /**
   * Path of the requests that are taken, without a query. Other requests are left to the other listeners of `upgrade`;
   * if there are none, they are refused with status 404. Each `hibernate()` of a server needs a path of its own.
   * Default: every path that no other `hibernate()` of the server has.
   */
  path?: string
  /** Maximum length of a message, in bytes; 0: no limit. A longer one closes its connection (1009). Default: 1 MiB. */
  maxPayload?: number
  /**
   * Maximum number of bytes that wait for one connection, besides a message that nothing waits before. Default: 16 MiB.
   */
  maxQueued?: number
  /**
   * What happens at `maxQueued`: `'close'` closes the connection, and releases what waits for it; `'drop'` drops the
   * new message. In both cases `send()` returns false. Default: `'close'`.
   */
  overflow?: 'close' | 'drop'
  /**
   * Text messages that are answered without a handler, for example a client's heartbeat: a pair of `request` and
   * `response`, or a list of pairs. Each has at most 2,048 characters. Default: none.
   */
  autoResponse?: AutoResponse | readonly AutoResponse[]
  /**
   * Interval of pings: milliseconds, or a string with a unit (`'30s'`). A connection is closed (1006) if since the last
   * ping no byte has come from it, and it has taken none of what waits. `false`: no pings. Default: `false`.
   */
  liveness?: number | string | false
  /** Time that the closing handshake may take: milliseconds, or a string with a unit. Default: `'30s'`. */
  closeTimeout?: number | string
}

/** The options in their final form. */
export interface Settings {
  path: string | undefined
  maxPayload: number
  maxQueued: number
  overflow: 'close' | 'drop'
  autoResponses: AutoResponses | undefined
  /** Milliseconds; 0: no pings. */
  liveness: number
  closeTimeout: number
}

const OPTIONS = Object.keys({
  path: 0,
  maxPayload: 0,
  maxQueued: 0,
  overflow: 0,
  autoResponse: 0,
  liveness: 0,
  closeTimeout: 0
} satisfies Record<keyof HibernateOptions, 0>)

const HANDLERS = Object.keys({
  upgrade: 0,
  open: 0,
  moved: 0,
  message: 0,
  close: 0,
  error: 0,
  drain: 0
} satisfies Record<keyof HibernateHandlers, 0>)

const MAX_PAYLOAD = 1024 * 1024
const MAX_QUEUED = 16 * 1024 * 1024
/** Default of `closeTimeout`, in ms. */
const CLOSE_TIMEOUT = 30_000

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` */
export function checkHandlers(handlers: object): void {
  checkObject(handlers, 'handlers of hibernate(), such as { message(socket, data) {} },')
  for (const name of HANDLERS) checkFunction((handlers as Record<string, unknown>)[name], `handler ${name}`)
  // An object with methods of its own may be the handlers.
  warnOfUnknown(handlers, HANDLERS, 'hibernate()', true)
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` */
export function settingsOf(options: HibernateOptions): Settings {
  checkObject(options, 'options of hibernate()')
  warnOfUnknown(options, OPTIONS, 'hibernate()')
  const {
    path,
    maxPayload = MAX_PAYLOAD,
    maxQueued = MAX_QUEUED,
    overflow = 'close',
    autoResponse,
    liveness = false,
    closeTimeout = CLOSE_TIMEOUT
  } = options
  if (path !== undefined && (typeof path !== 'string' || !path.startsWith('/') || path.includes('?'))) {
    throw invalidArgument(`path must begin with / and have no query, not ${shown(path)}`)
  }
  checkFromZero(maxPayload, 'maxPayload', 'bytes')
  checkFromZero(maxQueued, 'maxQueued', 'bytes')
  if (overflow !== 'close' && overflow !== 'drop') {
    throw invalidArgument(`overflow must be 'close' or 'drop', not ${shown(overflow)}`)
  }
  return {
    path,
    maxPayload,
    maxQueued,
    overflow,
    autoResponses: autoResponse === undefined ? undefined : new AutoResponses(autoResponse),
    liveness: liveness === false ? 0 : milliseconds(liveness, 'liveness'),
    closeTimeout: milliseconds(closeTimeout, 'closeTimeout')
  }
}

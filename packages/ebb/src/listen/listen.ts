/** `listen()`: a TCP or Unix server whose connections are bare descriptors in epoll. */
import { Governor, type GovernorOptions } from '../govern/connection-governor.js'
import { tuneAllocator } from '../memory/thresholds.js'
import { ATTACHMENT_LIMIT } from '../socket/attachments.js'
import { closeSocket, openSocket, SOCKET_OPTIONS, type SocketOptions } from '../socket/listening-socket.js'
import type { ProxyProtocolOptions } from '../socket/proxy-protocol.js'
import type { ShutdownOptions, ShutdownReport } from '../socket/shutdown.js'
import { checkBoolean, checkFunction, checkObject } from '../sys/arguments.js'
import { milliseconds } from '../sys/duration.js'
import { EbbError, invalidArgument, shown } from '../sys/errors.js'
import { lackOfReactor } from '../sys/reactor.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import { warnOfUnknown } from '../sys/unknown.js'
import type { Handlers } from './handlers.js'
import { EpollListener } from './listener.js'

const HANDLERS = Object.keys({
  open: 0,
  data: 0,
  drain: 0,
  close: 0,
  error: 0,
  proxyError: 0,
  moved: 0,
  handedOver: 0,
  handoverFailed: 0
} satisfies Record<keyof Handlers, 0>)

const LISTENER_OPTIONS = {
  firstByteTimeout: 0,
  proxyProtocol: 0,
  giveBack: 0,
  asyncContext: 0,
  attachmentLimit: 0
} satisfies Record<keyof ListenerOptions, 0>

const OPTIONS = Object.keys({ ...SOCKET_OPTIONS, ...LISTENER_OPTIONS } satisfies Record<keyof ListenOptions, 0>)

/** Options of {@link listen}. Exactly one of `port` and `path` is required. */
export interface ListenOptions extends SocketOptions, ListenerOptions {}

/** Options of {@link createListener}. */
export interface ListenerOptions {
  /**
   * Time after which a connection that has not sent a byte is closed: milliseconds, or a string with a unit (`'250ms'`,
   * `'5s'`, `'2m'`). `false`: never. Default: `false`. It is late by at most 1/7 of the time or 16 ms.
   */
  firstByteTimeout?: number | string | false
  /**
   * Whether connections begin with a header of the PROXY protocol (version 1 or 2), with which a balancer tells the
   * client's address. `true`: all connections. An object: those {@link ProxyProtocolOptions.from} trusted networks; the
   * bytes of others are taken as they are. Default: false.
   *
   * The `open` handler is called when the header is complete. Then {@link Connection.remoteAddress} is the client's.
   */
  proxyProtocol?: boolean | ProxyProtocolOptions
  /**
   * Whether to release memory to the operating system when many connections have closed. Default: true, with the
   * defaults of {@link GovernorOptions}. `false`: never.
   */
  giveBack?: boolean | GovernorOptions
  /**
   * Whether the handlers of each connection run with an async id of their own, and in an empty context, so that no
   * store of an `AsyncLocalStorage` gets from one connection to another. Default: true.
   *
   * `false` saves 0.3 us and about 350 bytes of garbage for each connection. Then a store that a handler enters with
   * `enterWith()` may be seen by the handlers of other connections. For handlers that use no store.
   */
  asyncContext?: boolean
  /** Maximum size of the serialised {@link Connection.attachment}, in bytes. Default: 16384. */
  attachmentLimit?: number
}

/** A listening socket and its connections. Made by {@link listen}. */
export interface Listener {
  /**
   * Address of the listening socket, with the port that the kernel chose.
   *
   * @throws {EbbError} `ERR_SERVER_NOT_RUNNING` before a listener of {@link createListener} listens
   */
  readonly address: AddressInfo
  /** Number of open connections. */
  readonly clients: number
  /** Number of connections accepted since the start. */
  readonly accepted: number
  /** False while accepting is paused for want of descriptors or memory, and after {@link close}. */
  readonly accepting: boolean
  /** Lets the process exit while this listener is open. */
  unref(): this
  /** Undoes {@link unref}. */
  ref(): this
  /**
   * Stops accepting. Open connections stay. If other sockets share the port (`reusePort`), connections that wait in the
   * accept queue are taken first: no other process would serve them.
   *
   * @returns a promise that resolves when the last connection is closed
   */
  close(): Promise<void>
  /**
   * Takes the connections that wait in the accept queue, and stops accepting. Open connections may go on for the
   * {@link ShutdownOptions.grace}; then they are closed, and count as {@link ShutdownReport.cut}.
   *
   * While a shutdown goes on, and after it, another call returns the same promise.
   *
   * @returns a promise that resolves when the last connection is closed
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid; the listener then goes on
   */
  shutdown(options?: ShutdownOptions): Promise<ShutdownReport>
  /**
   * Sends bytes to the connection with this id.
   *
   * @returns false if the connection is closed or broken, or if one of its sides has ended it
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
   */
  send(id: number, bytes: string | Uint8Array): boolean
  /**
   * Sends bytes to all connections. It works in slices of a few ms, and the event loop goes on in between. Broadcasts
   * run one after the other. A connection that is accepted meanwhile does not get the bytes. Bytes given to `write()`
   * or {@link send} meanwhile may arrive first.
   *
   * @param filter called with the id of each connection; false leaves the connection out
   * @returns how many connections the bytes were sent to
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
   */
  broadcast(bytes: string | Uint8Array, filter?: (id: number) => boolean): Promise<number>
  /**
   * Closes the connection with this id now. Queued bytes are lost.
   *
   * @returns false if it was closed
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE`; what the `close` handler throws
   */
  closeConnection(id: number): boolean
  /**
   * Closes every connection now, and calls the `close` handler for each. Queued bytes are lost.
   *
   * @throws the first error that a `close` handler threw, after all connections are closed
   */
  closeConnections(): void
}

/**
 * Starts a server. It listens when this function returns.
 *
 * ```ts
 * const server = listen({ port: 3033 }, { data: (connection, bytes) => connection.write(bytes) })
 * console.log(server.address, server.clients)
 * ```
 *
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ... of `socket`, `bind` or `listen`
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`, `ERR_MISSING_ARGS` for options that are not valid
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED` where the library cannot call the kernel
 */
export function listen(options: ListenOptions, handlers: Handlers = {}): Listener {
  checkObject(options, 'options of listen(), such as { port: 3033 },')
  warnOfUnknown(options, OPTIONS, 'listen()')
  const listener = makeListener(options, handlers, 'listen()')
  startListening(listener, options)
  return listener
}

/**
 * Makes a server that does not listen until `handover()` starts it.
 *
 * ```ts
 * const server = createListener({ data: (connection, bytes) => connection.write(bytes) })
 * await handover(server, { path: '/run/app/handover.sock', listen: { port: 3033 } })
 * ```
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for handlers or options that are not valid
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED` where the library cannot call the kernel
 */
export function createListener(handlers: Handlers = {}, options: ListenerOptions = {}): Listener {
  checkObject(options, 'options of createListener()')
  warnOfUnknown(options, Object.keys(LISTENER_OPTIONS), 'createListener()')
  return makeListener(options, handlers, 'createListener()')
}

/**
 * Makes a listener listen.
 *
 * @throws as {@link listen}; then it does not listen
 */
export function startListening(listener: EpollListener, options: SocketOptions): void {
  const socket = openSocket(options)
  try {
    listener.start(socket)
  } catch (error) {
    closeSocket(socket)
    throw error
  }
}

function makeListener(options: ListenerOptions, handlers: Handlers, caller: string): EpollListener {
  checkHandlers(handlers, caller)
  tuneAllocator({ timer: true, isSmall: true })
  const governor = toGovernor(options.giveBack)
  const { firstByteTimeout: silence = false, asyncContext = true, attachmentLimit = ATTACHMENT_LIMIT } = options
  const firstByteTimeout = silence === false ? 0 : milliseconds(silence, 'firstByteTimeout')
  checkBoolean(asyncContext, 'asyncContext')
  if (!Number.isInteger(attachmentLimit) || attachmentLimit < 0) {
    throw invalidArgument(`attachmentLimit must be a whole number of bytes from 0 on, not ${shown(attachmentLimit)}`)
  }
  const lack = lackOfReactor()
  if (lack !== undefined) {
    throw new EbbError('ERR_EBB_UNSUPPORTED', `${caller} cannot serve connections here: ${lack}`)
  }
  const { proxyProtocol } = options
  return new EpollListener({ handlers, governor, firstByteTimeout, asyncContext, proxyProtocol, attachmentLimit })
}

function checkHandlers(handlers: Handlers, caller: string): void {
  checkObject(handlers, `handlers of ${caller}, such as { data(connection, bytes) {} },`)
  for (const name of HANDLERS) checkFunction(handlers[name as keyof Handlers], `handler ${name}`)
  // An object with methods of its own may be the handlers.
  warnOfUnknown(handlers, HANDLERS, caller, true)
}

function toGovernor(giveBack: ListenOptions['giveBack'] = true): Governor | undefined {
  if (giveBack === false) return undefined
  return new Governor(giveBack === true ? {} : giveBack)
}

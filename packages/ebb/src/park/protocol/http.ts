/** Connections of an `http.Server`. */
import type http from 'node:http'
import type { Socket } from 'node:net'
import { shortest } from '../../sys/duration.js'
import { EbbError } from '../../sys/errors.js'
import {
  closesFreshAsIdle,
  dropHttpParsers,
  hasParser,
  httpConnections,
  idleParser,
  isInHead,
  REQUEST_EVENTS,
  setRequestLimit,
  wrapIncoming
} from '../node/http.js'
import { makeExchange } from '../node/http-exchange.js'
import { isQuiet } from '../node/socket.js'
import { type AwakeConnection, BaseProtocol, type TimeoutAction } from './protocol.js'

const REQUEST_TIMEOUT = Buffer.from('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n')

/** A connection is parked before its first request and between two requests. Its timeouts are those of the server. */
export class HttpProtocol extends BaseProtocol {
  readonly isPlain = true
  readonly parksAgain: boolean
  readonly seesFin = false
  override readonly hasIgnorableBytes = true
  override readonly timeoutListeners = 1
  override readonly connectionListeners = 1
  /** While it is awake, `http` believes that it is in the middle of a request, and `close()` waits for it. */
  override readonly parksSilent = true
  readonly #server: http.Server
  /** How much longer (ms) than `keepAliveTimeout` Node waits; it depends on the version. */
  #keepAliveSlack = 0
  /** Parsers inside a message, looked up once for a batch. `parsers` is undefined if Node keeps them elsewhere. */
  #active: { parsers: Set<unknown> | undefined } | undefined

  constructor(server: http.Server, parksAgain: boolean) {
    super()
    this.#server = server
    this.parksAgain = parksAgain
  }

  /**
   * Applies to the connection what `http` applies to each of its sockets: the number of requests counts across wakes,
   * and `keepAliveTimeout` goes on until the head of the first request after a wake is complete.
   */
  override onWake(socket: Socket, connection: AwakeConnection): void {
    const server = this.#server
    const { keepAliveTimeout, timeout } = server
    let waitsForHead = connection.wakes > 1 && timeout > 0 && keepAliveTimeout > 0
    const limited = (server.maxRequestsPerSocket ?? 0) > 0
    if (!waitsForHead && !limited) return
    if (waitsForHead) socket.setTimeout(keepAliveTimeout + this.#keepAliveSlack)
    const earlierRequests = connection.requests
    wrapIncoming(socket, (incoming) => {
      if (waitsForHead) socket.setTimeout(timeout)
      waitsForHead = false
      connection.requests++
      const limit = server.maxRequestsPerSocket ?? 0
      if (limit <= 0 || earlierRequests === 0) return incoming()
      return withLimit(server, limit, Math.max(1, limit - earlierRequests), incoming)
    })
  }

  override firstByteTimeout(): number {
    const { headersTimeout, requestTimeout, timeout } = this.#server
    return shortest(headersTimeout, requestTimeout, timeout)
  }

  override closesFreshAsIdle(): boolean {
    return closesFreshAsIdle(this.#server)
  }

  /** Returns the timeout that `http` has set after the response, or the application since then. */
  override idleTimeout({ timeout = 0 }: Socket): number {
    // Node waits a little longer than it tells the client, so that the client does not send into the close.
    const { keepAliveTimeout } = this.#server
    if (keepAliveTimeout > 0 && timeout >= keepAliveTimeout) this.#keepAliveSlack = timeout - keepAliveTimeout
    return timeout
  }

  /** After a wake, the head of the request must be complete within `keepAliveTimeout`. */
  override isHeadOverdue(socket: Socket, silent: number): boolean {
    const { keepAliveTimeout } = this.#server
    return keepAliveTimeout > 0 && silent >= keepAliveTimeout + this.#keepAliveSlack && isInHead(socket)
  }

  /** Whether these are empty lines, which some clients send between two requests. */
  override isIgnorable(bytes: Buffer): boolean {
    return bytes.every((byte) => byte === 0x0d || byte === 0x0a)
  }

  /**
   * Does what `http` does at a timeout. A connection that has not sent its first request in time gets a 408, or goes to
   * the `clientError` listeners. A connection between two requests, or past `server.timeout`, goes to the `timeout`
   * listeners. Without listeners, it is closed.
   */
  override onTimeout(fresh: boolean, heard: boolean): TimeoutAction {
    const server = this.#server
    // At `server.timeout`, `http` closes a connection without a response.
    const isRequestTimeout = fresh && this.firstByteTimeout() !== server.timeout
    if (isRequestTimeout && server.listenerCount('clientError') === 0) return { finalResponse: REQUEST_TIMEOUT }
    if (isRequestTimeout) {
      return { wake: { announced: true, onTimeout: (socket) => socket.emit('error', requestTimeout()) } }
    }
    if (!heard && server.listenerCount('timeout') === 0) return {}
    return { wake: { announced: true, onTimeout: (socket) => socket.emit('timeout') } }
  }

  mayPark(socket: Socket): boolean {
    const parser = idleParser(socket)
    if (parser === undefined || !isQuiet(socket)) return false
    const connections = this.#active === undefined ? httpConnections(this.#server) : undefined
    this.#active ??= { parsers: connections && new Set(connections.active()) }
    return this.#active.parsers?.has(parser) === false
  }

  override isUpgraded(socket: Socket): boolean {
    return !hasParser(socket)
  }

  override endBatch(): void {
    this.#active = undefined
  }

  override trim(): void {
    dropHttpParsers()
  }

  override examples(): unknown[] {
    return makeExchange()
  }
}

/**
 * Handles one request with `maxRequestsPerSocket` set to `remaining`. Node counts the requests of each socket, and a
 * connection gets a new socket at each wake. The application and the `Keep-Alive` header see the real limit: `emit()`
 * is replaced until the event, because a listener would be seen.
 */
function withLimit(server: http.Server, limit: number, remaining: number, incoming: () => unknown): unknown {
  const { emit } = server
  const isOwn = Object.hasOwn(server, 'emit')
  const restoreEmit = (): void => {
    if (server.emit !== restoring) return
    if (isOwn) server.emit = emit
    else Reflect.deleteProperty(server, 'emit')
  }
  const restoring = (...args: [event: string, ...unknown[]]): boolean => {
    restoreEmit()
    server.maxRequestsPerSocket = limit
    if (REQUEST_EVENTS.includes(args[0])) setRequestLimit(args[2] as http.ServerResponse, limit)
    return Reflect.apply(emit, server, args)
  }
  server.emit = restoring
  server.maxRequestsPerSocket = remaining
  try {
    return incoming()
  } finally {
    restoreEmit()
    server.maxRequestsPerSocket = limit
  }
}

/** Makes the error that `http` passes to `clientError` listeners. */
function requestTimeout(): Error {
  return new EbbError('ERR_HTTP_REQUEST_TIMEOUT', 'Request timeout')
}

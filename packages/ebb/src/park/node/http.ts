/**
 * The internals of `http.Server`, its parsers and its responses that ebb uses. Node does not document these properties,
 * but every version from 20 to 26 has them.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server, Socket } from 'node:net'
import { symbolProperty } from '../../sys/node/symbols.js'

/** A socket that `http` reads from. */
interface HttpSocket extends Socket {
  parser?: HttpParser | null
  _httpMessage?: ServerResponse | null
}

interface HttpParser {
  /** Called by the parser when the head of a request is complete. */
  onIncoming?: ((this: unknown, ...args: unknown[]) => unknown) | null
  incoming: IncomingMessage | null
  socket: Socket | null
}

/** The list that an `http.Server` keeps of its connections. */
export interface HttpConnections {
  /** Returns the parsers that are inside a message. The others have not received a byte of the next request. */
  active(): HttpParser[]
  /** Returns the parsers that are not inside a message. */
  idle(): HttpParser[]
  /** Returns all parsers. */
  all(): HttpParser[]
}

/**
 * Returns the server's list of connections; undefined before the server listens, and if Node keeps the list elsewhere.
 * Then no connection is parked again.
 */
export function httpConnections(server: Server): HttpConnections | undefined {
  return symbolProperty(server, 'http.server.connections') as HttpConnections | undefined
}

/** The class of the list that {@link httpConnections} returns. */
type ConnectionsClass = new () => HttpConnections

/** The class of `http`'s parsers. */
interface ParserClass {
  new (): {
    initialize(type: number, resource: object, maxHeaderSize: number, flags: number, connections: object): void
    remove(): void
    close(): void
  }
  readonly REQUEST: number
}

let freshIsIdle: boolean | undefined

/**
 * Whether `closeIdleConnections()`, and with it `close()`, closes connections that have not sent a byte. Recent
 * versions do (https://github.com/nodejs/node/pull/63470). The first call tries it out, on a list that has one parser.
 * False before the server listens, and if Node keeps the list elsewhere.
 */
export function closesFreshAsIdle(server: Server): boolean {
  if (freshIsIdle !== undefined) return freshIsIdle
  const connections = httpConnections(server)
  const { HTTPParser } = httpCommon() ?? {}
  if (connections === undefined || HTTPParser === undefined) return false
  const list = new (connections.constructor as ConnectionsClass)()
  const parser = new HTTPParser()
  parser.initialize(HTTPParser.REQUEST, {}, 0, 0, list)
  freshIsIdle = list.idle().length > 0
  parser.remove()
  parser.close()
  return freshIsIdle
}

/** Returns the parser of a socket; undefined after an upgrade, and in the middle of a message. */
export function idleParser(socket: Socket): HttpParser | undefined {
  const { parser, _httpMessage } = socket as HttpSocket
  return parser && !_httpMessage && parser.incoming === null ? parser : undefined
}

/** Whether the socket still waits for the complete head of its first request. */
export function isInHead(socket: Socket): boolean {
  return idleParser(socket) !== undefined && socket.bytesWritten === 0
}

/**
 * Calls `around` for each request on this socket, in place of `http`.
 *
 * @param around gets a function that lets `http` handle the request
 */
export function wrapIncoming(socket: Socket, around: (incoming: () => unknown) => unknown): void {
  const { parser } = socket as HttpSocket
  const incoming = parser?.onIncoming
  if (!parser || !incoming) return
  parser.onIncoming = function (...args) {
    return around(() => incoming.apply(this, args))
  }
}

/** Sets how many requests the connection may have, as the `Keep-Alive` header of a response tells the client. */
export function setRequestLimit(response: ServerResponse, limit: number): void {
  ;(response as unknown as { _maxRequestsPerSocket: number })._maxRequestsPerSocket = limit
}

/** Whether the socket still speaks HTTP: false after an upgrade. */
export function hasParser(socket: Socket): boolean {
  return Boolean((socket as HttpSocket).parser)
}

/** Returns how many connections of the server have a parser, and no request or response under way. */
export function countIdle(server: Server): number {
  const idle = httpConnections(server)?.idle() ?? []
  return idle.filter(
    ({ socket }) => socket?.destroyed === false && (socket as HttpSocket)._httpMessage?.finished !== false
  ).length
}

/** Events with which `http` passes on a request. Their second argument is the response. */
export const REQUEST_EVENTS: readonly string[] = ['request', 'checkContinue', 'checkExpectation']

/**
 * Makes each response from now on the last one of its connection (`Connection: close`). A response whose head is
 * already sent does not tell the client, but its connection is closed as well.
 *
 * @returns a function that ends this for later requests
 */
export function endAfterResponses(server: Server): () => void {
  return eachResponse(server, endAfter)
}

/**
 * Calls `then` for each response that is under way, and for each later one before the application gets it.
 *
 * @returns a function that ends this for later requests
 */
export function eachResponse(server: Server, then: (response: ServerResponse, socket: Socket) => void): () => void {
  const onRequest = ({ socket }: IncomingMessage, response: ServerResponse): void => then(response, socket)
  // A listener of the other events replaces what `http` does at them.
  const events = REQUEST_EVENTS.filter((event) => event === 'request' || server.listenerCount(event) > 0)
  for (const event of events) server.prependListener(event, onRequest)
  for (const { socket } of httpConnections(server)?.all() ?? []) {
    const response = socket && (socket as HttpSocket)._httpMessage
    if (response) then(response, socket)
  }
  return () => {
    for (const event of events) server.removeListener(event, onRequest)
  }
}

function endAfter(response: ServerResponse, socket: Socket): void {
  response.shouldKeepAlive = false
  // Called after `http` has finished with the response, and has begun the next one of a pipeline.
  response.once('finish', () => {
    const { _httpMessage } = socket as HttpSocket
    if (!_httpMessage && !socket.destroyed && hasParser(socket)) socket.destroySoon()
  })
}

interface ResponseInternals {
  /** The head, once `writeHead()` has made it. It is sent later. */
  _header: string | null
  _headerSent: boolean
  chunkedEncoding: boolean
  shouldKeepAlive: boolean
}

/** Returns the head that `writeHead()` has made, as it is sent; empty before. */
export function madeHead(response: ServerResponse): string {
  return (response as unknown as ResponseInternals)._header ?? ''
}

/**
 * Sends the head of a response whose body lasts until the connection closes: without a length and without chunks.
 *
 * @param check called when the head is made, but not sent. If it throws, the head can be made anew
 * @returns false if a head was already sent, or made with a length
 */
export function sendEndlessHead(response: ServerResponse, check: () => void): boolean {
  const internals = response as unknown as ResponseInternals
  if (internals._headerSent || (internals._header !== null && /\r\nContent-Length:/i.test(internals._header)))
    return false
  if (internals._header === null) {
    response.removeHeader('Content-Length')
    response.removeHeader('Transfer-Encoding')
    response.setHeader('Connection', 'close')
    // Middlewares that wait for the head (`on-headers`) set their headers now.
    response.writeHead(response.statusCode)
    try {
      check()
    } catch (error) {
      // The application can still answer with another head.
      internals._header = null
      throw error
    }
  }
  internals._header = (internals._header ?? '')
    .replace(/\r\n(Transfer-Encoding|Keep-Alive|Content-Length):[^\r]*/gi, '')
    .replace(/\r\nConnection:[^\r]*/i, '\r\nConnection: close')
  internals.chunkedEncoding = false
  internals.shouldKeepAlive = false
  response.flushHeaders()
  return true
}

/**
 * Ends a response as the last one of its connection, but without closing the connection: `then` is called in place of
 * `socket.destroySoon()`. As after any last response, pipelined requests are not answered.
 */
export function endAsLast(response: ServerResponse, socket: Socket, then: () => void): void {
  ;(response as unknown as { _last: boolean })._last = true
  socket.destroySoon = () => {
    // Removes this override, so that the method of the class is called again.
    delete (socket as Partial<Socket>).destroySoon
    // `http` answers no further request while the socket has a response under way.
    ;(socket as HttpSocket)._httpMessage = response
    then()
  }
  response.end()
}

/**
 * Closes the parsers that `http` keeps for reuse: at most 1000, about 3 KB each. Does nothing if there is no such pool.
 */
export function dropHttpParsers(): void {
  for (const parser of httpCommon()?.parsers?.list?.splice(0) ?? []) parser.close()
}

interface HttpCommon {
  parsers?: { list?: { close(): void }[] }
  HTTPParser?: ParserClass
}

function httpCommon(): HttpCommon | undefined {
  return process.getBuiltinModule('_http_common' as 'node:http') as unknown as HttpCommon | undefined
}

/**
 * What is used of Node's inside, all of it here: properties without documents, which every Node from 20 to 26 has. Each use
 * says what happens where one is missing.
 */
import { channel } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Server, Socket, type SocketConstructorOpts } from 'node:net'
import { systemError } from '../../sys/errors.js'
import type { Reactor } from '../../sys/reactor.js'

/** The part of a `net.Server` that `net.js` keeps for itself. */
export interface ServerInside extends Server {
  _handle: ListeningHandle | null
  /** How many connections are open: `getConnections()` tells it, `maxConnections` is measured against it. */
  _connections: number
  /** In place of an address, for a path. */
  _pipeName?: string
  _unref: boolean
  /** Emits `close` when the server is closed and has no connections. */
  _emitCloseIfDrained(): void
  noDelay: boolean
  keepAlive: boolean
  /** Seconds. */
  keepAliveInitialDelay: number
  allowHalfOpen: boolean
  pauseOnConnect: boolean
  highWaterMark?: number
  blockList?: { check(address: string, family: 'ipv4' | 'ipv6'): boolean }
}

/** What `net.Server` calls on the socket that it listens on. */
export interface ListeningHandle {
  readonly fd?: number
  close(done?: () => void): void
  ref(): void
  unref(): void
  getsockname?(out: object): number
  /** Of a Unix socket. @returns 0, or a negative errno */
  fchmod?(mode: number): number
  onconnection?: ((error: number, client?: ClientHandle) => void) | undefined
}

/** A connection, below its socket. */
export interface ClientHandle {
  readonly fd: number
  /** @returns 0, or a negative errno */
  open(fd: number): number
  close(): void
}

/** Node's class of handles for a kind of socket (TCP, Unix), told by one of them. */
export type HandleClass = new (type: number) => ClientHandle

export function handleClassOf(handle: ListeningHandle | ClientHandle): HandleClass {
  return handle.constructor as HandleClass
}

/** `TCPConstants.SOCKET`, `PipeConstants.SOCKET`: neither a server, nor for passing descriptors. */
const SOCKET = 0

interface SocketInside extends Socket {
  _handle: { readonly fd: number; readonly writeQueueSize?: number; readonly reading?: boolean } | null
  server: Server | null
  _server: Server | null
  parser?: HttpParser | null
  _httpMessage?: ServerResponse | null
}

interface HttpParser {
  /** What `http` does with a request whose head is whole. */
  onIncoming?: ((this: unknown, ...args: unknown[]) => unknown) | null
  incoming: IncomingMessage | null
  socket: Socket | null
}

const accepted = channel('net.server.socket')

/**
 * What Node would have accepted, which owns `fd`: to find out what a descriptor is takes four system calls.
 *
 * @throws {SystemError} and `fd` is closed
 */
export function handleFrom(reactor: Reactor, Handle: HandleClass, fd: number): ClientHandle {
  const handle = new Handle(SOCKET)
  const failed = reactor.handOver(fd, handle)
  if (failed === 0) return handle
  handle.close()
  throw systemError('open', -failed)
}

/**
 * The socket that Node would have made for an accepted connection of `server`.
 *
 * @param writable false: its FIN is sent
 */
export function socketFor(server: ServerInside, handle: ClientHandle, writable: boolean): Socket {
  const options: SocketConstructorOpts & Record<string, unknown> = {
    handle,
    readable: true,
    writable,
    allowHalfOpen: server.allowHalfOpen,
    pauseOnCreate: server.pauseOnConnect
  }
  if (server.highWaterMark !== undefined) {
    options.readableHighWaterMark = server.highWaterMark
    options.writableHighWaterMark = server.highWaterMark
  }
  const socket = new Socket(options) as SocketInside
  socket.server = server
  socket._server = server
  if (server.noDelay || server.keepAlive) tellOptions(socket, server)
  if (accepted.hasSubscribers) accepted.publish({ socket })
  return socket
}

/** A handle of the kind that `listen()` takes, for a socket that is bound; owns `fd`. */
export function handleFor(fd: number): ListeningHandle {
  const socket = new Socket({ fd, manualStart: true } as SocketConstructorOpts) as unknown as {
    _handle: ListeningHandle | null
  }
  const handle = socket._handle as ListeningHandle
  socket._handle = null
  return handle
}

/**
 * Makes a socket that is about to be destroyed one that has come to its end, without an event: who waits for that (`for await`,
 * `finished()`, `pipeline()`) is not told of a premature close.
 */
export function endQuietly(socket: Socket): void {
  const { _readableState, _writableState } = socket as unknown as Record<string, { ended: boolean }>
  if (_readableState !== undefined) _readableState.ended = true
  if (_writableState !== undefined) _writableState.ended = true
}

/** Where a socket remembers the options that it has, once found. */
let remembered: Map<string, symbol> | undefined

/** The options that the kernel gave the connection, from the socket that it came by: or `setNoDelay(false)` would find nothing to do. */
function tellOptions(socket: Socket, server: ServerInside): void {
  remembered ??= new Map(Object.getOwnPropertySymbols(socket).map((symbol) => [symbol.description ?? '', symbol]))
  const set = (name: string, value: unknown): void => {
    const symbol = remembered?.get(name)
    if (symbol !== undefined) (socket as unknown as Record<symbol, unknown>)[symbol] = value
  }
  if (server.noDelay) set('kSetNoDelay', true)
  if (!server.keepAlive) return
  set('kSetKeepAlive', true)
  set('kSetKeepAliveInitialDelay', server.keepAliveInitialDelay)
}

/** What a socket is made of, while it is open: kept, the hidden classes of these live on, and the code that is optimised for them. */
export function partsOf(socket: Socket): unknown[] {
  const { _handle, parser } = socket as SocketInside
  return [socket, _handle, parser]
}

/** The descriptor of a socket; -1 where it has none, or one that is not alone its own (TLS). */
export function descriptorOf(socket: Socket): number {
  return (socket as SocketInside)._handle?.fd ?? -1
}

/**
 * Nothing is on its way in either direction, and both are open. A paused socket leaves bytes in the kernel that its reader does
 * not want yet: not quiet.
 */
export function isQuiet(socket: Socket): boolean {
  const handle = (socket as SocketInside)._handle
  return (
    handle !== null &&
    !socket.destroyed &&
    !socket.connecting &&
    socket.readable &&
    socket.writable &&
    socket.readableLength === 0 &&
    socket.writableLength === 0 &&
    // With a listener of `readable` a socket that reads is called paused, too.
    (!socket.isPaused() || socket.listenerCount('readable') > 0) &&
    handle.reading !== false &&
    (handle.writeQueueSize ?? 0) === 0
  )
}

/** How an `http.Server` sees its connections. */
export interface HttpConnections {
  /** Parsers that are in a message: of the others, not one byte of the next request has come. */
  active(): HttpParser[]
}

/** Undefined (then nothing is parked again) before the server listens, and where Node keeps it elsewhere. */
export function httpConnections(server: Server): HttpConnections | undefined {
  const symbol = Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections'
  )
  return symbol === undefined ? undefined : (server as unknown as Record<symbol, HttpConnections>)[symbol]
}

/** What {@link httpConnections} gives, as it is made; and a parser, as `http` makes it. */
type ConnectionsClass = new () => HttpConnections & { idle(): unknown[] }
interface ParserClass {
  new (): {
    initialize(type: number, resource: object, maxHeaderSize: number, flags: number, connections: object): void
    remove(): void
    close(): void
  }
  readonly REQUEST: number
}

let freshAreIdle: boolean | undefined

/**
 * Whether `closeIdleConnections()`, and with it `close()`, closes connections that have not sent a byte: since some Node 26, and in what
 * that is brought to (https://github.com/nodejs/node/pull/63470). Found by trying, on a list with one parser. False before the server
 * listens, and where Node keeps it elsewhere.
 */
export function countsFreshAsIdle(server: Server): boolean {
  if (freshAreIdle !== undefined) return freshAreIdle
  const connections = httpConnections(server)
  const { HTTPParser } = httpCommon() ?? {}
  if (connections === undefined || HTTPParser === undefined) return false
  const list = new (connections.constructor as ConnectionsClass)()
  const parser = new HTTPParser()
  parser.initialize(HTTPParser.REQUEST, {}, 0, 0, list)
  freshAreIdle = list.idle().length > 0
  parser.remove()
  parser.close()
  return freshAreIdle
}

/** The parser of a socket that is HTTP's: none after an upgrade, and none that is in the middle of a message. */
export function idleParser(socket: Socket): HttpParser | undefined {
  const { parser, _httpMessage } = socket as SocketInside
  return parser && !_httpMessage && parser.incoming === null ? parser : undefined
}

/** No request has begun on this socket, as far as its head is whole: nothing is being received or answered, nor was. */
export function isInHead(socket: Socket): boolean {
  return idleParser(socket) !== undefined && socket.bytesWritten === 0
}

/** Has `around` called for each request on this socket, with what `http` would do with it. */
export function wrapIncoming(socket: Socket, around: (incoming: () => unknown) => unknown): void {
  const { parser } = socket as SocketInside
  const incoming = parser?.onIncoming
  if (!parser || !incoming) return
  parser.onIncoming = function (...args) {
    return around(() => incoming.apply(this, args))
  }
}

/** What a response says of the requests that its connection may have. */
export function setLimitOf(response: ServerResponse, limit: number): void {
  ;(response as unknown as { _maxRequestsPerSocket: number })._maxRequestsPerSocket = limit
}

/** HTTP is spoken on this socket: not after an upgrade. */
export function hasParser(socket: Socket): boolean {
  return Boolean((socket as SocketInside).parser)
}

interface ResponseInside {
  /** The head, once it is made; `writeHead()` makes it and does not send it. */
  _header: string | null
  _headerSent: boolean
  chunkedEncoding: boolean
  shouldKeepAlive: boolean
}

/**
 * Sends the head of a response whose body has neither a length nor chunks: it is all that comes until the connection closes.
 *
 * @returns false when a head has been sent already, or one with a length has been made
 */
export function sendEndlessHead(response: ServerResponse): boolean {
  const inside = response as unknown as ResponseInside
  if (inside._headerSent || (inside._header !== null && /\r\nContent-Length:/i.test(inside._header))) return false
  if (inside._header === null) {
    response.removeHeader('Content-Length')
    response.removeHeader('Transfer-Encoding')
    response.setHeader('Connection', 'close')
  } else {
    inside._header = inside._header
      .replace(/\r\n(Transfer-Encoding|Keep-Alive):[^\r]*/gi, '')
      .replace(/\r\nConnection:[^\r]*/i, '\r\nConnection: close')
    inside.chunkedEncoding = false
  }
  inside.shouldKeepAlive = false
  response.flushHeaders()
  return true
}

/**
 * Ends a response whose connection goes on: `then` is called in place of what `http` does after the last response of a
 * connection, which is to close its socket. Requests that came behind it are not answered, as after any last response.
 */
export function endAsLast(response: ServerResponse, socket: Socket, then: () => void): void {
  ;(response as unknown as { _last: boolean })._last = true
  socket.destroySoon = () => {
    // Put back: the method of the class.
    delete (socket as Partial<Socket>).destroySoon
    // What the client sends now has nobody to answer it.
    ;(socket as SocketInside)._httpMessage = response
    then()
  }
  response.end()
}

/** Closes the parsers that `http` keeps for later, a thousand at most, 3 KB each. Nothing where there is no such pool. */
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

/** Until Node 21, `maxConnections` of 0 meant no limit. */
const zeroIsALimit = Number(process.versions.node.split('.', 1)[0]) >= 21

/** Whether one more connection is one too many. */
export function isFull({ maxConnections, _connections }: ServerInside): boolean {
  if (maxConnections == null || (maxConnections === 0 && !zeroIsALimit)) return false
  return _connections >= maxConnections
}

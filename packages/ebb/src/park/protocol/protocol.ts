/** What a parked connection waits for, and for how long: where servers of TCP, HTTP and TLS differ. */
import type http from 'node:http'
import type { Server, Socket } from 'node:net'
import {
  countsFreshAsIdle,
  dropHttpParsers,
  hasParser,
  httpConnections,
  idleParser,
  isInHead,
  isQuiet,
  type ServerInside,
  setLimitOf,
  wrapIncoming
} from '../node/socket.js'

/** What happens to a parked connection that has reached its limit. Neither of the two: it is closed. */
interface Expiry {
  /** Sent before it is closed. */
  farewell?: Buffer
  /** Its socket is made, and handed to the server first if `announced`; then this. */
  wake?: { announced: boolean; timedOut(socket: Socket): void }
}

/** What is asked of a connection that is awake. */
interface Awake {
  readonly wakes: number
  /** Requests so far, where the server limits them. */
  requests: number
}

export interface Protocol {
  /** An awake connection can be parked again. */
  readonly parksAgain: boolean
  /** Bytes can be sent on a connection as they are. */
  readonly isPlain: boolean
  /** A FIN without a byte before it is the application's to see. */
  readonly seesEnd: boolean
  /** The server has its socket. */
  announced(socket: Socket, connection: Awake): void
  /** How long (ms) a connection that has not sent a byte may stay silent; 0: for ever. */
  freshLimit(): number
  /** One that has not sent a byte is closed with those that are between two requests. */
  freshAreIdle(): boolean
  /** How long one may, that has: `socket` is its own, until now. */
  limit(socket: Socket): number
  /** An awake connection has been silent for `silent` ms since it was woken, in the middle of something that is to be over by now. */
  isLate(socket: Socket, silent: number): boolean
  /** Bytes of a parked connection are nothing: they are taken off it, and it sleeps on. */
  isNothing(bytes: Buffer): boolean
  expire(fresh: boolean): Expiry
  /** The connection of an awake socket may be parked now. */
  mayPark(socket: Socket): boolean
  /** The application has taken the connection over (an upgrade): it is never parked again. */
  isTaken(socket: Socket): boolean
  /** A row of questions to {@link mayPark} is over. */
  asked(): void
  /** Lets go of what is kept for later. */
  trim(): void
}

/** An `http.Server`, TLS or not. */
export function isHttp(server: Server): boolean {
  return 'closeIdleConnections' in server
}

/** The protocol of a server, told by its methods: importing `http` and `tls` costs what a server without them need not pay. */
export function protocolOf(server: Server, parksAgain: boolean): Protocol {
  if ('setSecureContext' in server) return new Tls(server)
  if (isHttp(server)) return new Http(server as http.Server, parksAgain)
  // An HTTP/2 session has state on both sides for as long as its connection lasts.
  return new Tcp(server, parksAgain && !('updateSettings' in server))
}

class Tcp implements Protocol {
  readonly isPlain = true
  readonly parksAgain: boolean
  readonly #server: ServerInside

  constructor(server: Server, parksAgain: boolean) {
    this.#server = server as ServerInside
    this.parksAgain = parksAgain
  }

  get seesEnd(): boolean {
    return this.#server.allowHalfOpen
  }

  announced(): void {}

  freshLimit(): number {
    return 0
  }

  freshAreIdle(): boolean {
    return false
  }

  limit(): number {
    return 0
  }

  isLate(): boolean {
    return false
  }

  isNothing(): boolean {
    return false
  }

  expire(): Expiry {
    return {}
  }

  mayPark(socket: Socket): boolean {
    return isQuiet(socket)
  }

  isTaken(): boolean {
    return false
  }

  asked(): void {}

  trim(): void {}
}

const REQUEST_TIMEOUT = Buffer.from('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n')

class Http implements Protocol {
  readonly isPlain = true
  readonly parksAgain: boolean
  readonly seesEnd = false
  readonly #server: http.Server
  #longer = 0
  /** Parsers in a message; asked for once in a row of questions. Undefined inside: Node keeps them elsewhere. */
  #active: { parsers: Set<unknown> | undefined } | undefined

  constructor(server: http.Server, parksAgain: boolean) {
    this.#server = server
    this.parksAgain = parksAgain
  }

  /**
   * The limits that `http` keeps for a socket are the connection's: requests are counted over its sleeps, and a head that comes in
   * parts after one has the time that the connection was kept for it.
   */
  announced(socket: Socket, connection: Awake): void {
    const server = this.#server
    const { keepAliveTimeout, timeout } = server
    let inHead = connection.wakes > 1 && timeout > 0 && keepAliveTimeout > 0
    const limited = (server.maxRequestsPerSocket ?? 0) > 0
    if (!inHead && !limited) return
    if (inHead) socket.setTimeout(keepAliveTimeout + this.#longer)
    const before = connection.requests
    wrapIncoming(socket, (incoming) => {
      if (inHead) socket.setTimeout(timeout)
      inHead = false
      connection.requests++
      const limit = server.maxRequestsPerSocket ?? 0
      if (limit <= 0 || before === 0) return incoming()
      return withLimit(server, limit, Math.max(1, limit - before), incoming)
    })
  }

  freshLimit(): number {
    const { headersTimeout, requestTimeout, timeout } = this.#server
    return shortest(headersTimeout, requestTimeout, timeout)
  }

  freshAreIdle(): boolean {
    return countsFreshAsIdle(this.#server)
  }

  /** What `http` has set after the response, or the application since. */
  limit({ timeout = 0 }: Socket): number {
    // Node waits a little longer than it says to the client, so that the two do not meet; by how much depends on the version.
    const { keepAliveTimeout } = this.#server
    if (keepAliveTimeout > 0 && timeout >= keepAliveTimeout) this.#longer = timeout - keepAliveTimeout
    return timeout
  }

  /** Half of a head, after a sleep: the time that a connection is kept for the next request goes on until all of it is there. */
  isLate(socket: Socket, silent: number): boolean {
    const { keepAliveTimeout } = this.#server
    return keepAliveTimeout > 0 && silent >= keepAliveTimeout + this.#longer && isInHead(socket)
  }

  /** Empty lines between two requests, which some clients send. */
  isNothing(bytes: Buffer): boolean {
    return bytes.every((byte) => byte === 0x0d || byte === 0x0a)
  }

  /**
   * As `http` does: a connection that has sent nothing of a request in time is told so (408), unless the application answers for
   * itself (`clientError`); one that is between requests, or past `server.timeout`, is the application's if it has a
   * listener (`timeout`).
   */
  expire(fresh: boolean): Expiry {
    const server = this.#server
    const unanswered = fresh && this.freshLimit() !== server.timeout
    if (unanswered && server.listenerCount('clientError') === 0) return { farewell: REQUEST_TIMEOUT }
    if (unanswered) return { wake: { announced: true, timedOut: (socket) => socket.emit('error', requestTimeout()) } }
    if (server.listenerCount('timeout') === 0) return {}
    return { wake: { announced: true, timedOut: (socket) => socket.emit('timeout') } }
  }

  mayPark(socket: Socket): boolean {
    const parser = idleParser(socket)
    if (parser === undefined || !isQuiet(socket)) return false
    const connections = this.#active === undefined ? httpConnections(this.#server) : undefined
    this.#active ??= { parsers: connections && new Set(connections.active()) }
    return this.#active.parsers?.has(parser) === false
  }

  isTaken(socket: Socket): boolean {
    return !hasParser(socket)
  }

  asked(): void {
    this.#active = undefined
  }

  trim(): void {
    dropHttpParsers()
  }
}

/**
 * Has a request counted against `lower`, since Node counts from the wake on. The application, and the header `Keep-Alive`, have
 * `limit`.
 */
function withLimit(server: http.Server, limit: number, lower: number, incoming: () => unknown): unknown {
  const restore = (_: unknown, response?: http.ServerResponse): void => {
    server.maxRequestsPerSocket = limit
    if (response !== undefined) setLimitOf(response, limit)
  }
  const told = ['request', 'checkContinue', 'checkExpectation'].filter((event) => server.listenerCount(event) > 0)
  for (const event of told) server.prependListener(event, restore)
  server.maxRequestsPerSocket = lower
  try {
    return incoming()
  } finally {
    for (const event of told) server.removeListener(event, restore)
    restore(undefined)
  }
}

/** What `http` itself makes of it. */
function requestTimeout(): Error {
  return Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' })
}

const HANDSHAKE_TIMEOUT = 120_000

class Tls implements Protocol {
  // An established session lives in this process.
  readonly parksAgain = false
  readonly isPlain = false
  readonly seesEnd = false
  readonly #server: Server

  constructor(server: Server) {
    this.#server = server
  }

  announced(): void {}

  freshLimit(): number {
    const symbol = Object.getOwnPropertySymbols(this.#server).find(
      ({ description }) => description === 'handshake-timeout'
    )
    const timeout = symbol && (this.#server as unknown as Record<symbol, unknown>)[symbol]
    return typeof timeout === 'number' ? timeout : HANDSHAKE_TIMEOUT
  }

  /** `http` knows nothing of them before the handshake is over. */
  freshAreIdle(): boolean {
    return false
  }

  limit(): number {
    return 0
  }

  isLate(): boolean {
    return false
  }

  isNothing(): boolean {
    return false
  }

  expire(): Expiry {
    const server = this.#server
    if (server.listenerCount('tlsClientError') === 0) return {}
    return {
      wake: {
        announced: false,
        timedOut(socket) {
          // As the TLSSocket that it would have been: one that is destroyed with an error is nobody's crash.
          socket.on('error', () => {})
          const error = Object.assign(new Error('TLS handshake timeout'), { code: 'ERR_TLS_HANDSHAKE_TIMEOUT' })
          server.emit('tlsClientError', error, socket)
          socket.destroy()
        }
      }
    }
  }

  mayPark(): boolean {
    return false
  }

  isTaken(): boolean {
    return false
  }

  asked(): void {}

  trim(): void {}
}

/** Of those that are set. */
function shortest(...limits: number[]): number {
  const set = limits.filter((limit) => limit > 0)
  return set.length === 0 ? 0 : Math.min(...set)
}

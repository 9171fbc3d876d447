/** Streams: connections of an HTTP server that only send, such as server-sent events. */
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { E } from '../sys/constants.js'
import { EbbError, invalidArgument } from '../sys/errors.js'
import { receiveAndDrop } from '../sys/transfer.js'
import type { Connection, ConnectionHandle } from './connection.js'
import { endAsLast, madeHead, sendEndlessHead } from './node/http.js'
import type { Connections } from './state/connections.js'
import { STREAM } from './state/table.js'
import type { Cause } from './stats.js'

/** The server that owns the streams. */
export interface StreamHost {
  readonly access: {
    /** Returns the connection behind a socket; undefined for a socket of another server. */
    connection(socket: Socket): ConnectionHandle | undefined
  }
  /** Closes a parked connection. */
  close(row: number, cause: Cause): void
  /** Parks an awake connection. @returns whether it is parked */
  park(row: number, connection: ConnectionHandle): boolean
  /** Schedules the next idle check of an awake connection, unless the server is closed. */
  scheduleIdleCheck(row: number): void
}

/** Makes connections streams, and drops what their peers send. */
export class Streams {
  readonly #connections: Connections
  readonly #host: StreamHost

  constructor(connections: Connections, host: StreamHost) {
    this.#connections = connections
    this.#host = host
  }

  /**
   * Makes the connection of `response` a stream: see {@link Parked.stream}.
   *
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
   * @throws {EbbError} `ERR_HTTP_HEADERS_SENT`; `ERR_EBB_STREAM_ENCODED` if a middleware would encode the body
   */
  start(response: ServerResponse): Connection {
    const socket = typeof response?.flushHeaders === 'function' ? response.socket : null
    const connection = socket ? this.#host.access.connection(socket) : undefined
    const row = connection === undefined ? -1 : this.#connections.table.find(connection.id)
    if (!socket || connection === undefined || row === -1 || response.writableEnded) throw notStreamable()
    checkNotEncoded(response)
    if (!sendEndlessHead(response, () => checkNotEncoded(response))) {
      throw new EbbError(
        'ERR_HTTP_HEADERS_SENT',
        'stream() sends the headers itself, without a Content-Length, and they are sent'
      )
    }
    if (response.req.method === 'HEAD') {
      response.end()
      return connection
    }
    // From now on, broadcasts reach the connection. It is parked when `http` has finished the response.
    this.#connections.table.setFlags(row, STREAM)
    connection.responseEnded = false
    endAsLast(response, socket, () => this.#onResponseEnd(connection))
    return connection
  }

  /** Called when a parked stream is readable: drops what its peer sends, and closes the stream after a FIN. */
  onReadable(row: number, fd: number): void {
    const received = receiveAndDrop(fd)
    if (received === 0) this.#host.close(row, 'peer')
    else if (received < 0 && received !== -E.EAGAIN) this.#host.close(row, 'reset')
  }

  /** Reads and drops from the socket of a stream that is awake only because its reader is slow. */
  onSlowReader(row: number, socket: Socket): void {
    socket.on('error', () => {})
    socket.on('end', () => socket.destroy())
    socket.resume()
    this.#host.scheduleIdleCheck(row)
  }

  #onResponseEnd(connection: ConnectionHandle): void {
    const row = this.#connections.table.find(connection.id)
    if (row === -1 || connection.socket === undefined) return
    connection.responseEnded = true
    // Node's timeouts are for requests.
    connection.socket.setTimeout(0)
    if (!this.#host.park(row, connection)) this.#host.scheduleIdleCheck(row)
  }
}

/**
 * Checks that the bytes of the body reach the client as they are. The events of a stream go to the socket and not
 * through `response.write()`. A middleware that encodes what is written would announce an encoding that the events do
 * not have. A middleware that signs or counts the body would not see them.
 *
 * A replaced `end()` alone is no sign of this: sessions and error trackers replace it to learn when a response ends.
 *
 * @throws {EbbError} `ERR_EBB_STREAM_ENCODED`
 */
function checkNotEncoded(response: ServerResponse): void {
  const encoding = headerOf(response, 'Content-Encoding')
  if (encoding !== undefined && encoding !== '' && encoding.toLowerCase() !== 'identity') {
    throw new EbbError(
      'ERR_EBB_STREAM_ENCODED',
      `stream() sends events as they are, but the response has Content-Encoding: ${encoding}: ${REMEDY}`
    )
  }
  const digest = DIGESTS.find((name) => headerOf(response, name) !== undefined)
  if (digest !== undefined) {
    throw new EbbError(
      'ERR_EBB_STREAM_ENCODED',
      `stream() sends events without an end, but the response has a digest of its body (${digest}): ${REMEDY}`
    )
  }
  const replaced = REPLACEABLE.find((method) => response[method] !== ServerResponse.prototype[method])
  if (replaced === undefined || /\bno-transform\b/i.test(headerOf(response, 'Cache-Control') ?? '')) return
  throw new EbbError(
    'ERR_EBB_STREAM_ENCODED',
    `stream() sends events as they are, but a middleware has replaced response.${replaced}(): ${REMEDY}`
  )
}

/** Methods that a middleware replaces to change the body or the head. */
const REPLACEABLE = ['write', 'flushHeaders'] as const
/** Headers that a middleware computes of the whole body. */
const DIGESTS = ['Content-MD5', 'Digest', 'Content-Digest', 'Repr-Digest'] as const
const REMEDY =
  'leave the middleware (such as compression) out of this route, or set Cache-Control: no-transform before any header is sent'

/** Returns a header of a response, whether `setHeader()` or `writeHead()` set it. */
function headerOf(response: ServerResponse, name: string): string | undefined {
  const value = response.getHeader(name)
  if (value !== undefined) return String(value)
  return new RegExp(`\\r\\n${name}:[ \\t]*([^\\r]*)`, 'i').exec(madeHead(response))?.[1]
}

/** Makes the error for a response whose connection cannot be made a stream. */
export function notStreamable(): TypeError {
  return invalidArgument('stream() takes a response of this HTTP server whose turn it is, and that is not ended')
}

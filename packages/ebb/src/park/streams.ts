/** Streams: connections of an HTTP server that only send, such as server-sent events. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { E } from '../sys/constants.js'
import { EbbError, invalidArgument } from '../sys/errors.js'
import { receiveAndDrop } from '../sys/transfer.js'
import type { Connection, ConnectionHandle } from './connection.js'
import { endAsLast, sendEndlessHead } from './node/http.js'
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
   * @throws {EbbError} `ERR_HTTP_HEADERS_SENT`
   */
  start(response: ServerResponse): Connection {
    const socket = typeof response?.flushHeaders === 'function' ? response.socket : null
    const connection = socket ? this.#host.access.connection(socket) : undefined
    const row = connection === undefined ? -1 : this.#connections.table.find(connection.id)
    if (!socket || connection === undefined || row === -1 || response.writableEnded) throw notStreamable()
    if (!sendEndlessHead(response)) {
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
    const { table } = this.#connections
    table.setFlags(row, table.flags(row) | STREAM)
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

/** Makes the error for a response whose connection cannot be made a stream. */
export function notStreamable(): TypeError {
  return invalidArgument('stream() takes a response of this HTTP server whose turn it is, and that is not ended')
}

/** `ebb/net`: `createServer()` of `node:net`, with connections that are parked while they are idle. */
import { createServer as createNodeServer, type Server, type ServerOpts, type Socket } from 'node:net'
import { type Connection, connectionOf } from './park/connection.js'
import { PARK_OPTIONS, type Parked, type ParkOptions, parkFor } from './park/park.js'
import { checkFunction } from './sys/arguments.js'
import { warnOfUnknown } from './sys/unknown.js'

export type { Connection } from './park/connection.js'
export type { Parked, ParkOptions } from './park/park.js'
export type { Cause, ParkStats } from './park/stats.js'
export type { ProxyProtocolOptions } from './socket/proxy-protocol.js'
export type { ShutdownOptions, ShutdownReport } from './socket/shutdown.js'

/** A `net.Server` whose connections are parked. */
export type ParkServer = Server & Parked

/** Called at each wake of a connection, with a new socket. The connection has the same id each time. */
export type ConnectionListener = (socket: Socket, connection: Connection) => void

/** Default of `idle`, in ms. */
const IDLE = 1000

/**
 * Creates a TCP server, with the options of `net.createServer()` and of `park()`. The default of `idle` is `'1s'`.
 *
 * The server calls `listener` at the first byte of a connection. After `idle` without a byte, the connection is parked,
 * and its socket emits `close`. At the next byte, the server calls `listener` again, with a new socket. To keep data
 * from one wake to the next, set `connection.attachment`.
 *
 * ```ts
 * createServer({ idle: '5s' }, (socket, connection) => {
 *   socket.on('data', (bytes) => socket.write(`${connection.wakes}: ${bytes}`))
 * }).listen(7000)
 * ```
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid
 */
export function createServer(options?: ServerOpts & ParkOptions, listener?: ConnectionListener): ParkServer
export function createServer(listener?: ConnectionListener): ParkServer
export function createServer(
  options: (ServerOpts & ParkOptions) | ConnectionListener = {},
  listener?: ConnectionListener
): ParkServer {
  if (typeof options === 'function') return createServer({}, options)
  checkFunction(listener ?? undefined, 'listener of createServer()')
  const parking = { idle: IDLE, ...parkOptions(options ?? {}) }
  const server = parkFor('createServer() of ebb/net', createNodeServer(options), parking)
  if (listener) server.on('connection', server.supported ? listener : withConnection(listener))
  return server
}

/** Passes the connection to a listener where connections cannot be parked: Node passes the socket alone. */
function withConnection(listener: ConnectionListener): ConnectionListener {
  const passing: ConnectionListener = function (this: unknown, socket) {
    listener.call(this, socket, connectionOf(socket) as Connection)
  }
  // As `once()` does for `off()` and `listeners()`.
  return Object.assign(passing, { listener })
}

/** Returns the options that are for `park()`. The others are Node's. */
function parkOptions(options: ServerOpts & ParkOptions): ParkOptions {
  warnOfUnknown(options, PARK_OPTIONS, 'createServer()', true)
  const set = PARK_OPTIONS.filter((name) => options[name] !== undefined)
  return Object.fromEntries(set.map((name) => [name, options[name]]))
}

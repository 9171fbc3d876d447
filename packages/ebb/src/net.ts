/** `ebb/net`: `createServer()` as `node:net` has it, whose connections sleep when they are silent. */
import { createServer as createNodeServer, type Server, type ServerOpts, type Socket } from 'node:net'
import { type Connection, connectionOf } from './park/connection.js'
import { type Parked, type ParkOptions, park } from './park/park.js'

export type { Connection } from './park/connection.js'
export type { Parked, ParkOptions } from './park/park.js'
export type { Cause, ParkStats } from './park/parking.js'

/** A `net.Server` whose connections are parked. */
export type ParkServer = Server & Parked

/** Called at each wake, with a fresh socket and the connection behind it, which lasts from one to the next. */
export type ConnectionListener = (socket: Socket, connection: Connection) => void

const IDLE = 1000

/**
 * Makes a TCP server, with the options of `net.createServer()` and of {@link park}; `idle` is `'1s'` by default.
 *
 * A connection is handed to `listener` at its first byte, and parked again when `idle` has passed without one: its socket emits
 * `close`. At the next byte `listener` is called again. What is to last goes into `connection.attachment`.
 *
 * ```ts
 * createServer({ idle: '5s' }, (socket, connection) => {
 *   socket.on('data', (bytes) => socket.write(`${connection.wakes}: ${bytes}`))
 * }).listen(7000)
 * ```
 */
export function createServer(options?: ServerOpts & ParkOptions, listener?: ConnectionListener): ParkServer
export function createServer(listener?: ConnectionListener): ParkServer
export function createServer(
  options: (ServerOpts & ParkOptions) | ConnectionListener = {},
  listener?: ConnectionListener
): ParkServer {
  if (typeof options === 'function') return createServer({}, options)
  const server = park(createNodeServer(options), { idle: IDLE, ...options })
  // Found by its socket: where nothing can be parked, the event has no second argument.
  if (listener)
    server.on('connection', (socket: Socket) => listener.call(server, socket, connectionOf(socket) as Connection))
  return server
}

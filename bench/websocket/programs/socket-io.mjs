/** An echo server on socket.io, whose WebSockets are those of `ws`, of ebb/ws, or of another module. */
import { createServer } from 'node:http'
import { isWebSocketParked, parkedWebSocketServer } from 'ebb/ws'
import { Server } from 'socket.io'
import { WebSocketServer } from 'ws'
import { given } from '../../harness/answer.mjs'
import { serve } from '../../harness/serve.mjs'

/** Milliseconds between two pings: none falls into the measurements. */
const PING_INTERVAL = 3_600_000

const [engine, , idle] = /** @type {['ws' | 'ebb' | string, boolean, number]} */ (given)
const server = createServer()
const io = new Server(server, { wsEngine: await wsEngine(), pingInterval: PING_INTERVAL, serveClient: false })
io.on('connection', (socket) => {
  socket.on('m', (text) => socket.emit('m', text))
})

async function wsEngine() {
  if (engine === 'ws') return WebSocketServer
  if (engine === 'ebb') return parkedWebSocketServer(WebSocketServer, { idle })
  const { default: module } = /** @type {{ default: { Server: unknown } }} */ (await import(engine))
  return module.Server
}

/** The WebSockets of all connections. */
function* webSockets() {
  for (const { conn } of io.sockets.sockets.values()) {
    yield/** @type {{ transport: { socket: object } }} */ (/** @type {unknown} */ (conn)).transport.socket
  }
}

await serve(server, {
  /** Returns how many connections are open, and how many of them are parked. */
  open: () => ({
    open: io.engine.clientsCount,
    parked: [...webSockets()].filter(isWebSocketParked).length
  }),
  /** @param {string} text */
  broadcast: (text) => void io.emit('m', text)
})

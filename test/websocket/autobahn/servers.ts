/** The echo servers that the cases of the Autobahn test suite are played against. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { parkWebSocket } from 'ebb/testing'
import { hibernate } from 'ebb/websocket'
import { isWebSocketParked, parkWebSockets } from 'ebb/ws'
import { type WebSocket, WebSocketServer } from 'ws'

/** Cases 9.3.1 and 9.4.1 send messages of as many fragments. `ws` takes 16,384 by default. */
const MAX_FRAGMENTS = 65_536

/** A server that sends each message back. */
export interface EchoServer {
  port: number
  /** Resolves when all connections are parked, if the server parks them. */
  settled(): Promise<void>
  /** How many messages arrived while their connection was parked. */
  asleep(): number
  close(): Promise<void>
}

/** A kind of server. */
export interface Kind {
  name: string
  /** Whether the connections of this kind are parked. */
  parks: boolean
  /** Whether it can compress messages. */
  compresses: boolean
  start(options: { compression: boolean }): Promise<EchoServer>
}

type Parks = (webSockets: WebSocketServer, deflate: boolean) => void

/** Starts a server on `ws`. */
async function start(compression: boolean, deflate: boolean, parks?: Parks): Promise<EchoServer> {
  const server = http.createServer()
  const options = { server, perMessageDeflate: compression, maxFragments: MAX_FRAGMENTS }
  const webSockets = new WebSocketServer(options)
  parks?.(webSockets, deflate)
  let asleep = 0
  webSockets.on('connection', (webSocket) => {
    webSocket.on('error', () => {})
    webSocket.on('message', (message, binary) => {
      if (isWebSocketParked(webSocket)) asleep++
      webSocket.send(message, { binary })
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    asleep: () => asleep,
    async settled() {
      while (parks !== undefined && ![...webSockets.clients].every(isWebSocketParked)) await turn()
    },
    async close() {
      for (const client of webSockets.clients) client.terminate()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

/** Parks a connection at each turn of the event loop, unless a message is incomplete. */
function parkAlways(webSocket: WebSocket): void {
  if (webSocket.readyState !== webSocket.OPEN) return
  if (!isWebSocketParked(webSocket)) parkWebSocket(webSocket)
  setImmediate(parkAlways, webSocket)
}

const eagerly: Parks = (webSockets, deflate) => {
  parkWebSockets(webSockets, { idle: '1h', deflate })
  webSockets.on('connection', (webSocket) => process.nextTick(parkAlways, webSocket))
}

const byIdle: Parks = (webSockets, deflate) => void parkWebSockets(webSockets, { idle: '1ms', deflate })

/** The control. */
const plain: Kind = {
  name: 'ws',
  parks: false,
  compresses: true,
  start: ({ compression }) => start(compression, false)
}

function parked(how: string, parks: Parks): Kind {
  return {
    name: `ebb/ws, parked ${how}`,
    parks: true,
    compresses: true,
    start: ({ compression }) => start(compression, true, parks)
  }
}

/** Cases 9.1.6 and 9.2.6 send messages of this length. */
const LONGEST = 16 * 1024 * 1024

/** Starts a server of `hibernate()`. @param server for which it takes the requests; undefined: on a port of its own */
async function startHibernating(server?: http.Server): Promise<EchoServer> {
  let messages = 0
  const hub = hibernate(
    server ?? { port: 0, host: '127.0.0.1' },
    {
      message(socket, data) {
        messages++
        socket.send(data)
      }
    },
    { maxPayload: LONGEST, maxQueued: 2 * LONGEST }
  )
  if (server !== undefined) await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (hub.server.address() as AddressInfo).port,
    asleep: () => messages,
    settled: () => Promise.resolve(),
    async close() {
      await hub.close()
      if (server === undefined) return
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

function hibernating(where: string, makeServer: () => http.Server | undefined): Kind {
  return {
    name: `ebb/websocket, ${where}`,
    parks: true,
    compresses: false,
    start: () => startHibernating(makeServer())
  }
}

export const kinds: Kind[] = [
  plain,
  parked('at each turn', eagerly),
  parked('by idle', byIdle),
  hibernating('on a port of its own', () => undefined),
  hibernating('on an HTTP server', () => http.createServer())
]

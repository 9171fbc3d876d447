/** Connections of `ws` in a test, of which the test has both ends. */
import { once } from 'node:events'
import type { AddressInfo, Server, Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { parkWebSocket } from 'ebb/testing'
import { isWebSocketParked } from 'ebb/ws'
import { onTestFinished } from 'vitest'
import { WebSocket, type WebSocketServer } from 'ws'

export interface Pair {
  client: WebSocket
  /** The server's side of the connection. */
  peer: WebSocket
}

/** Opens a connection, and parks it if `parked`. The client is terminated at the end of the test. */
export async function openPair(server: Server, webSockets: WebSocketServer, parked: boolean): Promise<Pair> {
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
  onTestFinished(() => client.terminate())
  const [[peer]] = (await Promise.all([once(webSockets, 'connection'), once(client, 'open')])) as [[WebSocket], unknown]
  while (parked && !isWebSocketParked(peer)) {
    parkWebSocket(peer)
    await turn()
  }
  return { client, peer }
}

/** Resolves with the code when a WebSocket is closed. */
export const closed = async (webSocket: WebSocket) => (await once(webSocket, 'close'))[0] as number

/** Returns the socket of a WebSocket, for bytes that `ws` would not send. If the connection is parked, it wakes. */
export const socketOf = (webSocket: WebSocket) => (webSocket as unknown as { _socket: Socket })._socket

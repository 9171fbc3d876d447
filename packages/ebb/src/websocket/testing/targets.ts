/** Servers that can be played the same steps: `ws`, `ebb/ws`, and the core without `ws`. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { BINARY, NO_CODE, PING, TEXT } from '../frames.js'
import type { SendCallback } from '../handlers.js'
import { isWebSocketParked, parkWebSocket, parkWebSockets } from '../ws/park-web-sockets.js'
import { serve } from './server.js'

/** What a server's side of a connection has seen, in order. */
export type Seen =
  | { name: 'text' | 'binary' | 'ping' | 'pong'; payload: Buffer }
  /** The peer broke the protocol; with the code of the close frame that it gets. */
  | { name: 'fault'; code: number }
  | { name: 'close'; code: number; reason: string }

/** The server's side of a connection. It sends each message back. */
export interface Peer {
  readonly seen: Seen[]
  send(payload: Buffer, binary: boolean, done: SendCallback): void
  ping(payload: Buffer): void
  close(code: number | undefined, reason: string): void
  terminate(): void
  /** Parks the connection if nothing is in progress. */
  park(): void
  /** Wakes the connection, if it is ever awake. */
  wake(): void
  isParked(): boolean
  /** Number of bytes that wait for a slow reader. */
  queued(): number
  /** `readyState` of a WebSocket of `ws`. */
  state?(): number
  /** Called whenever something is added to {@link seen}. */
  onSeen: () => void
}

/** A server. */
export interface Target {
  readonly port: number
  /** Returns the server's side of the next connection. */
  accept(): Promise<Peer>
  close(): Promise<void>
}

/** What a message that begins with this text asks of the server: to close the connection, after it has answered. */
export const CLOSE_NOW = 'close now '
/** Code of the server's close frame after {@link CLOSE_NOW}. */
export const CLOSE_NOW_CODE = 4321

/** Starts a server on `ws`. @param parks whether its connections are parked */
export async function wsTarget(parks: boolean): Promise<Target> {
  const server = http.createServer()
  const webSockets = new WebSocketServer({ server })
  if (parks) parkWebSockets(webSockets, { idle: '1ms' })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async accept() {
      const [webSocket] = (await once(webSockets, 'connection')) as [WebSocket]
      return peerOf(webSocket)
    },
    async close() {
      for (const client of webSockets.clients) client.terminate()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

/** Returns the socket of a WebSocket. If the connection is parked, it wakes. */
export function socketOf(webSocket: WebSocket): Socket {
  return (webSocket as unknown as { _socket: Socket })._socket
}

function peerOf(webSocket: WebSocket): Peer {
  const peer: Peer = {
    seen: [],
    send: (payload, binary, done) => webSocket.send(payload, { binary }, done as (error?: Error) => void),
    ping: (payload) => webSocket.ping(payload),
    close: (code, reason) => webSocket.close(code, reason),
    terminate: () => webSocket.terminate(),
    park: () => void parkWebSocket(webSocket),
    wake: () => void socketOf(webSocket),
    isParked: () => isWebSocketParked(webSocket),
    queued: () => webSocket.bufferedAmount,
    state: () => webSocket.readyState,
    onSeen: () => {}
  }
  const see = (seen: Seen): void => {
    peer.seen.push(seen)
    peer.onSeen()
  }
  webSocket.on('message', (payload: Buffer, binary) => {
    see({ name: binary ? 'binary' : 'text', payload })
    if (webSocket.readyState === WebSocket.OPEN) webSocket.send(payload, { binary })
    if (payload.subarray(0, CLOSE_NOW.length).equals(Buffer.from(CLOSE_NOW))) webSocket.close(CLOSE_NOW_CODE)
  })
  webSocket.on('ping', (payload: Buffer) => see({ name: 'ping', payload }))
  webSocket.on('pong', (payload: Buffer) => see({ name: 'pong', payload }))
  webSocket.on('error', (error: Error & { code?: string }) => {
    if (error.code?.startsWith('WS_ERR') !== true) return
    const isTooLong = /^WS_ERR_UNSUPPORTED_.*LENGTH$/.test(error.code)
    const code = error.code === 'WS_ERR_INVALID_UTF8' ? 1007 : isTooLong ? 1009 : 1002
    see({ name: 'fault', code })
  })
  webSocket.on('close', (code, reason) => see({ name: 'close', code, reason: String(reason) }))
  return peer
}

/** Starts a server on the core, whose connections are never awake. */
export async function coreTarget(): Promise<Target> {
  const peers = new Map<number, Peer>()
  let accepted: ((peer: Peer) => void) | undefined
  const see = (row: number, seen: Seen): void => {
    const peer = peers.get(row)
    peer?.seen.push(seen)
    peer?.onSeen()
  }
  const copy = (bytes: Buffer, start: number, end: number) => Buffer.from(bytes.subarray(start, end))
  const server = await serve(
    {
      rules: { masked: true, allowRsv1: false, maxPayload: 100 * 1024 * 1024 },
      onMessage(row, bytes, start, end, binary) {
        const payload = copy(bytes, start, end)
        see(row, { name: binary ? 'binary' : 'text', payload })
        if (server.core().isOpen(row)) server.core().send(row, binary ? BINARY : TEXT, payload)
        if (payload.subarray(0, CLOSE_NOW.length).equals(Buffer.from(CLOSE_NOW))) {
          server.core().close(row, CLOSE_NOW_CODE)
        }
      },
      onPing: (row, bytes, start, end) => see(row, { name: 'ping', payload: copy(bytes, start, end) }),
      onPong: (row, bytes, start, end) => see(row, { name: 'pong', payload: copy(bytes, start, end) }),
      onFault: (row, { closeCode }) => see(row, { name: 'fault', code: closeCode }),
      onClosed(row, code, reason) {
        see(row, { name: 'close', code, reason: String(reason) })
        peers.delete(row)
      }
    },
    http.createServer(),
    (_socket, row) => {
      const core = server.core()
      // The row belongs to another connection once this one is closed.
      const ifOpen = (act: () => void): void => {
        if (peers.get(row) === peer) act()
      }
      const peer: Peer = {
        seen: [],
        send(payload, binary, done) {
          if (peers.get(row) === peer) core.send(row, binary ? BINARY : TEXT, payload, done)
          else process.nextTick(done, new Error('closed'))
        },
        ping: (payload) => ifOpen(() => core.send(row, PING, payload)),
        close: (code, reason) => ifOpen(() => core.close(row, code ?? NO_CODE, Buffer.from(reason))),
        terminate: () => ifOpen(() => core.terminate(row)),
        park: () => {},
        wake: () => {},
        isParked: () => peers.get(row) === peer && core.isParked(row),
        queued: () => (peers.get(row) === peer ? core.queued(row) : 0),
        onSeen: () => {}
      }
      peers.set(row, peer)
      accepted?.(peer)
    }
  )
  return {
    port: server.port,
    accept: () =>
      new Promise((resolve) => {
        accepted = resolve
      }),
    close: () => server.close()
  }
}

/** Which protocol a server speaks. */
import type http from 'node:http'
import type { Server } from 'node:net'
import type { ServerInternals } from '../node/server.js'
import { HttpProtocol } from './http.js'
import { Http2Protocol } from './http2.js'
import type { Protocol } from './protocol.js'
import { TcpProtocol } from './tcp.js'
import { TlsProtocol } from './tls.js'

/** Whether this is an `http.Server` or an `https.Server`. */
export function isHttp(server: Server): boolean {
  return 'closeIdleConnections' in server
}

/**
 * Whether `close()` closes connections that have not sent a byte. For HTTP they are idle. A `net.Server` and a
 * `tls.Server` wait for them, as in Node.
 */
export function closesSilent(server: Server): boolean {
  return isHttp(server) || isHttp2(server)
}

/** Whether this is a server of `http2`. */
export function isHttp2(server: Server): boolean {
  return 'updateSettings' in server
}

/**
 * Returns the protocol of a server. It is detected by the server's methods: importing `http` and `tls` to compare
 * classes would load them in programs that do not use them.
 *
 * @param parksAgain whether idle connections are parked again, if the protocol allows it
 */
export function protocolOf(server: ServerInternals, parksAgain: boolean): Protocol {
  if ('setSecureContext' in server) return new TlsProtocol(server)
  if (isHttp(server)) return new HttpProtocol(server as unknown as http.Server, parksAgain)
  if (isHttp2(server)) return new Http2Protocol(server)
  return new TcpProtocol(server, parksAgain)
}

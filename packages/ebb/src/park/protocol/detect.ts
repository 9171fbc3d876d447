/** Which protocol a server speaks. */
import type http from 'node:http'
import type { ServerInternals } from '../node/server.js'
import { HttpProtocol } from './http.js'
import { Http2Protocol } from './http2.js'
import { isHttp, isHttp2, isTls } from './kind.js'
import type { Protocol } from './protocol.js'
import { TcpProtocol } from './tcp.js'
import { TlsProtocol } from './tls.js'

/**
 * Returns the protocol of a server.
 *
 * @param parksAgain whether idle connections are parked again, if the protocol allows it
 */
export function protocolOf(server: ServerInternals, parksAgain: boolean): Protocol {
  if (isTls(server)) return new TlsProtocol(server)
  if (isHttp(server)) return new HttpProtocol(server as unknown as http.Server, parksAgain)
  if (isHttp2(server)) return new Http2Protocol(server)
  return new TcpProtocol(server, parksAgain)
}

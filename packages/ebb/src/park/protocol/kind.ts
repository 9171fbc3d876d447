/** Which kind of server this is. Detected by methods: to compare classes, `http` and `tls` would have to be loaded. */
import type { Server } from 'node:net'

/** Whether this is an `http.Server` or an `https.Server`. */
export function isHttp(server: Server): boolean {
  return 'closeIdleConnections' in server
}

/** Whether this is a server of `http2`. */
export function isHttp2(server: Server): boolean {
  return 'updateSettings' in server
}

/** Whether this is a server of `tls`, `https`, or `http2` with TLS. */
export function isTls(server: Server): boolean {
  return 'setSecureContext' in server
}

/** Returns the name of the protocol that a server speaks. */
export function protocolName(server: Server): 'tcp' | 'tls' | 'http' | 'https' | 'http2' {
  if (isHttp2(server)) return 'http2'
  if (isHttp(server)) return isTls(server) ? 'https' : 'http'
  return isTls(server) ? 'tls' : 'tcp'
}

/**
 * Whether `close()` closes connections that have not sent a byte. For HTTP they are idle. A `net.Server` and a
 * `tls.Server` wait for them, as in Node.
 */
export function closesSilent(server: Server): boolean {
  return isHttp(server) || isHttp2(server)
}

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

/**
 * Whether `close()` closes connections that have not sent a byte. For HTTP they are idle. A `net.Server` and a
 * `tls.Server` wait for them, as in Node.
 */
export function closesSilent(server: Server): boolean {
  return isHttp(server) || isHttp2(server)
}

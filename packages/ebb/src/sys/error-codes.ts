/** Every code that this package puts on an error or a process warning by itself, with its cause in one sentence. */

/**
 * Codes of errors. `ERR_EBB_*` are this package's own; the others are Node's codes, used where Node itself would use
 * them. System errors carry the name of their errno (`EADDRINUSE`, ...) and are not listed here.
 */
export const ERROR_CODES = {
  ERR_EBB_ATTACHMENT_TOO_LARGE: "The serialised attachment is larger than the server's `attachmentLimit`.",
  ERR_EBB_CONNECTION_CLOSED: 'An attachment was set on a connection that is already closed.',
  ERR_EBB_UNSUPPORTED: 'The library cannot reach the kernel: not Linux, no koffi binary, or a runtime without libuv.',
  ERR_HTTP_HEADERS_SENT: '`stream()` was called after the headers were sent, or after a Content-Length was set.',
  ERR_HTTP_REQUEST_TIMEOUT: 'A parked HTTP connection sent no request within `headersTimeout` or `requestTimeout`.',
  ERR_INVALID_ARG_VALUE: 'An option or an argument has a value that is not allowed.',
  ERR_MISSING_ARGS: '`listen()` was called with neither a port nor a path.',
  ERR_STREAM_DESTROYED: 'Bytes were written to a socket whose connection is closed.',
  ERR_STREAM_WRITE_AFTER_END: '`write()` was called after `end()`.',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'A parked TLS connection sent no byte within `handshakeTimeout`.'
} as const

/** The code of an error that this package makes. */
export type ErrorCode = keyof typeof ERROR_CODES

/** Codes of process warnings. */
export const WARNING_CODES = {
  EBB_NO_PRESSURE: 'Memory pressure cannot be watched, so the governor works without it.',
  EBB_RELEASE_FAILED: 'A release of memory failed; the program goes on without it.',
  EBB_UNSUPPORTED: 'Connections cannot be parked here, so the server runs as a plain Node server.'
} as const

/** The code of a process warning that this package emits. */
export type WarningCode = keyof typeof WARNING_CODES

/** Every code that this package puts on an error or a process warning by itself, with its cause in one sentence. */

const errors = {
  EACCES: 'A process exists, but `/proc` does not show it to this user (`hidepid`).',
  EBADF: 'A file of `/proc` was read after it was closed.',
  EEXIST: 'A handover socket cannot be made, because its path exists and is not a socket.',
  EINVAL: 'A process id is not a whole number above 0, or it is that of a kernel thread.',
  ENODATA: 'The kernel does not tell the size of a page.',
  ENOTSUP: 'A process cannot be read, because this is not Linux.',
  ERR_EBB_ATTACHMENT_TOO_LARGE: "The serialised attachment is larger than the server's `attachmentLimit`.",
  ERR_EBB_CONNECTION_CLOSED: 'An attachment, or tags, were set on a connection that is already closed.',
  ERR_EBB_HANDOVER: 'A process cannot take over from another, or hand over to it; the message says why.',
  ERR_EBB_INSIDE: 'A process has not answered at its inside socket; the message says why.',
  ERR_EBB_INSIDE_TIMEOUT: 'A process has not answered at its inside socket in time: it is busy or stopped.',
  ERR_EBB_NO_INSIDE: 'A process has no inside socket that can be reached from here; the message says why.',
  ERR_EBB_OTHER_USER: 'The process at the other end of a handover socket or an inside socket runs as another user.',
  ERR_EBB_PROXY_HEADER: 'A connection of a server with `proxyProtocol` did not begin with a valid header.',
  ERR_EBB_PROXY_TIMEOUT: 'The header of the PROXY protocol began, but was not complete in time.',
  ERR_EBB_RUN_COMMAND: 'The command of `ebb run` cannot be run.',
  ERR_EBB_RUN_GUARD: '`ebb run` cannot start the shell that ends its processes when `ebb run` is killed.',
  ERR_EBB_RUN_KEEPER: 'The keeper of `ebb run --keep` cannot keep connections, or give them to a process.',
  ERR_EBB_RUN_NOTIFY: '`ebb run` cannot report its state to systemd.',
  ERR_EBB_RUN_RESTARTS: 'A process of `ebb run` ended too often in a row.',
  ERR_EBB_RUN_STORE: 'Connections cannot be put into the descriptor store of systemd, or taken from it.',
  ERR_EBB_RUN_SUCCESSOR: 'A successor of `ebb run` has not taken over.',
  ERR_EBB_STREAM_ENCODED: '`stream()` was called on a response whose body a middleware encodes, signs or counts.',
  ERR_EBB_UNSUPPORTED: 'The library cannot reach the kernel: not Linux, no koffi binary, or a runtime without libuv.',
  ERR_EBB_WEBSOCKET: 'The peer of a WebSocket connection of `hibernate()` broke the protocol: see `closeCode`.',
  ERR_HTTP_HEADERS_SENT: '`stream()` was called after the headers were sent, or after a Content-Length was set.',
  ERR_HTTP_REQUEST_TIMEOUT: 'A parked HTTP connection sent no request within `headersTimeout` or `requestTimeout`.',
  ERR_INVALID_ARG_VALUE: 'An option or an argument has a value that is not allowed.',
  ERR_MISSING_ARGS: '`listen()` or `hibernate()` was called with neither a port nor a path.',
  ERR_SERVER_NOT_RUNNING: 'The address of a listener was read before it listened.',
  ERR_STREAM_ALREADY_FINISHED: '`end()` was called again on a socket whose connection sleeps.',
  ERR_STREAM_DESTROYED: 'Bytes were written to a socket whose connection is closed.',
  ERR_STREAM_WRITE_AFTER_END: '`write()` was called after `end()`.',
  ESRCH: 'There is no such process, it has ended, or it is a zombie.',
  UNKNOWN: 'A process cannot be read, and the cause has no code.'
} as const

/** The code of an error that this package makes. */
export type ErrorCode = keyof typeof errors

/**
 * Codes of errors, with the cause of each. `ERR_EBB_*` are this package's own. The others are Node's codes, used where
 * Node itself would use them, or names of an errno, used where this package knows the answer of the kernel. The error
 * of a failed system call has the name of its errno (`EADDRINUSE`, ...), which is not listed here.
 */
export const ERROR_CODES: Readonly<Record<ErrorCode, string>> = errors

const warnings = {
  EBB_KEEPER_LOST: 'The keeper has ended or does not read, so connections are lost if this process is killed.',
  EBB_NO_PRESSURE: 'Memory pressure cannot be watched, so the governor works without it.',
  EBB_OPTIONS_IGNORED: 'Options of `park()` were ignored, because `ebb/park` had parked the server before.',
  EBB_PROXY_HEADER: 'A connection begins with a header of the PROXY protocol, but the server has no `proxyProtocol`.',
  EBB_RELEASE_FAILED: 'A release of memory failed; the program goes on without it.',
  EBB_SHORT_TIME: 'A time is a number below 10, which is milliseconds: seconds were probably meant.',
  EBB_STATE_LOST: 'The socket of a connection that was parked has properties that its next socket does not have.',
  EBB_UNKNOWN_OPTION: 'An option or an `EBB_*` variable is not known, and is ignored.',
  EBB_UNSUPPORTED:
    'The kernel or malloc cannot be called here: a server runs as plain Node, a governor collects garbage only.'
} as const

/** The code of a process warning that this package emits. */
export type WarningCode = keyof typeof warnings

/** Codes of process warnings, with the cause of each. */
export const WARNING_CODES: Readonly<Record<WarningCode, string>> = warnings

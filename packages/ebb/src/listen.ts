/**
 * `ebb/listen`: {@link listen} alone, with the figures that a server may report about itself. It loads less code than
 * `ebb`, which includes `park()` and `govern()`, for processes in which each megabyte counts.
 */
export { ConnectionGovernor, Governor, type GovernorOptions } from './govern/connection-governor.js'
export type { Connection } from './listen/connection.js'
export type { Handlers } from './listen/handlers.js'
export { createListener, type Listener, type ListenerOptions, type ListenOptions, listen } from './listen/listen.js'
export { type Release, type ReleaseOptions, release } from './memory/release.js'
export { type RuntimeView, runtimeView } from './memory/runtime.js'
export type { SocketOptions } from './socket/listening-socket.js'
export type { HandedOver } from './socket/moved.js'
export type { ProxyProtocolOptions } from './socket/proxy-protocol.js'
export type { ShutdownOptions, ShutdownReport } from './socket/shutdown.js'
export type { ErrorCode } from './sys/error-codes.js'
export { EbbError, type Errno, type SystemError } from './sys/errors.js'
export type { AddressInfo } from './sys/sockaddr.js'

/**
 * `ebb/listen`: {@link listen} and what a server of it may want to tell of itself, for processes in which a megabyte counts. `ebb`
 * loads `park()` and `govern()` as well.
 */
export { ConnectionGovernor, Governor, type GovernorOptions } from './govern/connection-governor.js'
export type { Connection } from './listen/connection.js'
export { type Handlers, type Listener, listen } from './listen/listener.js'
export { type Release, type ReleaseOptions, release } from './memory/release.js'
export { type RuntimeView, runtimeView } from './memory/runtime.js'
export type { ListenOptions } from './socket/listening-socket.js'
export type { SystemError } from './sys/errors.js'
export type { AddressInfo } from './sys/sockaddr.js'

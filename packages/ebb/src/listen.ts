/**
 * `ebb/listen`: {@link listen} and what a server of it may want to tell of itself, for processes in which a megabyte counts. `ebb`
 * loads `park()` and `govern()` as well.
 */
export { Governor, type GovernorOptions } from './memory/governor.js'
export { type Release, type ReleaseOptions, release } from './memory/release.js'
export { type RuntimeView, runtimeView } from './memory/runtime.js'
export type { Connection } from './server/connection.js'
export { type Handlers, type Listener, listen } from './server/listener.js'
export type { ListenOptions } from './server/socket.js'
export type { SystemError } from './sys/errors.js'
export type { AddressInfo } from './sys/sockaddr.js'

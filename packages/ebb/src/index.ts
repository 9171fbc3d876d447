/** Servers whose memory follows their load. */
export { Governor, type GovernorOptions } from './memory/governor.js'
export { type Release, release } from './memory/release.js'
export type { Connection } from './server/connection.js'
export { type Handlers, type Listener, listen } from './server/listener.js'
export type { ListenOptions } from './server/socket.js'
export type { SystemError } from './sys/errors.js'
export type { AddressInfo } from './sys/sockaddr.js'

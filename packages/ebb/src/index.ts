/** Servers whose memory follows their load. */

export { Governor, type GovernorOptions } from './govern/connection-governor.js'
export { type Governing, type GovernOptions, type GovernStats, govern } from './govern/process-governor.js'
export type { Connection } from './listen/connection.js'
export { type Handlers, type Listener, listen } from './listen/listener.js'
export { type Release, type ReleaseOptions, release } from './memory/release.js'
export type { Connection as ParkedConnection } from './park/connection.js'
export { type Parked, type ParkOptions, park } from './park/park.js'
export type { Cause, ParkStats } from './park/parking.js'
export type { ListenOptions } from './socket/listening-socket.js'
export type { SystemError } from './sys/errors.js'
export type { AddressInfo } from './sys/sockaddr.js'

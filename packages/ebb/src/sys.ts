/** `ebb/sys`: the kernel, for the laboratory and for those who build on it. Not covered by semantic versioning. */
export { grown, resized } from './sys/arrays.js'
export { descriptorLimit } from './sys/descriptors.js'
export { errorName, invalidArgument, type SystemError, systemError } from './sys/errors.js'
export * as libc from './sys/libc.js'
export { Reactor, reactor, type Watcher } from './sys/reactor.js'
export {
  type Address,
  type AddressInfo,
  decodeAddress,
  formatAddress,
  SOCKADDR_SIZE,
  SocketAddress
} from './sys/sockaddr.js'
export { setOption, takeError } from './sys/socket-options.js'

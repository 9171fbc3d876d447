/** `ebb/sys`: the kernel, for the laboratory and for those who build on it. Not covered by semantic versioning. */
export { grown, resized } from './arrays.js'
export { descriptorLimit } from './descriptors.js'
export { errorName, invalidArgument, type SystemError, systemError } from './errors.js'
export * as libc from './libc.js'
export { setOption, takeError } from './options.js'
export { Reactor, reactor, type Watcher } from './reactor.js'
export {
  type Address,
  type AddressInfo,
  decodeAddress,
  formatAddress,
  SOCKADDR_SIZE,
  SocketAddress
} from './sockaddr.js'

/**
 * `ebb/sys`: the kernel's interface and frames of WebSockets, for the laboratory and for programs that build on it. Not
 * covered by semantic versioning.
 */
export { checkBoolean, checkFromZero, checkObject } from './sys/arguments.js'
export { grown, resized } from './sys/arrays.js'
export {
  acceptChannel,
  Channel,
  type ChannelMessage,
  channelPair,
  connectChannel,
  LONGEST_CHANNEL_PATH,
  listenForChannels,
  MOST_BYTES,
  MOST_DESCRIPTORS
} from './sys/channel.js'
/** Numbers of the kernel's headers, with their names there: `constants.SOL_SOCKET`, `constants.E.EAGAIN`. */
export * as constants from './sys/constants.js'
export { descriptorLimit } from './sys/descriptors.js'
export { warnOfShort } from './sys/duration.js'
export { EbbError, errorName, invalidArgument, type SystemError, shown, systemError } from './sys/errors.js'
/** The C library, and the constants once more. Prefer the functions of this entry, which throw or return an errno. */
export * as libc from './sys/libc.js'
export { type PeerCredentials, peerOf } from './sys/peer.js'
export { lackOfReactor, Reactor, reactor, type Watcher } from './sys/reactor.js'
export { type ListeningSocket, SocketDiag } from './sys/sock-diag.js'
export {
  type Address,
  type AddressInfo,
  decodeAddress,
  formatAddress,
  SOCKADDR_SIZE,
  SocketAddress
} from './sys/sockaddr.js'
export {
  type BindOptions,
  bindSocket,
  bindTo,
  closeDescriptor,
  connectBlocking,
  createSocket,
  listenOn,
  localAddress,
  resetOnClose,
  setOption,
  startConnect,
  takeError
} from './sys/socket.js'
export { addressOf, receiveAt, sendAt, sendBytes } from './sys/transfer.js'
export { warnOfUnknown } from './sys/unknown.js'
/** Frames of WebSockets, read from and written to buffers. */
export * as frames from './websocket/frames.js'

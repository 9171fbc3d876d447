/**
 * Sockets: creating, binding, listening, connecting, shutting down, addresses and options.
 *
 * Functions that run once for each connection return an errno; functions that run once for each server throw a
 * {@link SystemError}.
 */
import * as libc from './libc.js'
import { hasDuplicates } from './reactor.js'
import {
  type Address,
  type AddressInfo,
  decodeAddress,
  formatAddress,
  SOCKADDR_SIZE,
  SocketAddress
} from './sockaddr.js'

const TYPE = libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC

/** How {@link bindSocket} binds. Unix sockets have none of these options. */
export interface BindOptions {
  /** `SO_REUSEADDR`: bind although connections of an earlier server still linger. Default: false. */
  reuseAddress?: boolean
  /** `SO_REUSEPORT`: share the port with other sockets that have this option. Default: false. */
  reusePort?: boolean
  /** For an IPv6 address: refuse IPv4. Default: false. */
  ipv6Only?: boolean
}

/**
 * Creates a non-blocking stream socket.
 *
 * @param family `AF_INET`, `AF_INET6` or `AF_UNIX`
 * @returns its descriptor, or a negative errno
 */
export function createSocket(family: number): number {
  const fd = libc.socket(family, TYPE, 0)
  return fd === -1 ? -libc.errno() : fd
}

/**
 * Creates a non-blocking stream socket that is bound to `address`. {@link localAddress} tells the port if the kernel
 * chose it.
 *
 * @returns its descriptor, which the caller owns
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ...
 * @throws {TypeError} if the address is not valid
 */
export function bindSocket(address: Address, options: BindOptions = {}): number {
  const { reuseAddress = false, reusePort = false, ipv6Only = false } = options
  const target = new SocketAddress(address)
  const what = formatAddress(address)
  const fd = libc.check(libc.socket(target.family, TYPE, 0), 'socket', what)
  try {
    if (target.family !== libc.AF_UNIX) {
      if (reuseAddress) setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1)
      if (reusePort) setOption(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT, 1)
    }
    // Set in either case: the machine's default (`net.ipv6.bindv6only`) may differ.
    if (target.family === libc.AF_INET6) setOption(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, ipv6Only ? 1 : 0)
    libc.check(libc.bindAddress(fd, target.pointer, target.length), 'bind', what)
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/** Binds a socket that exists already. @returns 0 or an errno */
export function bindTo(fd: number, address: SocketAddress): number {
  return libc.bindAddress(fd, address.pointer, address.length) === -1 ? libc.errno() : 0
}

/**
 * Listens on a bound socket, or changes the backlog of a listening one.
 *
 * @param what the address, for the error's message
 * @throws {SystemError} EADDRINUSE
 */
export function listenOn(fd: number, backlog: number, what?: string): void {
  libc.check(libc.listenOn(fd, backlog), 'listen', what)
}

/** Whether a socket listens (`SO_ACCEPTCONN`). */
export function isListening(fd: number): boolean {
  return getOption(fd, libc.SOL_SOCKET, libc.SO_ACCEPTCONN) === 1
}

/**
 * Starts to connect a socket. epoll reports it writable when the connection is established, or reports an error.
 *
 * @returns 0 or an errno (`EAGAIN`: the backlog of a Unix socket is full)
 */
export function startConnect(fd: number, address: SocketAddress): number {
  if (libc.connect(fd, address.pointer, address.length) !== -1) return 0
  const errno = libc.errno()
  return errno === libc.E.EINPROGRESS || errno === libc.E.EINTR ? 0 : errno
}

/**
 * Creates a blocking stream socket and connects it. A program that measures may wait in the kernel for a response, so
 * that no event loop is part of the measured time.
 *
 * @returns its descriptor, which the caller owns
 * @throws {SystemError} ECONNREFUSED, EMFILE, ...
 */
export function connectBlocking(address: SocketAddress): number {
  const fd = libc.check(libc.socket(address.family, libc.SOCK_STREAM | libc.SOCK_CLOEXEC, 0), 'socket')
  try {
    libc.check(libc.connect(fd, address.pointer, address.length), 'connect')
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/** Sends a FIN. A socket that is no longer connected is left as it is: epoll reports why. */
export function shutdownWrite(fd: number): void {
  libc.shutdown(fd, libc.SHUT_WR)
}

/** Shuts down both directions, so that epoll reports a hang-up. */
export function shutdownBoth(fd: number): void {
  libc.shutdown(fd, libc.SHUT_RDWR)
}

/** Makes a second descriptor for the same socket. @returns the descriptor, or a negative errno */
export function duplicateDescriptor(fd: number): number {
  const copy = libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0)
  return copy === -1 ? -libc.errno() : copy
}

/** Closes a descriptor that the reactor does not watch. */
export function closeDescriptor(fd: number): void {
  // After EINTR, too, the descriptor is closed on Linux (man 2 close): never try again.
  libc.close(fd)
}

/**
 * Returns the address that a socket is bound to.
 *
 * @throws {SystemError} of `getsockname`
 */
export function localAddress(fd: number): AddressInfo {
  return askAddress(libc.getsockname, 'getsockname', fd)
}

/** Returns the address of the peer; undefined when the connection is gone. */
export function peerAddress(fd: number): AddressInfo | undefined {
  try {
    return askAddress(libc.getpeername, 'getpeername', fd)
  } catch {
    // ENOTCONN: the peer has reset the connection, and epoll is about to report it.
    return undefined
  }
}

/**
 * Sets a socket option to one or more 32-bit integers.
 *
 * @throws {SystemError} of `setsockopt`
 */
export function setOption(fd: number, level: number, name: number, ...value: number[]): void {
  const bytes = new Int32Array(value)
  libc.check(libc.setsockopt(fd, level, name, bytes, bytes.byteLength), 'setsockopt')
}

/**
 * Makes the next close of this socket send a RST in place of a FIN (`SO_LINGER` with a timeout of 0). The connection
 * must be closed at once: if another process may have a duplicate, this resets it already.
 */
export function resetOnClose(fd: number): void {
  setOption(fd, libc.SOL_SOCKET, libc.SO_LINGER, 1, 0)
  if (hasDuplicates()) resetNow(fd)
}

/**
 * Sends what closing a connection would send, if another process may have a duplicate of the descriptor, because then
 * closing it sends nothing.
 *
 * @param reset whether that is a RST in place of a FIN
 */
export function endBeforeClose(fd: number, reset: boolean): void {
  if (!hasDuplicates()) return
  if (reset) resetNow(fd)
  else shutdownBoth(fd)
}

/** A `sockaddr` of the family `AF_UNSPEC`: to connect a TCP socket to it breaks the connection with a RST. */
const NOWHERE = new Uint8Array(16)

function resetNow(fd: number): void {
  // A Unix socket has no RST, and refuses the address.
  if (libc.connect(fd, libc.addressOf(NOWHERE), NOWHERE.length) === -1) shutdownBoth(fd)
}

/** Returns the pending error of a socket (`SO_ERROR`) and clears it; 0 if there is none. */
export function takeError(fd: number): number {
  return getOption(fd, libc.SOL_SOCKET, libc.SO_ERROR)
}

/** Size of `struct tcp_info` up to `tcpi_last_ack_recv`, in 32-bit numbers, and the place of `tcpi_last_data_recv`. */
const TCP_INFO_LENGTH = 15
const LAST_DATA_RECEIVED = 13

/** What {@link readOption} has read, and its length in bytes. Their addresses are five times as fast as the buffers. */
const option = new Int32Array(TCP_INFO_LENGTH)
const optionLength = new Uint32Array(1)
const optionAt = libc.addressOf(option)
const optionLengthAt = libc.addressOf(optionLength)

/** Reads a socket option of at most `numbers` 32-bit numbers into {@link option}. @returns whether there is one */
function readOption(fd: number, level: number, name: number, numbers: number): boolean {
  option.fill(0, 0, numbers)
  optionLength[0] = 4 * numbers
  return libc.getsockopt(fd, level, name, optionAt, optionLengthAt) !== -1
}

/** Returns a socket option that is a 32-bit integer; 0 if this is not a socket. */
function getOption(fd: number, level: number, name: number): number {
  readOption(fd, level, name, 1)
  return option[0] as number
}

/** Whether several sockets share the port of this one (`SO_REUSEPORT`). */
export function sharesPort(fd: number): boolean {
  return getOption(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT) !== 0
}

/** Whether a descriptor is a stream socket: TCP or Unix. */
export function isStreamSocket(fd: number): boolean {
  return getOption(fd, libc.SOL_SOCKET, libc.SO_TYPE) === libc.SOCK_STREAM
}

/** Returns the number that the kernel gives a socket (`SO_COOKIE`): the same in every process; -1 if it has none. */
export function cookieOf(fd: number): number {
  if (!readOption(fd, libc.SOL_SOCKET, libc.SO_COOKIE, 2)) return -1
  return ((option[1] as number) >>> 0) * 2 ** 32 + ((option[0] as number) >>> 0)
}

// Numbers of `SO_MEMINFO`.
const MEMINFO_LENGTH = 9
const SEND_ALLOCATED = 2
const SEND_BUFFER = 3
const SEND_QUEUED = 5

/** Returns the room in a socket's send buffer, in bytes of kernel memory; 0 if the kernel does not tell. */
export function sendRoom(fd: number): number {
  if (!readOption(fd, libc.SOL_SOCKET, libc.SO_MEMINFO, MEMINFO_LENGTH)) return 0
  const used = Math.max(option[SEND_ALLOCATED] as number, option[SEND_QUEUED] as number)
  return Math.max(0, (option[SEND_BUFFER] as number) - used)
}

/**
 * Returns how long (ms) a TCP connection has received nothing: since its last byte, or since it was established.
 * Undefined for a Unix socket.
 */
export function silentFor(fd: number): number | undefined {
  return readOption(fd, libc.IPPROTO_TCP, libc.TCP_INFO, TCP_INFO_LENGTH) ? option[LAST_DATA_RECEIVED] : undefined
}

// Instructions of classic BPF, and the one place in a TCP segment that they look at.
const [LOAD_BYTE, AND, JUMP_IF_EQUAL, RETURN] = [0x30, 0x54, 0x15, 0x06]
const [FLAGS_AT, SYN, SYN_AND_ACK, WHOLE_SEGMENT] = [13, 0x02, 0x12, 0x7fffffff]
/** `struct sock_filter` is 8 bytes long: a code (16 bits), two jumps (8 bits each) and a number (32 bits). */
const INSTRUCTION = 8

/** A program for `SO_ATTACH_FILTER` that drops each segment with SYN and without ACK. */
function makeSynFilter(): Uint8Array {
  // The second jump is taken if the comparison fails: over the next instruction.
  const program = [
    { code: LOAD_BYTE, otherwise: 0, number: FLAGS_AT },
    { code: AND, otherwise: 0, number: SYN_AND_ACK },
    { code: JUMP_IF_EQUAL, otherwise: 1, number: SYN },
    { code: RETURN, otherwise: 0, number: 0 },
    { code: RETURN, otherwise: 0, number: WHOLE_SEGMENT }
  ]
  const bytes = new Uint8Array(program.length * INSTRUCTION)
  for (const [i, { code, otherwise, number }] of program.entries()) {
    new Uint16Array(bytes.buffer, i * INSTRUCTION, 1)[0] = code
    bytes[i * INSTRUCTION + 3] = otherwise
    new Uint32Array(bytes.buffer, i * INSTRUCTION + 4, 1)[0] = number
  }
  return bytes
}

const synFilter = makeSynFilter()

/**
 * Makes a listening TCP socket ignore new clients, so that its accept queue can be emptied for good. A client that
 * connects meanwhile sends its SYN again after a second. By then another socket of the port answers, or the kernel
 * refuses the connection. Where the kernel has no socket filters, this does nothing.
 */
export function ignoreNewClients(fd: number): void {
  // struct sock_fprog: the number of instructions (16 bits, and 48 bits of padding), and their address.
  const program = new Int32Array(4)
  new Uint16Array(program.buffer)[0] = synFilter.length / INSTRUCTION
  new BigUint64Array(program.buffer)[1] = BigInt(libc.addressOf(synFilter))
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_ATTACH_FILTER, program, program.byteLength)
}

function askAddress(ask: typeof libc.getsockname, syscall: string, fd: number): AddressInfo {
  const bytes = Buffer.alloc(SOCKADDR_SIZE)
  const length = new Uint32Array([SOCKADDR_SIZE])
  libc.check(ask(fd, libc.addressOf(bytes), libc.addressOf(length)), syscall)
  return decodeAddress(bytes, length[0] as number)
}

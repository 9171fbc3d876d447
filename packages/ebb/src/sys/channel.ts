/**
 * Messages with descriptors between two processes of one machine: a Unix socket of type `SOCK_SEQPACKET`, descriptors
 * as `SCM_RIGHTS` (`man 7 unix`).
 *
 * A message arrives whole or not at all. Its descriptors are duplicates: the sender still has its own, and the
 * receiver gets new numbers. Both ends run as the same user: {@link acceptChannel} and {@link connectChannel} refuse
 * any other process.
 */
import fs from 'node:fs'
import { EbbError, systemError } from './errors.js'
import * as libc from './libc.js'
import { type PeerCredentials, peerOf } from './peer.js'
import { LONGEST_SOCKET_PATH, SocketAddress } from './sockaddr.js'

/** Maximum number of descriptors in a message: `SCM_MAX_FD` of the kernel. */
export const MOST_DESCRIPTORS = 253
/** Maximum number of bytes in a message. A third of the kernel's default send buffer (`net.core.wmem_default`). */
export const MOST_BYTES = 65_536

/** What {@link Channel.tryReceive} returns. */
export interface ChannelMessage {
  bytes: Buffer
  /** New descriptors of this process, close-on-exec. The caller owns them. */
  descriptors: number[]
}

const TYPE = libc.SOCK_SEQPACKET | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK
/** Successors that may wait for the process that listens. */
const BACKLOG = 8

// struct cmsghdr: length (8 bytes), level, type (4 bytes each), then the descriptors, aligned to 8 bytes.
const CONTROL_HEADER = 16
const align = (length: number): number => (length + 7) & ~7
/** Room for all descriptors, and for credentials in case that the peer made this socket and asked for them. */
const CONTROL_SIZE = CONTROL_HEADER + align(4 * MOST_DESCRIPTORS) + CONTROL_HEADER + 16
// struct msghdr, in 64-bit numbers: name, its length, vectors, their number, control, its length, flags.
const [VECTORS, VECTOR_COUNT, CONTROL, CONTROL_LENGTH, FLAGS] = [2, 3, 4, 5, 6]

/** One `struct msghdr` for the thread: each call fills it and is done with it when it returns. */
class MessageHeader {
  readonly bytes = Buffer.allocUnsafeSlow(MOST_BYTES)
  readonly control = new Int32Array(CONTROL_SIZE / 4)
  readonly #controlLength = new BigUint64Array(this.control.buffer)
  readonly #vector = new BigUint64Array([BigInt(libc.addressOf(this.bytes)), 0n])
  readonly #header = new BigUint64Array(7)
  readonly #controlAt = BigInt(libc.addressOf(this.control))
  readonly at = libc.addressOf(this.#header)

  constructor() {
    this.#header[VECTORS] = BigInt(libc.addressOf(this.#vector))
    this.#header[VECTOR_COUNT] = 1n
  }

  fillForSending(bytes: Uint8Array, descriptors: readonly number[]): void {
    const count = descriptors.length
    this.bytes.set(bytes)
    this.#vector[1] = BigInt(bytes.length)
    this.#header[CONTROL] = count === 0 ? 0n : this.#controlAt
    this.#header[CONTROL_LENGTH] = count === 0 ? 0n : BigInt(CONTROL_HEADER + align(4 * count))
    this.#controlLength[0] = BigInt(CONTROL_HEADER + 4 * count)
    this.control[2] = libc.SOL_SOCKET
    this.control[3] = libc.SCM_RIGHTS
    this.control.set(descriptors, CONTROL_HEADER / 4)
  }

  fillForReceiving(): void {
    this.#vector[1] = BigInt(MOST_BYTES)
    this.#header[CONTROL] = this.#controlAt
    this.#header[CONTROL_LENGTH] = BigInt(CONTROL_SIZE)
    this.#header[FLAGS] = 0n
  }

  /** Flags of the message received last, such as `MSG_CTRUNC`. */
  get flags(): number {
    return Number((this.#header[FLAGS] as bigint) & 0xffff_ffffn)
  }

  /** Descriptors of the message received last. */
  received(): number[] {
    const end = Number(this.#header[CONTROL_LENGTH])
    const descriptors: number[] = []
    for (let at = 0; at + CONTROL_HEADER <= end; ) {
      const length = Number(this.#controlLength[at / 8])
      const words = at / 4
      if (this.control[words + 2] === libc.SOL_SOCKET && this.control[words + 3] === libc.SCM_RIGHTS) {
        descriptors.push(...this.control.subarray((at + CONTROL_HEADER) / 4, (at + length) / 4))
      }
      at += align(Math.max(length, CONTROL_HEADER))
    }
    return descriptors
  }
}

let shared: MessageHeader | undefined

function messageHeader(): MessageHeader {
  shared ??= new MessageHeader()
  return shared
}

/** One end of a connection between two processes. Its descriptor is non-blocking. */
export class Channel {
  /** To watch with a reactor: readable when {@link tryReceive} has a message, or the peer has ended. */
  readonly fd: number
  /** Whether the peer closed its end with messages of this end still unread. */
  reset = false

  readonly #pollfd = new Int32Array(2)
  readonly #pollfdAt = libc.addressOf(this.#pollfd)

  /** @param fd a connected, non-blocking socket of type `SOCK_SEQPACKET`, which the channel owns from now on */
  constructor(fd: number) {
    this.fd = fd
  }

  /**
   * Sends a message without waiting.
   *
   * @param bytes 1 to {@link MOST_BYTES}
   * @param descriptors at most {@link MOST_DESCRIPTORS}; the caller still owns them
   * @returns 0 or an errno: `EAGAIN`: the peer has to read first; `ETOOMANYREFS`: too many descriptors of this user are
   *   under way; `EPIPE`, `ECONNRESET`: the peer has ended
   */
  trySend(bytes: Uint8Array, descriptors: readonly number[] = []): number {
    const header = messageHeader()
    header.fillForSending(bytes, descriptors)
    for (;;) {
      if (libc.sendmsg(this.fd, header.at, libc.MSG_NOSIGNAL | libc.MSG_DONTWAIT) !== -1) return 0
      const errno = libc.errno()
      if (errno !== libc.E.EINTR) return errno
    }
  }

  /**
   * Sends a message, and blocks this thread until the kernel has taken it.
   *
   * @param deadline of `performance.now()`
   * @throws {SystemError} after the deadline: `ETIMEDOUT` if the peer does not read, the error of {@link trySend} if
   *   the kernel takes no descriptors; other errors of {@link trySend} at once
   */
  send(bytes: Uint8Array, descriptors: readonly number[], deadline: number): void {
    for (;;) {
      const errno = this.trySend(bytes, descriptors)
      if (errno === 0) return
      if (!isTemporary(errno)) throw systemError('sendmsg', errno)
      const isFull = errno === libc.E.EAGAIN
      if (performance.now() >= deadline) throw systemError('sendmsg', isFull ? libc.E.ETIMEDOUT : errno)
      // No event says when there is room for other descriptors.
      if (isFull) this.#wait(libc.POLLOUT, deadline)
      else libc.pollDescriptors(0, 0, 1)
    }
  }

  /**
   * Receives a message without waiting.
   *
   * @returns undefined if none has come; `end` after the last one of a peer that has ended
   * @throws {SystemError} `EMFILE` if descriptors were lost because this process can have no more, after closing the
   *   others of the message; `EMSGSIZE` if the message is larger than {@link MOST_BYTES}
   */
  tryReceive(): ChannelMessage | 'end' | undefined {
    const header = messageHeader()
    for (;;) {
      header.fillForReceiving()
      const length = libc.recvmsg(this.fd, header.at, libc.MSG_DONTWAIT | libc.MSG_CMSG_CLOEXEC)
      if (length === -1) {
        const errno = libc.errno()
        if (errno === libc.E.EAGAIN) return undefined
        // Reported once, before the messages that the peer had sent by then.
        if (errno === libc.E.ECONNRESET && !this.reset) this.reset = true
        else if (errno !== libc.E.EINTR) throw systemError('recvmsg', errno)
        continue
      }
      const descriptors = header.received()
      const lost = header.flags & (libc.MSG_CTRUNC | libc.MSG_TRUNC)
      if (lost !== 0) {
        for (const fd of descriptors) libc.close(fd)
        throw lost & libc.MSG_CTRUNC
          ? systemError('recvmsg', libc.E.EMFILE, 'descriptors of a message were lost')
          : systemError('recvmsg', libc.E.EMSGSIZE)
      }
      if (length === 0 && descriptors.length === 0) return 'end'
      return { bytes: Buffer.from(header.bytes.subarray(0, length)), descriptors }
    }
  }

  /**
   * Receives a message, and blocks this thread until one has come.
   *
   * @param deadline of `performance.now()`
   * @throws {SystemError} `ETIMEDOUT` after the deadline, and the errors of {@link tryReceive}
   */
  receive(deadline: number): ChannelMessage | 'end' {
    for (;;) {
      const message = this.tryReceive()
      if (message !== undefined) return message
      if (performance.now() >= deadline) throw systemError('recvmsg', libc.E.ETIMEDOUT)
      this.#wait(libc.POLLIN, deadline)
    }
  }

  /** Whether the peer has read so much that there is room for the largest message, or has ended. */
  get isWritable(): boolean {
    return this.#poll(libc.POLLOUT, 0) > 0
  }

  #wait(events: number, deadline: number): void {
    this.#poll(events, Math.max(1, Math.ceil(deadline - performance.now())))
  }

  /** @param timeout ms */
  #poll(events: number, timeout: number): number {
    this.#pollfd[0] = this.fd
    this.#pollfd[1] = events
    return libc.pollDescriptors(this.#pollfdAt, 1, timeout)
  }

  /** Returns who is at the other end. @throws {SystemError} of `getsockopt` */
  peer(): PeerCredentials {
    return peerOf(this.fd)
  }

  /** Makes the peer's next send fail with `EPIPE`. Messages that it has sent already can still be received. */
  refuseMore(): void {
    libc.shutdown(this.fd, libc.SHUT_RD)
  }

  /** Closes this end. Descriptors of messages that the peer has not received are closed with it by the kernel. */
  close(): void {
    libc.close(this.fd)
  }
}

/** Whether {@link Channel.trySend} may succeed later with the same message. */
export function isTemporary(errno: number): boolean {
  return errno === libc.E.EAGAIN || errno === libc.ETOOMANYREFS || errno === libc.E.ENOBUFS
}

/**
 * Listens for channels at a path in the file system, readable and writable for this user only. A socket that is there
 * already is replaced in one step, so a process that connects always finds one of the two.
 *
 * @param path of at most {@link LONGEST_CHANNEL_PATH} bytes
 * @returns a non-blocking descriptor, which the caller owns; pass it to {@link acceptChannel} when it is readable
 * @throws {SystemError} `EACCES`, `ENOENT`, `EMFILE`, ...
 * @throws {EbbError} `EEXIST` if something other than a socket is there
 */
export function listenForChannels(path: string): number {
  if (fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) {
    throw new EbbError(
      'EEXIST',
      `cannot listen at ${path}: it exists and is not a socket; remove it, or use another path`
    )
  }
  const beside = `${path}${suffix()}`
  const address = new SocketAddress({ path: beside })
  const fd = libc.check(libc.socket(libc.AF_UNIX, TYPE, 0), 'socket')
  try {
    libc.check(libc.bindAddress(fd, address.pointer, address.length), 'bind', path)
    try {
      // Before it listens, so that no other user can have connected.
      fs.chmodSync(beside, 0o600)
      libc.check(libc.listenOn(fd, BACKLOG), 'listen', path)
      fs.renameSync(beside, path)
    } catch (error) {
      fs.rmSync(beside, { force: true })
      throw error
    }
  } catch (error) {
    libc.close(fd)
    throw error
  }
  return fd
}

const SUFFIX_BYTES = 3
/** Loads `node:crypto`, which takes 0.7 MB, only in a process that listens for channels. */
const suffix = (): string => `.${process.getBuiltinModule('node:crypto').randomBytes(SUFFIX_BYTES).toString('hex')}`
/** Maximum length in bytes of the path of {@link listenForChannels}, which adds a suffix to it for a moment. */
export const LONGEST_CHANNEL_PATH = LONGEST_SOCKET_PATH - (1 + 2 * SUFFIX_BYTES)

/**
 * Accepts a channel.
 *
 * @returns undefined if no process waits
 * @throws {EbbError} `ERR_EBB_OTHER_USER` if the process runs as another user; its connection is closed
 * @throws {SystemError} `EMFILE`, ...
 */
export function acceptChannel(listening: number): Channel | undefined {
  const fd = libc.accept4(listening, 0, 0, libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK)
  if (fd !== -1) return checked(new Channel(fd))
  const errno = libc.errno()
  if (errno === libc.E.EAGAIN || errno === libc.E.ECONNABORTED || errno === libc.E.EINTR) return undefined
  throw systemError('accept4', errno)
}

/**
 * Connects to the process that listens at `path`.
 *
 * @throws {EbbError} `ERR_EBB_OTHER_USER` if that process runs as another user
 * @throws {SystemError} `ENOENT`: no socket is there; `ECONNREFUSED`: its process has ended; `EAGAIN`: too many
 *   processes wait already; `EACCES`, `EMFILE`, ...
 */
export function connectChannel(path: string): Channel {
  const address = new SocketAddress({ path })
  const fd = libc.check(libc.socket(address.family, TYPE, 0), 'socket')
  if (libc.connect(fd, address.pointer, address.length) === -1) {
    const errno = libc.errno()
    libc.close(fd)
    throw systemError('connect', errno, path)
  }
  return checked(new Channel(fd))
}

/** Makes two connected channels in this process; a child process may get the descriptor of one of them. */
export function channelPair(): [Channel, Channel] {
  const fds = new Int32Array(2)
  libc.check(libc.socketpair(libc.AF_UNIX, TYPE, 0, libc.addressOf(fds)), 'socketpair')
  return [new Channel(fds[0] as number), new Channel(fds[1] as number)]
}

function checked(channel: Channel): Channel {
  const { pid, uid } = channel.peer()
  const own = process.geteuid?.()
  if (uid === own) return channel
  channel.close()
  throw new EbbError(
    'ERR_EBB_OTHER_USER',
    `refused process ${pid} at the other end of a handover socket: it runs as user ${uid}, and this process as ${own}`
  )
}

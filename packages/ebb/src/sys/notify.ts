/**
 * Notifications of a service to its supervisor, systemd or `ebb run`: datagrams of lines `NAME=value`, sent to the Unix
 * socket that the variable `NOTIFY_SOCKET` names. See sd_notify(3).
 */
import { chmodSync, unlinkSync } from 'node:fs'
import { Channel } from './channel.js'
import { systemError } from './errors.js'
import * as libc from './libc.js'
import { type Reactor, reactor, type Watcher } from './reactor.js'
import { LONGEST_SOCKET_PATH, SocketAddress } from './sockaddr.js'
import { receiveAt } from './transfer.js'

const TYPE = libc.SOCK_DGRAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC

/** Notification of a process whose successor has its servers and connections, with the value 1. */
export const HANDED_OVER = 'X_EBB_HANDED_OVER'

/** Bytes of the longest notification that is read; a longer one is cut off. */
const LONGEST = 4096
/** Notifications that are read at once, before other events of the process get their turn. */
const BATCH = 64

/**
 * Returns the address that a value of `NOTIFY_SOCKET` names: a path, or the name of an abstract socket after an `@`.
 * Undefined for anything else, such as `vsock:...`.
 */
export function notifyPath(value: string | undefined): string | undefined {
  if (value === undefined || value.length < 2 || Buffer.byteLength(value) > LONGEST_SOCKET_PATH) return undefined
  if (value.startsWith('/')) return value
  return value.startsWith('@') ? `\0${value.slice(1)}` : undefined
}

/**
 * Sends a notification, such as `READY=1`, to the supervisor of this process.
 *
 * @param state lines `NAME=value`
 * @param socket value of `NOTIFY_SOCKET`
 * @param descriptors for the supervisor, at most `MOST_DESCRIPTORS`; the caller still owns them
 * @returns 0; `EAGAIN` if the supervisor has not read earlier notifications; another errno (ENOENT, ECONNREFUSED: there
 *   is no supervisor). -1 if `socket` names no Unix socket
 */
export function notify(
  state: string,
  socket: string | undefined = process.env.NOTIFY_SOCKET,
  descriptors: readonly number[] = []
): number {
  const path = notifyPath(socket)
  if (path === undefined) return -1
  const address = new SocketAddress({ path })
  const fd = libc.socket(libc.AF_UNIX, TYPE, 0)
  if (fd === -1) return libc.errno()
  try {
    if (libc.connect(fd, address.pointer, address.length) === -1) return libc.errno()
    return new Channel(fd).trySend(Buffer.from(state), descriptors)
  } finally {
    libc.close(fd)
  }
}

/** Receives notifications on a Unix socket in the file system, which only this user may write to. */
export class NotifySocket implements Watcher {
  /** Path of the socket, the value of `NOTIFY_SOCKET` for others. */
  readonly path: string
  readonly #onMessage: (fields: Map<string, string>) => void
  readonly #reactor: Reactor = reactor()
  readonly #owner: number
  readonly #buffer = Buffer.allocUnsafeSlow(LONGEST)
  readonly #address = libc.addressOf(this.#buffer)
  #fd: number

  /**
   * Binds the socket and watches it.
   *
   * @param onMessage called with the fields of each notification
   * @throws {SystemError} of `socket`, `bind` or `epoll_ctl`
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if the path is longer than 107 bytes
   */
  constructor(path: string, onMessage: (fields: Map<string, string>) => void) {
    this.path = path
    this.#onMessage = onMessage
    const address = new SocketAddress({ path })
    this.#fd = libc.check(libc.socket(libc.AF_UNIX, TYPE, 0), 'socket')
    try {
      libc.check(libc.bindAddress(this.#fd, address.pointer, address.length), 'bind', path)
      chmodSync(path, 0o600)
    } catch (error) {
      libc.close(this.#fd)
      throw error
    }
    this.#owner = this.#reactor.register(this)
    const errno = this.#reactor.add(this.#fd, libc.EPOLLIN, this.#owner)
    if (errno === 0) return
    libc.close(this.#fd)
    this.#reactor.unregister(this.#owner)
    throw systemError('epoll_ctl', errno)
  }

  /** Called by the reactor. */
  ready(): void {
    this.#read(BATCH)
  }

  /** Reads what has arrived, without waiting for the reactor. */
  drain(): void {
    this.#read(16 * BATCH)
  }

  #read(most: number): void {
    for (let count = 0; count < most && this.#fd !== -1; count++) {
      const length = receiveAt(this.#fd, this.#address, LONGEST)
      if (length < 0) return
      this.#onMessage(fieldsOf(this.#buffer.toString('utf8', 0, length)))
    }
  }

  /** Closes the socket and removes its file. Closing twice is allowed. */
  close(): void {
    if (this.#fd === -1) return
    this.#reactor.close(this.#fd)
    this.#reactor.unregister(this.#owner)
    this.#fd = -1
    try {
      unlinkSync(this.path)
    } catch {
      // Somebody else has removed the file, or its folder.
    }
  }
}

function fieldsOf(text: string): Map<string, string> {
  const fields = new Map<string, string>()
  for (const line of text.split('\n')) {
    const at = line.indexOf('=')
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 1))
  }
  return fields
}

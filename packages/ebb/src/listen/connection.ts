/** The handle of a connection that handlers get. */
import type { Order } from '../socket/moved.js'
import { toBytes } from '../sys/arguments.js'
import { EbbError } from '../sys/errors.js'
import type { Reactor } from '../sys/reactor.js'
import type { AddressInfo } from '../sys/sockaddr.js'

/**
 * A connection of a listener. The object is only a handle, without any state of its own: two handles of the same
 * connection are interchangeable. A program may keep one, or find it by {@link id} in a `Map` of its own.
 *
 * Once the connection is closed, the methods do nothing, and `write()` returns false.
 *
 * Once it has moved to another process, all methods are passed on, as long as that process goes on and `grace` lasts.
 */
export interface Connection {
  /** Number of this connection: a positive integer that no other connection of this thread ever has. */
  readonly id: number
  /** Whether the connection is closed. True from the `close` handler on. */
  readonly closed: boolean
  /** Bytes given to `write()` that the kernel has not taken yet. */
  readonly queued: number
  /**
   * Address of the peer, or of the client that a header of the PROXY protocol has told; undefined when the connection
   * is closed. Each read asks the kernel.
   */
  readonly remoteAddress: AddressInfo | undefined

  /**
   * Data of the application, which moves with the connection to another process: see `handover()`. Any value that
   * `structuredClone` takes. It is stored serialised, so each read returns a new copy: to change it, set it again.
   * `undefined` removes it. Undefined after the `close` handler.
   *
   * If setting throws, the previous value stays.
   *
   * @throws {RangeError} `ERR_EBB_ATTACHMENT_TOO_LARGE` above the listener's `attachmentLimit`
   * @throws `DataCloneError` for a value that cannot be cloned, such as a function or a socket
   * @throws {EbbError} `ERR_EBB_CONNECTION_CLOSED` once the connection is closed, or has moved to another process
   */
  attachment: unknown

  /**
   * Sends bytes, in order. A string is sent as UTF-8.
   *
   * If the kernel does not take all bytes, the rest is copied and sent when there is room; then the `drain` handler is
   * called. A caller with more to send should wait for `drain`.
   *
   * @returns whether the kernel took all bytes. Also false if the connection is closed or broken, or if the peer has
   *   sent its FIN and the connection closes as soon as its queue is sent; in these cases the bytes are dropped.
   * @throws {EbbError} `ERR_STREAM_WRITE_AFTER_END` after `end()`
   */
  write(data: string | Uint8Array): boolean

  /**
   * Sends `data`, all that is queued, and a FIN. The connection closes when the peer sends its own FIN; until then the
   * `data` handler may still be called.
   *
   * @throws {EbbError} `ERR_STREAM_WRITE_AFTER_END` for `data` after an earlier `end()`
   */
  end(data?: string | Uint8Array): void

  /** Closes the connection now. Queued bytes are lost. If received bytes were not read, TCP sends a RST. */
  close(): void

  /** Stops reading. The kernel's receive buffer fills, and then the peer has to wait. */
  pause(): void

  /** Starts to read again after {@link pause}. */
  resume(): void
}

/** The listener behind a handle. Its methods must be called only while `fd` belongs to the handle's connection. */
export interface ConnectionHost {
  readonly reactor: Reactor
  write(fd: number, bytes: Uint8Array): boolean
  end(fd: number): void
  destroy(fd: number): void
  pause(fd: number): void
  resume(fd: number): void
  queued(fd: number): number
  remoteAddress(fd: number): AddressInfo | undefined
  attachment(id: number): unknown
  attach(fd: number, value: unknown): void
  /** Whether another process has the connection. */
  isElsewhere(id: number): boolean
  /** Passes on what is meant for a connection that another process has. @returns false if there is none */
  pass(id: number, order: Order, bytes?: Uint8Array): boolean
}

/** The implementation of {@link Connection}: three fields, and garbage after each handler call unless it is kept. */
export class ConnectionHandle implements Connection {
  readonly id: number
  readonly #host: ConnectionHost
  readonly #fd: number

  /** @param id serial number of the registration at the reactor */
  constructor(host: ConnectionHost, fd: number, id: number) {
    this.#host = host
    this.#fd = fd
    this.id = id
  }

  /** Whether the connection is open, and in this process. */
  get #isHere(): boolean {
    return this.#host.reactor.serial[this.#fd] === this.id
  }

  get closed(): boolean {
    return !this.#isHere && !this.#host.isElsewhere(this.id)
  }

  get queued(): number {
    return this.#isHere ? this.#host.queued(this.#fd) : 0
  }

  get remoteAddress(): AddressInfo | undefined {
    return this.#isHere ? this.#host.remoteAddress(this.#fd) : undefined
  }

  get attachment(): unknown {
    return this.#host.attachment(this.id)
  }

  set attachment(value: unknown) {
    if (!this.#isHere) {
      throw new EbbError('ERR_EBB_CONNECTION_CLOSED', 'the connection is not open here: nothing can be attached to it')
    }
    this.#host.attach(this.#fd, value)
  }

  write(data: string | Uint8Array): boolean {
    if (this.#isHere) return this.#host.write(this.#fd, toBytes(data))
    return this.#host.isElsewhere(this.id) && this.#host.pass(this.id, 'send', toBytes(data))
  }

  end(data?: string | Uint8Array): void {
    if (data !== undefined) this.write(data)
    if (this.#isHere) this.#host.end(this.#fd)
    else this.#host.pass(this.id, 'end')
  }

  close(): void {
    if (this.#isHere) this.#host.destroy(this.#fd)
    else this.#host.pass(this.id, 'close')
  }

  pause(): void {
    if (this.#isHere) this.#host.pause(this.#fd)
    else this.#host.pass(this.id, 'pause')
  }

  resume(): void {
    if (this.#isHere) this.#host.resume(this.#fd)
    else this.#host.pass(this.id, 'resume')
  }
}

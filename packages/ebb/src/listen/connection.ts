/** The handle of a connection that handlers get. */
import { toBytes } from '../sys/arguments.js'
import type { Reactor } from '../sys/reactor.js'
import type { AddressInfo } from '../sys/sockaddr.js'

/**
 * A connection of a listener. The object is only a handle, without any state of its own: two handles of the same
 * connection are interchangeable. A program may keep one, or find it by {@link id} in a `Map` of its own.
 *
 * Once the connection is closed, the methods do nothing, and `write()` returns false.
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

  get closed(): boolean {
    return this.#host.reactor.serial[this.#fd] !== this.id
  }

  get queued(): number {
    return this.closed ? 0 : this.#host.queued(this.#fd)
  }

  get remoteAddress(): AddressInfo | undefined {
    return this.closed ? undefined : this.#host.remoteAddress(this.#fd)
  }

  write(data: string | Uint8Array): boolean {
    if (this.closed) return false
    return this.#host.write(this.#fd, toBytes(data))
  }

  end(data?: string | Uint8Array): void {
    if (this.closed) return
    if (data !== undefined) this.write(data)
    if (!this.closed) this.#host.end(this.#fd)
  }

  close(): void {
    if (!this.closed) this.#host.destroy(this.#fd)
  }

  pause(): void {
    if (!this.closed) this.#host.pause(this.#fd)
  }

  resume(): void {
    if (!this.closed) this.#host.resume(this.#fd)
  }
}

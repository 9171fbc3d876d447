/** The handle that a handler gets. */

import { peerAddress } from '../socket/listening-socket.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import type { Listener } from './listener.js'

/**
 * A connection, as long as it lasts: three fields, and no state of its own. Two handles of one connection do the same, so it
 * may be kept, or found again by {@link id} in a `Map` of one's own.
 *
 * Once the connection is closed the methods do nothing and say so: `write()` returns false.
 */
export class Connection {
  /** The number of this connection: a whole number that no other connection of this thread has, before or after. */
  readonly id: number

  readonly #listener: Listener
  readonly #fd: number

  /** @internal */
  constructor(listener: Listener, fd: number, id: number) {
    this.#listener = listener
    this.#fd = fd
    this.id = id
  }

  /** True from `close` on. */
  get closed(): boolean {
    return this.#listener.reactor.serial[this.#fd] !== this.id
  }

  /** Bytes given to `write()` that the kernel has not yet taken. */
  get queued(): number {
    return this.closed ? 0 : this.#listener.queued(this.#fd)
  }

  /** The peer's address; undefined when it is gone. Asks the kernel: it is not kept. */
  get remoteAddress(): AddressInfo | undefined {
    return this.closed ? undefined : peerAddress(this.#fd)
  }

  /**
   * Sends bytes, in order. A string is sent as UTF-8.
   *
   * @returns whether the kernel took all. If not, the rest is kept (a copy) and sent on when there is room, with `drain`
   *   after it; a caller with more to send waits for that. False, and nothing kept, when the connection is closed or broken, or
   *   closes as soon as the queue is sent, because the peer has ended.
   * @throws `ERR_STREAM_WRITE_AFTER_END` after `end()`
   */
  write(data: string | Uint8Array): boolean {
    if (this.closed) return false
    return this.#listener.write(this.#fd, typeof data === 'string' ? Buffer.from(data) : data)
  }

  /** Sends `data` and what is queued, then a FIN. The connection closes when the peer sends its own; until then `data` may come. */
  end(data?: string | Uint8Array): void {
    if (this.closed) return
    if (data !== undefined) this.write(data)
    if (!this.closed) this.#listener.end(this.#fd)
  }

  /** Closes now. What is queued is lost; a peer whose bytes were not read gets a RST, as TCP has it. */
  close(): void {
    if (!this.closed) this.#listener.destroy(this.#fd)
  }

  /** Stops reading: the kernel's buffer fills, then the peer's writes wait. */
  pause(): void {
    if (!this.closed) this.#listener.pause(this.#fd)
  }

  /** Reads on. */
  resume(): void {
    if (!this.closed) this.#listener.resume(this.#fd)
  }
}

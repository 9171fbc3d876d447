/** The object that handlers get for a connection. */
import { isUint8Array } from 'node:util/types'
import { invalidArgument, shown } from '../../sys/errors.js'
import type { AddressInfo } from '../../sys/sockaddr.js'
import { isCloseCode, MAX_CONTROL, NO_CODE } from '../frames.js'

/**
 * A WebSocket connection. The object is made for each call of a handler, and holds the {@link id} only: two objects of
 * the same connection are interchangeable. A program may keep one, or keep the `id` and call `get(id)`.
 *
 * Once the connection is closed, the methods do nothing, and `send()` returns false. An object that was kept never
 * reaches another connection.
 */
export interface WebSocketConnection<A = unknown> {
  /** Number of this connection: a positive integer that no other connection of this server ever has. */
  readonly id: number
  /** Whether the connection is closed. True from the `close` handler on. */
  readonly closed: boolean
  /** Bytes that wait for a peer that reads slowly. */
  readonly queued: number
  /** Subprotocol that `upgrade` has chosen; an empty string if there is none. */
  readonly protocol: string
  /** Address of the client, or the one that a balancer has told by the PROXY protocol. Each read asks the kernel. */
  readonly remoteAddress: AddressInfo | undefined
  /**
   * Tags of the connection, for `sockets(tag)` and `broadcast(data, tag)`: at most 10, each of 1 to 256 characters.
   * Setting them replaces all of them. Each read returns a new list. The `close` handler still sees them.
   *
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if set to anything else
   * @throws {EbbError} `ERR_EBB_CONNECTION_CLOSED` if set once the connection is closed
   */
  get tags(): readonly string[]
  set tags(tags: readonly string[])
  /**
   * Data of the program. Any value that `structuredClone` takes. It is stored serialised, so each read returns a new
   * copy: to change it, set it again. `undefined` removes it. The `close` handler still sees it.
   *
   * @throws {RangeError} `ERR_EBB_ATTACHMENT_TOO_LARGE` above 16,384 bytes, or the server's `attachmentLimit`
   * @throws `DataCloneError` for a value that cannot be cloned, such as a function
   * @throws {EbbError} `ERR_EBB_CONNECTION_CLOSED` if set once the connection is closed
   */
  attachment: A | undefined

  /**
   * Sends a message: a string as text, bytes as binary. The bytes may be changed after this returns.
   *
   * @returns false if the message is not sent: the connection is closed or being closed, or more than `maxQueued` bytes
   *   would wait
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for anything but a string or a `Uint8Array`
   */
  send(data: string | Uint8Array): boolean
  /**
   * Sends a ping, unless more than `maxQueued` bytes would wait. Any answer is noted by `liveness` only.
   *
   * @param data at most 125 bytes
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for more, or for anything but a string or a `Uint8Array`
   */
  ping(data?: string | Uint8Array): void
  /**
   * Begins the closing handshake. The connection is closed when the peer has answered, at the latest after
   * `closeTimeout`. Until then, messages may still arrive.
   *
   * @param code 1000 to 1003, 1007 to 1014, or 3000 to 4999; default: none, which the peer sees as 1005
   * @param reason at most 123 bytes of UTF-8
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for another code, or a longer reason
   */
  close(code?: number, reason?: string): void
  /** Closes the connection now, without a closing handshake. What waits for the peer is lost. */
  terminate(): void
}

/** What a connection had before it was closed, for its `close` handler. */
export interface Last {
  attachment: string | undefined
  tags: readonly string[]
  protocol: string
}

/** The connections behind the objects. An id leads to the connection, if it is still open. */
export interface ConnectionHost {
  has(id: number): boolean
  queued(id: number): number
  protocol(id: number, last: Last | undefined): string
  remoteAddress(id: number): AddressInfo | undefined
  tags(id: number, last: Last | undefined): readonly string[]
  setTags(id: number, tags: readonly string[]): void
  attachment(id: number, last: Last | undefined): unknown
  attach(id: number, value: unknown): void
  send(id: number, data: string | Uint8Array): boolean
  ping(id: number, data: string | Uint8Array): void
  close(id: number, code: number, reason: Uint8Array): void
  terminate(id: number): void
}

/** The implementation of {@link WebSocketConnection}. */
export class ConnectionHandle<A> implements WebSocketConnection<A> {
  readonly id: number
  readonly #host: ConnectionHost
  readonly #last: Last | undefined

  constructor(host: ConnectionHost, id: number, last?: Last) {
    this.#host = host
    this.id = id
    this.#last = last
  }

  get closed(): boolean {
    return !this.#host.has(this.id)
  }

  get queued(): number {
    return this.#host.queued(this.id)
  }

  get protocol(): string {
    return this.#host.protocol(this.id, this.#last)
  }

  get remoteAddress(): AddressInfo | undefined {
    return this.#host.remoteAddress(this.id)
  }

  get tags(): readonly string[] {
    return this.#host.tags(this.id, this.#last)
  }

  set tags(tags: readonly string[]) {
    this.#host.setTags(this.id, tags)
  }

  get attachment(): A | undefined {
    return this.#host.attachment(this.id, this.#last) as A | undefined
  }

  set attachment(value: A | undefined) {
    this.#host.attach(this.id, value)
  }

  send(data: string | Uint8Array): boolean {
    checkData(data)
    return this.#host.send(this.id, data)
  }

  ping(data: string | Uint8Array = ''): void {
    checkData(data)
    const length = Buffer.byteLength(data)
    if (length > MAX_CONTROL) throw invalidArgument(`a ping has at most ${MAX_CONTROL} bytes, not ${length}`)
    this.#host.ping(this.id, data)
  }

  close(code?: number, reason?: string): void {
    this.#host.close(this.id, ...checkClose(code, reason))
  }

  terminate(): void {
    this.#host.terminate(this.id)
  }
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `data` is neither a string nor a `Uint8Array` */
export function checkData(data: unknown): void {
  if (typeof data === 'string' || isUint8Array(data)) return
  throw invalidArgument(`data to send must be a string or a Uint8Array, not ${shown(data)}`)
}

/**
 * Returns what a close frame carries.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for a code that must not be sent, or a reason that is too long
 */
export function checkClose(code: unknown, reason: unknown = ''): [code: number, reason: Uint8Array] {
  if (code !== undefined && (typeof code !== 'number' || !isCloseCode(code))) {
    throw invalidArgument(`code must be 1000 to 1003, 1007 to 1014, or 3000 to 4999, not ${shown(code)}`)
  }
  if (typeof reason !== 'string') throw invalidArgument(`reason must be a string, not ${shown(reason)}`)
  const bytes = Buffer.from(reason)
  if (bytes.length > MAX_CONTROL - 2) {
    throw invalidArgument(`reason must have at most ${MAX_CONTROL - 2} bytes, not ${bytes.length}`)
  }
  if (code === undefined && bytes.length > 0) throw invalidArgument('a reason needs a code: close(1000, reason)')
  return [code ?? NO_CODE, bytes]
}

/** The connection behind the sockets that it has, one after the other, while it is awake. */
import type { Socket } from 'node:net'
import type { Parking } from './parking.js'

/**
 * A connection of a server whose connections are parked. There is one of these from each wake to the next sleep; two of the same
 * connection have the same {@link id} and do the same.
 */
export class Connection {
  /** The number of this connection: the same while it lasts, asleep or awake, and no other connection's ever, in this thread. */
  readonly id: number
  /** How often it was woken, this time included: 1 at first. */
  readonly wakes: number
  /** True: it stays awake, because an answer is under way that has not been written yet. Default: false. */
  keepAwake = false

  /** @internal Undefined once it is parked or closed. */
  socket: Socket | undefined
  /** @internal Bytes that had gone either way when it was last looked at. */
  seen = -1
  /** @internal When that was; ms on the clock of `performance.now()`. */
  since = 0
  /** @internal A stream that `http` is through with. */
  ready = true
  /** @internal Requests so far, where the server limits them. */
  requests = 0
  /** @internal The attachment of a connection that is gone. */
  last: string | undefined

  readonly #parking: Parking

  /** @internal */
  constructor(parking: Parking, id: number, wakes: number) {
    this.#parking = parking
    this.id = id
    this.wakes = wakes
  }

  /**
   * What the application keeps with the connection, also while it sleeps: anything that `structuredClone` takes. It is kept
   * serialised, so reading gives a new copy each time: to change something, set it again. `undefined`: nothing is kept.
   *
   * Setting throws a RangeError, `ERR_EBB_ATTACHMENT_TOO_LARGE`, above the server's `attachmentLimit`; an error named
   * `DataCloneError` for what cannot be cloned (a function, a socket); `ERR_EBB_CONNECTION_CLOSED` once the connection is gone.
   * What was attached before stays.
   */
  get attachment(): unknown {
    return this.#parking.attachment(this)
  }

  set attachment(value: unknown) {
    this.#parking.attach(this, value)
  }

  /** It is asleep: the socket that this object came with is over. */
  get parked(): boolean {
    return this.#parking.isParked(this.id)
  }

  /** It is gone. */
  get closed(): boolean {
    return !this.#parking.has(this.id)
  }

  /** Bytes that wait for a peer that reads slowly. */
  get queued(): number {
    return this.#parking.queued(this.id)
  }

  /** @internal */
  isOf(parking: Parking): boolean {
    return this.#parking === parking
  }

  /**
   * Sends bytes, asleep or awake: see {@link Parked.send}.
   *
   * @returns false when the connection is gone
   */
  send(bytes: string | Uint8Array): boolean {
    return this.#parking.send(this.id, bytes)
  }

  /**
   * Parks it now.
   *
   * @returns false when it stays awake: something is buffered or half done, `keepAwake` is set, or there is no descriptor for it
   */
  park(): boolean {
    return this.#parking.park(this)
  }

  /** Sends a FIN after what was sent. The connection lasts until the peer sends its own. */
  end(): void {
    this.#parking.end(this.id)
  }

  /** @internal Closes it with a RST, asleep. */
  reset(): void {
    this.#parking.close(this.id, true)
  }

  /** Closes it, asleep or awake. What is buffered is lost. */
  close(): void {
    this.#parking.close(this.id)
  }
}

const kConnection = Symbol('ebb.connection')
type ConnectedSocket = Socket & { [kConnection]?: Connection }

/** The connection behind a socket, of whichever server. */
export function connectionOf(socket: Socket): Connection | undefined {
  return (socket as ConnectedSocket)[kConnection]
}

export function setConnection(socket: Socket, connection: Connection): void {
  ;(socket as ConnectedSocket)[kConnection] = connection
}

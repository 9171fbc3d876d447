/** The class of WebSocket objects whose socket, receiver and sender are gone while their connection is parked. */
import type { Socket } from 'node:net'
import type { SendCallback } from '../handlers.js'
import {
  type BaseWebSocket,
  type Receiver,
  type Sender,
  type SocketOptions,
  setSocketAgain,
  type WebSocketClass
} from './internals.js'

/** Properties of a {@link ParkedWebSocket} that `ws` does not know. */
export const kGroup = Symbol('ebb.group')
export const kRow = Symbol('ebb.row')
export const kSocket = Symbol('ebb.socket')
export const kReceiver = Symbol('ebb.receiver')
export const kSender = Symbol('ebb.sender')
/** Shared by all copies of this module in a process: the class that has it is parked by one of them. */
export const kSetSocket = Symbol.for('ebb.setSocket')

/**
 * What a {@link ParkedWebSocket} asks of its group while its connection is parked. A method that returns false leaves
 * the call to `ws`.
 */
export interface ParkedGroup {
  /** Gives a WebSocket without a socket one, because the program asks for it. */
  reach(webSocket: ParkedWebSocket): void
  /** Returns what stands for the sender. */
  senderOf(webSocket: ParkedWebSocket): Sender | null
  /** Returns how many bytes wait for a slow reader. */
  queued(webSocket: ParkedWebSocket): number
  /** Parks an awake connection now. @returns whether it is parked */
  park(webSocket: ParkedWebSocket): boolean
  send(webSocket: ParkedWebSocket, data: unknown, options: unknown, callback: unknown): boolean
  /** Sends bytes that are whole frames, made elsewhere. */
  write(webSocket: ParkedWebSocket, bytes: Uint8Array, callback: SendCallback | undefined): void
  /** Sends a ping or a pong. */
  control(webSocket: ParkedWebSocket, isPing: boolean, data: unknown, mask: unknown, callback: unknown): boolean
  /** Begins the closing handshake. */
  close(webSocket: ParkedWebSocket, code: unknown, reason: unknown): boolean
  terminate(webSocket: ParkedWebSocket): boolean
}

/**
 * A WebSocket of a server whose connections are parked.
 *
 * | state | `kRow` | `kSocket` |
 * |---|---|---|
 * | awake | row of the connection | its socket |
 * | parked | row of the connection | null |
 * | closed while it was parked | -1 | null, or a destroyed socket if the program has asked for it |
 * | never parked (TLS, a client) | -1 | its socket |
 */
export interface ParkedWebSocket extends BaseWebSocket {
  /** The group of the connection; undefined if it is never parked. */
  [kGroup]: ParkedGroup | undefined
  [kRow]: number
  [kSocket]: Socket | null
  [kReceiver]: Receiver | null
  [kSender]: Sender | null
  /** `setSocket()` of `ws`, for a connection that wakes. */
  [kSetSocket](socket: Socket, head: Buffer, options: SocketOptions): void
}

/** Whether the connection of a WebSocket is parked. */
export function isParked(webSocket: ParkedWebSocket): boolean {
  return webSocket[kSocket] === null && webSocket[kRow] >= 0
}

/** Where a new connection is parked. */
export interface Adopter {
  adopt(webSocket: ParkedWebSocket, socket: Socket, head: Buffer, options: SocketOptions): void
}

/**
 * Derives a class from the `WebSocket` class of a server. `_socket` and `_receiver` are accessors that wake the
 * connection, so the methods of `ws` that are not replaced here work as before.
 */
export function parkedClass(Base: WebSocketClass, adopter: Adopter): WebSocketClass {
  const base = Base.prototype as BaseWebSocket
  const bufferedAmount = Object.getOwnPropertyDescriptor(base, 'bufferedAmount')?.get

  class Parked extends Base implements ParkedWebSocket {
    declare [kGroup]: ParkedGroup | undefined
    declare [kRow]: number
    declare [kSocket]: Socket | null
    declare [kReceiver]: Receiver | null
    declare [kSender]: Sender | null

    constructor(address: unknown, protocols?: unknown, options?: unknown) {
      super(address, protocols, options)
      this[kGroup] = undefined
      this[kRow] = -1
    }

    get _socket(): Socket | null {
      if (this[kSocket] === null) this[kGroup]?.reach(this)
      return this[kSocket]
    }

    set _socket(socket: Socket | null) {
      this[kSocket] = socket
    }

    get _receiver(): Receiver | null {
      if (this[kReceiver] === null) this[kGroup]?.reach(this)
      return this[kReceiver]
    }

    set _receiver(receiver: Receiver | null) {
      this[kReceiver] = receiver
    }

    get _sender(): Sender | null {
      return this[kSender] ?? this[kGroup]?.senderOf(this) ?? null
    }

    set _sender(sender: Sender | null) {
      this[kSender] = sender
    }

    /** Made when it is needed: `ws` keeps a closure for each WebSocket, which takes 100 bytes. */
    get _autoPongComplete(): () => void {
      return () => {
        this._pendingAutoPongs--
      }
    }

    set _autoPongComplete(_made: () => void) {}

    get bufferedAmount(): number {
      return isParked(this) ? (this[kGroup]?.queued(this) ?? 0) : (bufferedAmount?.call(this) as number)
    }

    [kSetSocket](socket: Socket, head: Buffer, options: SocketOptions): void {
      setSocketAgain(this, base.setSocket, socket, head, options)
    }

    override setSocket(socket: Socket, head: Buffer, options: SocketOptions): void {
      super.setSocket(socket, head, options)
      if (this._isServer) adopter.adopt(this, socket, head, options)
    }

    override send(data: unknown, options?: unknown, callback?: unknown): void {
      if (!isParked(this) || this[kGroup]?.send(this, data, options, callback) !== true) {
        super.send(data, options, callback)
      }
    }

    override ping(data?: unknown, mask?: unknown, callback?: unknown): void {
      if (!isParked(this) || this[kGroup]?.control(this, true, data, mask, callback) !== true) {
        super.ping(data, mask, callback)
      }
    }

    override pong(data?: unknown, mask?: unknown, callback?: unknown): void {
      if (!isParked(this) || this[kGroup]?.control(this, false, data, mask, callback) !== true) {
        super.pong(data, mask, callback)
      }
    }

    override close(code?: unknown, reason?: unknown): void {
      if (!isParked(this) || this[kGroup]?.close(this, code, reason) !== true) super.close(code, reason)
    }

    override terminate(): void {
      if (!isParked(this) || this[kGroup]?.terminate(this) !== true) super.terminate()
    }

    override resume(): void {
      // A paused connection is never parked.
      if (!isParked(this)) super.resume()
    }
  }
  Object.defineProperty(Parked, 'name', { value: Base.name })
  return Parked
}

/** Properties of a WebSocket itself that a parked class has as accessors. */
const MOVED = ['_socket', '_receiver', '_sender', '_autoPongComplete'] as const

/**
 * Makes the class whose prototype is `prototype` a parked class itself, for programs whose `WebSocketServer` is not
 * known. WebSockets that exist already stay as they are.
 *
 * @returns false if the program has frozen the prototype
 */
export function parkPrototype(prototype: BaseWebSocket, adopter: Adopter): boolean {
  if (!Object.isExtensible(prototype)) return false
  // The methods of the parked class call those of `ws`, which are kept here.
  class Original {}
  const { constructor: _, ...before } = descriptorsOf(prototype)
  Object.defineProperties(Original.prototype, before)
  Object.setPrototypeOf(Original.prototype, Object.getPrototypeOf(prototype) as object)
  const parked = parkedClass(Original as unknown as WebSocketClass, adopter).prototype as object
  const { constructor: __, ...after } = descriptorsOf(parked)
  for (const key of Reflect.ownKeys(after))
    (after[key] as PropertyDescriptor).enumerable = before[key]?.enumerable ?? false
  Object.defineProperties(prototype, {
    ...after,
    [kGroup]: { value: undefined, writable: true, configurable: true },
    [kRow]: { value: -1, writable: true, configurable: true }
  })
  return true
}

function descriptorsOf(object: object): Record<PropertyKey, PropertyDescriptor> {
  return Object.getOwnPropertyDescriptors(object) as Record<PropertyKey, PropertyDescriptor>
}

/** Makes a WebSocket that existed before {@link parkPrototype} like those that come after it. */
export function moveProperties(webSocket: BaseWebSocket): void {
  const properties = webSocket as unknown as Record<string, unknown>
  for (const name of MOVED) {
    if (!Object.hasOwn(properties, name)) continue
    const value = properties[name]
    delete properties[name]
    properties[name] = value
  }
}

/** Owner and state of each WebSocket connection of a server, by row. */
import { grown, resized, shrunk } from '../sys/arrays.js'
import { invalidArgument } from '../sys/errors.js'
import type { WebSocketHandlers } from './handlers.js'

/** A close frame was sent. */
export const CLOSE_SENT = 1
/** The peer's close frame arrived. */
export const CLOSE_RECEIVED = 2
/** The peer broke the protocol. */
export const FAILED = 4
/** The peer has sent its FIN. */
export const PEER_ENDED = 8
/** The kernel refused to send. epoll is about to report why. */
export const BROKEN = 16
/** Bytes wait for a slow reader. */
export const QUEUED = 32
/** A message or a frame is incomplete. */
export const INCOMPLETE = 64
/** A FIN was sent, or is to be sent when the queue is empty. */
export const ENDING = 128

/** What arrives is dropped. */
export const DEAF = CLOSE_RECEIVED | FAILED
/** Nothing more can be sent. */
export const MUTE = CLOSE_SENT | BROKEN | PEER_ENDED | ENDING

/** Every state. */
export const ALL = 255

const MAX_OWNERS = 65_535

/** The owners of a server's connections, and the state of each connection: three bytes by row. */
export class States {
  /** By row: {@link CLOSE_SENT} and so on. */
  #flags = new Uint8Array(0)
  /** By row: owner number. */
  #owner = new Uint16Array(0)
  /** By owner number: its handlers, and how many connections it has. */
  readonly #handlers: (WebSocketHandlers | undefined)[] = []
  readonly #counts: number[] = []
  /** Owners that are forgotten when their last connection closes. */
  readonly #released = new Set<number>()

  get bytes(): number {
    return this.#owner.byteLength + this.#flags.byteLength
  }

  /**
   * Registers handlers. @returns their owner number
   *
   * @throws {TypeError} with 65,535 owners at once
   */
  register(handlers: WebSocketHandlers): number {
    const free = this.#handlers.findIndex((other, owner) => other === undefined && this.#counts[owner] === 0)
    const owner = free === -1 ? this.#handlers.length : free
    if (owner >= MAX_OWNERS) throw invalidArgument(`a server has at most ${MAX_OWNERS} owners of WebSockets`)
    this.#handlers[owner] = handlers
    this.#counts[owner] = 0
    return owner
  }

  /** Forgets handlers as soon as they have no connections. */
  unregister(owner: number): void {
    this.#released.add(owner)
    if (this.#counts[owner] !== 0) return
    this.#released.delete(owner)
    this.#handlers[owner] = undefined
  }

  /** Returns the number of the owner with a name: see `MovingHandlers`; -1 if there is none. */
  ownerNamed(name: string): number {
    return this.#handlers.findIndex((handlers) => handlers?.moving?.name === name)
  }

  /** Number of connections of an owner. */
  count(owner: number): number {
    return this.#counts[owner] ?? 0
  }

  /** Adds a connection. */
  add(row: number, owner: number): void {
    if (row >= this.#flags.length) this.#resize(grown(this.#flags.length, row + 1))
    this.#flags[row] = 0
    this.#owner[row] = owner
    this.#counts[owner] = (this.#counts[owner] as number) + 1
  }

  /** Returns the owner number of a connection. */
  owner(row: number): number {
    return this.#owner[row] as number
  }

  /** Returns the handlers of a connection's owner. */
  handlers(row: number): WebSocketHandlers {
    return this.#handlers[this.#owner[row] as number] as WebSocketHandlers
  }

  /** Returns the handlers of an owner; undefined if it is forgotten. */
  handlersOf(owner: number): WebSocketHandlers | undefined {
    return this.#handlers[owner]
  }

  /** Returns the state of a connection. */
  flags(row: number): number {
    return this.#flags[row] as number
  }

  /** Sets flags of a connection, after those in `cleared` are cleared. */
  setFlags(row: number, flags: number, cleared = 0): void {
    this.#flags[row] = ((this.#flags[row] as number) & ~cleared) | flags
  }

  /** Whether messages can be sent: no close frame was sent, and the connection is not broken. */
  isOpen(row: number): boolean {
    return ((this.#flags[row] as number) & (MUTE | DEAF)) === 0
  }

  /** Marks a connection as closed. */
  delete(row: number): void {
    const owner = this.#owner[row] as number
    this.#flags[row] = BROKEN
    this.#counts[owner] = (this.#counts[owner] as number) - 1
    if (this.#released.has(owner)) this.unregister(owner)
  }

  /** Frees memory. @param end no row from here on is in use */
  trim(end: number): void {
    for (const handlers of this.#handlers) handlers?.trim?.(end)
    const size = shrunk(end)
    if (size < this.#flags.length) this.#resize(size)
  }

  #resize(size: number): void {
    this.#owner = resized(this.#owner, new Uint16Array(size))
    this.#flags = resized(this.#flags, new Uint8Array(size))
  }
}

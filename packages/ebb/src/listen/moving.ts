/**
 * Connections of `listen()` that move to another process, or come from one: see `handover/`.
 *
 * A connection at rest is a descriptor and a byte of state, so most can move between any two turns of the event loop.
 */
import v8 from 'node:v8'
import { type Attachments, FORMAT, formatOf } from '../socket/attachments.js'
import type { Elsewhere, MovedConnection, Order } from '../socket/moved.js'
import type { ProxiedAddresses } from '../socket/proxied.js'
import type { ProxyProtocol } from '../socket/proxy-protocol.js'
import type { Wheel } from '../socket/timer-wheel.js'
import { EbbError, systemError } from '../sys/errors.js'
import { type CallbackScopes, reportLater } from '../sys/node/callback-scope.js'
import { serialize } from '../sys/node/serialize.js'
import type { Reactor } from '../sys/reactor.js'
import { closeDescriptor } from '../sys/socket.js'
import {
  BLOCKED,
  ENDED,
  ENDING,
  eventsOf,
  FAILED,
  HALF_CLOSED,
  HEADER,
  HUNG_UP,
  NOT_WRITABLE,
  PAUSED,
  type SendQueue
} from './states.js'

/** Milliseconds after which a peer that takes no byte of a queue counts as at rest. */
const STALL = 1000
/** Bytes of queues that move at once: the process that hands over is blocked for as long as they take. */
const MOST_QUEUED = 16 * 1024 * 1024

/** Highest id that another process may have given: there must be many above it. */
const HIGHEST_ID = 2 ** 52

/** States that a connection may have when it moves. */
export const MOVABLE = PAUSED | ENDING | ENDED | HALF_CLOSED | BLOCKED | HEADER

/** The listener whose connections move: what it keeps for them, by descriptor, except for attachments, by id. */
export interface MovingHost {
  readonly reactor: Reactor
  /** Its owner number at the reactor. */
  readonly owner: number
  readonly queues: Map<number, SendQueue>
  readonly silent: Wheel | undefined
  readonly proxy: ProxyProtocol | undefined
  readonly proxied: ProxiedAddresses
  readonly attachments: Attachments
  readonly scopes: CallbackScopes
  /** Counts a connection that has come. */
  onAdopted(fd: number): void
  /** Counts a connection that is given up. @param wasHere whether it counts as accepted */
  onGivenUp(id: number, wasHere: boolean): void
  /** Tells the program of a connection that has come. */
  announce(fd: number, handler: 'open' | 'moved'): void
  /** Returns the descriptor of a connection; -1 if it is closed. */
  find(id: number): number
  send(id: number, bytes: Uint8Array): boolean
  closeConnection(id: number): boolean
  end(fd: number): void
  pause(fd: number): void
  resume(fd: number): void
}

/** Moves the connections of one listener. */
export class ListenerMoving {
  /** Who passes on what is meant for connections that another process has; undefined: no process has any. */
  elsewhere: Elsewhere | undefined
  readonly #host: MovingHost
  /** Milliseconds without progress after which a queue is at rest. */
  #stall = STALL
  /** Ids of connections that may come. */
  readonly #reserved = new Set<number>()
  /** Descriptors of connections that have come, and that the program was not told of, by id. */
  readonly #arrived = new Map<number, number>()
  /** Those of them that begin with a header, which this listener does not read. */
  readonly #unopened = new Set<number>()

  constructor(host: MovingHost) {
    this.#host = host
  }

  // The process that has the connections.

  /** Sets what counts as rest. @param part of the usual time, from 1 to 0 */
  setPatience(part: number): void {
    this.#stall = part * STALL
  }

  /** Returns the descriptors of the connections that can move now. */
  rows(): number[] {
    const now = performance.now()
    const leaving: number[] = []
    let queued = 0
    for (const fd of this.#all()) {
      const bytes = this.#host.queues.get(fd)?.bytes ?? 0
      if (!this.#isAtRest(fd, now) || (queued > 0 && bytes > 0 && queued + bytes > MOST_QUEUED)) continue
      queued += bytes
      leaving.push(fd)
    }
    return leaving
  }

  *#all(): Generator<number> {
    const { reactor, owner } = this.#host
    for (let fd = reactor.next(owner, -1); fd !== -1; fd = reactor.next(owner, fd)) yield fd
  }

  /** A paused connection waits for something in this process, unless it waits for its own queue. */
  #isAtRest(fd: number, now: number): boolean {
    const { reactor, queues, proxy } = this.#host
    const state = reactor.state[fd] as number
    if ((state & (FAILED | HUNG_UP)) !== 0) return false
    if ((state & HEADER) !== 0) return proxy?.isPartial(fd) !== true
    if ((state & BLOCKED) === 0) return (state & PAUSED) === 0
    const { bytes, since } = queues.get(fd) as SendQueue
    return bytes <= MOST_QUEUED && now - since >= this.#stall
  }

  /**
   * Whether a connection can be kept, in case that this process is killed: nothing of it is in this process only, and
   * nothing is read from it before the keeper is told.
   */
  canKeep(fd: number): boolean {
    const state = this.#host.reactor.state[fd] as number
    return state === 0 || state === ENDED || (state === HEADER && this.#host.proxy?.isPartial(fd) !== true)
  }

  /**
   * The ids of the connections that do not move now.
   *
   * @param broadcasts those that can get bytes, or the others
   * @param rows the other connections: a result of {@link rows}
   */
  *stayingIds(broadcasts: boolean, rows: readonly number[]): Generator<number> {
    const { reactor } = this.#host
    const leaving = new Set(rows)
    for (const fd of this.#all()) {
      if (leaving.has(fd) || (((reactor.state[fd] as number) & NOT_WRITABLE) === 0) !== broadcasts) continue
      yield reactor.serial[fd] as number
    }
  }

  idOf(fd: number): number {
    return this.#host.reactor.serial[fd] as number
  }

  /** Describes a connection that can move. */
  describe(fd: number): MovedConnection {
    const { reactor, queues, silent, proxied, attachments } = this.#host
    const id = this.idOf(fd)
    const kept = attachments.get(id)
    const queue = queues.get(fd)
    const attachment = queue === undefined ? kept : serialize([kept, Buffer.concat(queue.chunks)]).toString('latin1')
    const left = silent?.left(fd) ?? 0
    const flags = reactor.state[fd] as number
    return {
      fd,
      id,
      flags,
      wakes: 0,
      requests: 0,
      left,
      duration: 0,
      attachment,
      state: undefined,
      proxied: proxied.record(fd)
    }
  }

  /** Gives up a connection that another process has by now. */
  surrender(fd: number): void {
    this.#giveUp(fd, true)
  }

  #giveUp(fd: number, wasHere: boolean): void {
    const { reactor, queues, silent, proxied, attachments, scopes } = this.#host
    const id = this.idOf(fd)
    queues.delete(fd)
    silent?.remove(fd)
    proxied.delete(fd)
    attachments.delete(id)
    scopes.end(fd)
    // At once, so that handles know that it is not here. Closing many takes longer.
    reactor.remove(fd)
    reactor.retire(fd)
    this.#host.onGivenUp(id, wasHere)
  }

  // The process that gets them.

  /**
   * Keeps the ids of connections that come now or later.
   *
   * @param highest id that the other process has given to any connection: new ones get higher ids
   * @returns false if an id is not valid, or came twice
   */
  reserve(ids: Iterable<number>, highest: number): boolean {
    if (highest > HIGHEST_ID) return false
    for (const id of ids) {
      if (id > highest || this.#reserved.has(id)) return false
      this.#reserved.add(id)
    }
    this.#host.reactor.skip(highest)
    return true
  }

  isReserved(id: number): boolean {
    return this.#reserved.has(id)
  }

  release(id: number): void {
    this.#reserved.delete(id)
  }

  /**
   * Takes connections, whose ids are reserved, and their descriptors. If it throws, it has taken none, and has closed
   * the descriptors.
   *
   * @throws {EbbError} `ERR_EBB_HANDOVER` if a state is not valid; {SystemError} of `epoll_ctl`
   */
  adopt(moved: readonly MovedConnection[]): void {
    const { reactor, owner } = this.#host
    const taken: number[] = []
    try {
      const states = moved.map(unpacked)
      for (const [at, { fd, id, left, flags, proxied }] of moved.entries()) {
        const { attachment, queue } = states[at] as Unpacked
        // A listener that reads no headers takes the bytes as they are.
        const skipsHeader = (flags & HEADER) !== 0 && this.#host.proxy === undefined
        const state = skipsHeader ? 0 : flags
        const errno = reactor.add(fd, eventsOf(state), owner, id)
        if (errno !== 0) throw systemError('epoll_ctl', errno)
        taken.push(fd)
        reactor.state[fd] = state
        if (queue !== undefined) this.#host.queues.set(fd, queue)
        if (left > 0) this.#host.silent?.add(fd, left)
        if (attachment !== undefined) this.#host.attachments.restore(id, attachment)
        if (proxied !== undefined) this.#host.proxied.set(fd, proxied)
        if (skipsHeader) this.#unopened.add(id)
        this.#reserved.delete(id)
        this.#arrived.set(id, fd)
        this.#host.onAdopted(fd)
      }
    } catch (error) {
      this.unadopt(taken.map((fd) => this.idOf(fd)))
      for (const { fd } of moved.slice(taken.length)) closeDescriptor(fd)
      throw error
    }
  }

  /** Gives up connections that were adopted, without an effect on the other process. */
  unadopt(ids: readonly number[]): void {
    for (const id of ids) {
      const fd = this.#arrived.get(id)
      if (fd === undefined) continue
      this.#arrived.delete(id)
      this.#unopened.delete(id)
      this.#giveUp(fd, false)
      this.#reserved.add(id)
    }
  }

  /** Tells the program of connections that were adopted: they are this process's from now on. */
  onTaken(ids: readonly number[]): void {
    const { reactor } = this.#host
    for (const id of ids) {
      const fd = this.#arrived.get(id)
      this.#arrived.delete(id)
      // Another handler may have closed it.
      if (fd === undefined || reactor.serial[fd] !== id) continue
      if (this.#unopened.delete(id)) this.#host.announce(fd, 'open')
      else if (((reactor.state[fd] as number) & HEADER) === 0) this.#host.announce(fd, 'moved')
    }
  }

  // Connections that the other process has.

  /** Passes on what is meant for a connection that another process has. @returns false if there is none */
  pass(id: number, order: Order, bytes?: Uint8Array): boolean {
    return this.elsewhere?.has(id) === true && this.elsewhere.pass(id, order, bytes)
  }

  /** Carries out an order of the other process. An order for a connection that is closed by now does nothing. */
  carryOut(id: number, order: Order, bytes: Uint8Array): void {
    if (order === 'send') {
      this.#host.send(id, bytes)
      return
    }
    const fd = this.#host.find(id)
    // It may have moved on.
    if (fd === -1) this.pass(id, order)
    else if (order === 'close') this.#close(id)
    else if (order !== 'upgraded') this.#host[order](fd)
  }

  #close(id: number): void {
    try {
      this.#host.closeConnection(id)
    } catch (error) {
      // Of the `close` handler. The handover goes on.
      reportLater(error)
    }
  }
}

interface Unpacked {
  attachment: string | undefined
  queue: SendQueue | undefined
}

/** Returns the attachment and the queue of a connection, after a check of all that another process has told. */
function unpacked({ flags, attachment }: MovedConnection): Unpacked {
  const isHeader = (flags & HEADER) !== 0
  if ((flags & BLOCKED) === 0) {
    if ((flags & (PAUSED | ENDING | HALF_CLOSED)) !== 0 || (isHeader && flags !== HEADER)) throw refusedState()
    return { attachment, queue: undefined }
  }
  const [kept, bytes] = pairOf(attachment)
  const isValid = kept === undefined || (typeof kept === 'string' && isReadable(kept))
  if (isHeader || (flags & ENDED) !== 0 || !isValid || !(bytes instanceof Uint8Array) || bytes.length === 0) {
    throw refusedState()
  }
  const queue = { chunks: [Buffer.from(bytes)], bytes: bytes.length, since: performance.now() }
  return { attachment: kept, queue }
}

function pairOf(attachment: string | undefined): unknown[] {
  try {
    const pair: unknown = v8.deserialize(Buffer.from(attachment ?? '', 'latin1'))
    return Array.isArray(pair) ? pair : []
  } catch {
    return []
  }
}

function isReadable(attachment: string): boolean {
  const format = formatOf(attachment)
  return format > 0 && format <= FORMAT
}

function refusedState(): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', 'what the other process sent was refused: a state of a connection')
}

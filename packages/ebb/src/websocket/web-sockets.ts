/**
 * The WebSocket connections of one server: what they do while they are parked, without a `net.Socket`.
 *
 * | while a connection is parked | what happens |
 * |---|---|
 * | a message of one frame, a pong | goes from the receive buffer to the handler |
 * | a ping | is answered |
 * | `send()`, `ping()`, `broadcast()` | write a frame to the descriptor |
 * | the kernel does not take all of it | the rest is kept in order and sent when there is room |
 * | a close frame, or `close()` | the closing handshake is finished, or its timer closes the connection |
 * | anything else | wakes the connection, or is put together here: see `WebSocketHandlers.wakes` |
 *
 * An open connection takes three bytes here, besides its row, its timer and its registration at the reactor. Only what
 * is incomplete has an object: a message that has arrived in part, bytes for a slow reader, a closing handshake.
 */
import type { Socket } from 'node:net'
import { descriptorOf, isQuiet } from '../park/node/socket.js'
import type { Connections } from '../park/state/connections.js'
import { ENDED } from '../park/state/table.js'
import type { Cause } from '../park/stats.js'
import type { UpgradedProtocol, Upgrades } from '../park/upgrades.js'
import type { Attachments } from '../socket/attachments.js'
import { BroadcastQueue } from '../socket/broadcast-queue.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import { peerAddress, resetOnClose } from '../sys/socket.js'
import { CloseListeners } from './close-listeners.js'
import { GOING_AWAY, NO_CODE } from './frames.js'
import { callHandler, type SendCallback, type WebSocketHandlers, type Woken } from './handlers.js'
import { MovingWebSockets } from './moving.js'
import { encodeOrder, type WebSocketOrder } from './orders.js'
import { FrameReceiver } from './receiving.js'
import { FrameSender, type PreparedFrame } from './sending.js'
import { ALL, CLOSE_RECEIVED, CLOSE_SENT, DEAF, ENDING, MUTE, States } from './states.js'

const EMPTY = Buffer.alloc(0)

/** The WebSocket connections of one server. Methods take the row of a connection that is open. */
export class WebSockets implements UpgradedProtocol {
  readonly #upgrades: Upgrades
  readonly #connections: Connections
  readonly #states = new States()
  readonly #sender: FrameSender
  readonly #receiver: FrameReceiver
  readonly #broadcasts = new BroadcastQueue()

  // By row, only for those that need it.
  /** Listeners of `close` that others have put on the socket. */
  readonly #closeListeners = new CloseListeners()
  /** Bytes that were received before the connection was parked for the first time. */
  readonly #heads = new Map<number, Buffer>()
  /** Awake connections that are parked when what waits for a slow reader is sent. */
  readonly #draining = new Set<number>()
  /** Parked connections with bytes of their last socket that are read in a later tick. */
  readonly #reading = new Set<number>()
  readonly moving: MovingWebSockets

  constructor(upgrades: Upgrades) {
    this.#upgrades = upgrades
    this.#connections = upgrades.connections
    this.#sender = new FrameSender(upgrades, this.#states)
    this.#receiver = new FrameReceiver(upgrades, this.#states, this.#sender)
    this.moving = new MovingWebSockets(upgrades, this.#states, this.#receiver, this.#sender, this.#reading)
  }

  get bytes(): number {
    return this.#states.bytes
  }

  /** Attachments of all connections, by row. */
  get attachments(): Attachments {
    return this.#connections.attachments
  }

  // Owners and their connections.

  /**
   * Registers handlers. @returns their owner number
   *
   * @throws {TypeError} with 65,535 owners at once
   */
  register(handlers: WebSocketHandlers): number {
    return this.#states.register(handlers)
  }

  /** Forgets handlers as soon as they have no connections. */
  unregister(owner: number): void {
    this.#states.unregister(owner)
  }

  /** Number of connections of an owner. */
  count(owner: number): number {
    return this.#states.count(owner)
  }

  /**
   * Takes a connection after its handshake, whose response was given to `socket`. With `wakes`, its owner goes on
   * reading from the socket until the connection is parked. Without `wakes`, it is parked as soon as the response is
   * sent, and `head` and what the socket has received go to the handlers in a later tick.
   *
   * @param head bytes that were received after the request
   * @returns its row; -1 if the connection cannot be parked (TLS) or is closed; the caller then still owns `socket`
   */
  adopt(socket: Socket, head: Buffer, owner: number): number {
    const row = this.#upgrades.adoptSocket(socket)
    if (row === -1) return -1
    this.#states.add(row, owner)
    this.#upgrades.scheduleIdleCheck(row)
    if (this.#states.handlers(row).wakes) return row
    socket.on('error', () => {})
    this.#heads.set(row, Buffer.from(head))
    if (this.#upgrades.parkNew(row)) return row
    if (socket.writableLength > 0) this.#draining.add(row)
    socket.once('drain', () => this.#parkLater(row, socket))
    return row
  }

  #parkLater(row: number, socket: Socket): void {
    if (this.#connections.socket(row) === socket) this.#upgrades.park(row)
  }

  /** Takes a connection that is a bare descriptor. @returns its row; a negative errno after closing `fd` */
  adoptDescriptor(fd: number, owner: number): number {
    const row = this.#upgrades.adoptDescriptor(fd)
    if (row >= 0) this.#states.add(row, owner)
    return row
  }

  /** Takes a parked connection of the server, whose handshake was done while it was parked. */
  adoptParked(row: number, owner: number): void {
    this.#upgrades.adoptParked(row)
    this.#states.add(row, owner)
  }

  /** Returns the id of a connection. It stays the same as long as the connection is open, and is never reused. */
  id(row: number): number {
    return this.#connections.table.id(row)
  }

  /** Returns the row of a connection of this owner; -1 if there is none. */
  find(id: number, owner: number): number {
    const row = this.#connections.table.find(id)
    return row !== -1 && this.#isOf(row, owner) ? row : -1
  }

  #isOf(row: number, owner: number): boolean {
    return this.#connections.isUpgraded(row) && this.#states.owner(row) === owner
  }

  /** Whether a connection is parked. */
  isParked(row: number): boolean {
    return this.#connections.isParked(row)
  }

  /** Whether messages can be sent: no close frame was sent, and the connection is not broken. */
  isOpen(row: number): boolean {
    return this.#states.isOpen(row)
  }

  /** Number of bytes that wait for a slow reader. */
  queued(row: number): number {
    return this.#sender.queued(row)
  }

  /** Sets the timer of a parked connection, for `onTimer`. A closing handshake replaces it. @param ms 0: no timer */
  setTimer(row: number, ms: number): void {
    if (this.isOpen(row) && this.isParked(row)) this.#upgrades.setTimer(row, ms)
  }

  /** Returns the time, in ms, until the timer of a parked connection is due; 0 if it has none. */
  timeLeft(row: number): number {
    return this.#upgrades.timeLeft(row)
  }

  /** Ids of the connections of an owner. Connections may come and go meanwhile. */
  *ids(owner: number): Iterable<number> {
    for (const id of this.#connections.table.ids()) if (this.find(id, owner) !== -1) yield id
  }

  /** Returns the address of the peer, or the one that a header of the PROXY protocol has told. */
  remoteAddress(row: number): AddressInfo | undefined {
    const fd = this.#connections.table.fd(row)
    const socket = this.#connections.socket(row)
    return this.#connections.proxied.client(row) ?? peerAddress(socket === undefined ? fd : descriptorOf(socket))
  }

  /** Calls `fn` as a callback of a connection. @returns its result; undefined if it throws */
  callBack<T, A, B>(row: number, fn: (a: A, b: B) => T, self: unknown, a?: A, b?: B): T | undefined {
    return this.#connections.callBack(row, fn, self, a, b)
  }

  /** Calls `fn` as a callback of a connection in a later tick, when the connection may be closed. */
  callBackLater<A, B>(row: number, fn: (a: A, b: B) => void, a: A, b: B): void {
    this.#connections.callBackLater(row, fn, a, b)
  }

  // Parking and waking.

  /** Parks an awake connection now. @returns whether it is parked */
  park(row: number): boolean {
    return this.#upgrades.park(row)
  }

  /**
   * Wakes a parked connection. Bytes that wait for a slow reader go to the new socket first.
   *
   * @returns undefined if Node cannot open the descriptor; then the connection is closed, after `onClosed`
   */
  wake(row: number): Woken | undefined {
    const head = this.#receiver.takeUnread(row)
    const state = this.#states.flags(row)
    const socket = this.#upgrades.wake(row)
    if (socket === undefined) return undefined
    const queued = this.#sender.takeQueue(row)
    this.#states.setFlags(row, 0, ALL)
    this.#closeListeners.restore(row, socket)
    for (const { bytes, callback } of queued) socket.write(bytes, callback)
    if ((state & ENDING) !== 0 && (this.#connections.table.flags(row) & ENDED) === 0) socket.end()
    return {
      socket,
      head,
      closeSent: (state & CLOSE_SENT) !== 0,
      closeReceived: (state & CLOSE_RECEIVED) !== 0
    }
  }

  idleTime(row: number): number {
    return this.#states.handlers(row).idle
  }

  mayPark(row: number, socket: Socket): boolean {
    const handlers = this.#states.handlers(row)
    if (handlers.wakes) return isQuiet(socket) && handlers.mayPark(row, socket)
    return !socket.destroyed && socket.writableLength === 0
  }

  takesUnread(row: number): boolean {
    return !this.#states.handlers(row).wakes
  }

  onParked(row: number, socket: Socket): void {
    const handlers = this.#states.handlers(row)
    handlers.onParked(row, socket)
    if (!handlers.wakes) this.#takeHead(row, socket)
    this.#closeListeners.take(row, socket)
  }

  /** Takes what the socket has received, and reads it in a later tick, when its owner knows the connection. */
  #takeHead(row: number, socket: Socket): void {
    const parts = [this.#heads.get(row) ?? EMPTY]
    this.#heads.delete(row)
    for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) parts.push(chunk)
    const state = this.#states.flags(row)
    const id = this.id(row)
    const handlers = this.#states.handlers(row)
    const wasDraining = this.#draining.delete(row) && (state & MUTE) === 0
    this.#reading.add(row)
    process.nextTick(() => {
      if (this.id(row) === id) this.#reading.delete(row)
      if (this.id(row) !== id || !this.isParked(row)) return
      if ((state & CLOSE_SENT) !== 0) this.#upgrades.setTimer(row, handlers.closeTimeout)
      if (wasDraining) this.#connections.callBack(row, handlers.onDrain, handlers, row)
      if (this.id(row) !== id || !this.isParked(row)) return
      const head = Buffer.concat(parts)
      const read = (): void => this.#receiver.read(row, head, undefined, head.length)
      if (head.length > 0) this.#connections.callBack(row, read, undefined)
      if (this.id(row) === id) this.onChange(row)
    })
  }

  // Events, and sending.

  ready(row: number, fd: number, events: number): void {
    this.#receiver.ready(row, fd, events)
  }

  goAway(row: number): void {
    const handlers = this.#states.handlers(row)
    if (handlers.onShutdown === undefined) this.close(row, GOING_AWAY)
    else callHandler(() => handlers.onShutdown?.(row))
  }

  onTimer(row: number): void {
    const state = this.#states.flags(row)
    if ((state & (MUTE | DEAF)) !== 0) this.#upgrades.close(row, 'timeout')
    else callHandler(() => this.#states.handlers(row).onTimer(row))
  }

  /** Sends a message, a ping or a pong: see {@link FrameSender.send}. */
  send(row: number, opcode: number, data: string | Uint8Array, callback?: SendCallback, rsv1 = false): boolean {
    return this.#sender.send(row, opcode, data, callback, rsv1)
  }

  /** Sends bytes that are whole frames, made elsewhere: see {@link FrameSender.write}. */
  write(row: number, bytes: Uint8Array, callback?: SendCallback): boolean {
    return this.#sender.write(row, bytes, callback)
  }

  end(row: number): void {
    this.#sender.end(row)
  }

  /**
   * Sends a frame of `prepareFrame()` to many connections, in slices of a few ms. Broadcasts run one after the other.
   *
   * @param ids of the connections, which are asked for when the broadcast begins; undefined: all of the owner
   * @param maySend called for each connection. It may close the connection. @returns false to leave it out
   * @param order passed on for connections that have moved to another process since the broadcast has begun
   * @returns how many connections it was sent to
   */
  broadcast(
    frame: PreparedFrame,
    owner: number,
    ids?: Iterable<number>,
    maySend?: (row: number) => boolean,
    order?: WebSocketOrder
  ): Promise<number> {
    return this.#broadcasts.add(ids ?? this.#connections.table.ids(), (id) => {
      const row = this.find(id, owner)
      if (row === -1) return order !== undefined && this.pass(id, order)
      if (!this.isOpen(row) || maySend?.(row) === false) return false
      this.#sender.sendFrame(row, frame)
      return this.isOpen(row)
    })
  }

  // Closing.

  /**
   * Begins the closing handshake. The connection closes when the peer has answered, and at the latest after
   * `closeTimeout`. Until then messages still arrive.
   *
   * @param code 1000 to 4999; {@link NO_CODE}: a close frame without a payload
   * @param reason at most 123 bytes
   * @returns false if a close frame was already sent
   */
  close(row: number, code = NO_CODE, reason: Uint8Array = EMPTY): boolean {
    if (!this.isOpen(row)) return false
    this.#sender.close(row, code, reason)
    return true
  }

  /** Whether a listener of a parked connection runs, and frames that came with its message are not read yet. */
  hasUnread(row: number): boolean {
    return this.#receiver.hasUnread(row)
  }

  /**
   * Closes a connection without a closing handshake.
   *
   * @param cause with `'slow'`, the peer gets a RST, so that the kernel drops what the peer has not read
   */
  terminate(row: number, cause: Cause = 'server'): void {
    const fd = this.#connections.table.fd(row)
    if (cause === 'slow' && fd >= 0) resetOnClose(fd)
    this.#upgrades.close(row, cause)
  }

  onClosed(row: number, cause: Cause): void {
    const handlers = this.#states.handlers(row)
    const { code, reason } = this.#receiver.delete(row)
    this.#heads.delete(row)
    this.#draining.delete(row)
    this.#reading.delete(row)
    this.#states.delete(row)
    // Callbacks are called before the application hears that the connection is closed.
    this.#sender.delete(row, cause)
    callHandler(() => handlers.onClosed(row, code, reason, cause))
    this.#closeListeners.call(row, cause === 'reset')
  }

  trim(end: number): void {
    this.#states.trim(end)
  }

  // Connections of another process.

  /** To be called when something has changed of what another process needs to go on with a connection. */
  onChange(row: number): void {
    this.#connections.onChange?.(row)
  }

  /** Whether others have put listeners of `close` on the last socket of a parked connection. */
  hasCloseListeners(row: number): boolean {
    return this.#closeListeners.has(row)
  }

  /** Whether another process may get connections, at any time. */
  get mayMove(): boolean {
    return this.#upgrades.mayMove
  }

  /** Whether another process has the connection with this id. */
  isElsewhere(id: number): boolean {
    return this.#upgrades.isElsewhere(id)
  }

  /** Passes an order on to the process that has a connection. @returns whether it was passed on */
  pass(id: number, order: WebSocketOrder): boolean {
    return this.isElsewhere(id) && this.#upgrades.pass(id, encodeOrder(order))
  }

  /** Closes a connection that another process has, as {@link terminate} does. */
  terminateElsewhere(id: number): void {
    this.#upgrades.closeElsewhere(id)
  }

  /** Passes an order on to the processes that have other connections of its owner. */
  passToAll(order: WebSocketOrder): void {
    this.#upgrades.passToAll(encodeOrder(order))
  }
}

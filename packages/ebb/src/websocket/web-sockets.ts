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
import { AsyncResource } from 'node:async_hooks'
import { isUtf8 } from 'node:buffer'
import type { Socket } from 'node:net'
import { BroadcastQueue } from '../park/broadcast.js'
import { isQuiet } from '../park/node/socket.js'
import type { Attachments } from '../park/state/attachments.js'
import type { Connections } from '../park/state/connections.js'
import { ENDED } from '../park/state/table.js'
import type { Cause } from '../park/stats.js'
import type { UpgradedProtocol, Upgrades } from '../park/upgrades.js'
import { grown, resized, shrunk } from '../sys/arrays.js'
import { E, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../sys/constants.js'
import { EbbError, invalidArgument, systemError } from '../sys/errors.js'
import { shutdownWrite, takeError } from '../sys/socket.js'
import { addressOf, receiveAt, sendAt } from '../sys/transfer.js'
import { Assembly } from './assembly.js'
import {
  ABNORMAL,
  CLOSE,
  CONTINUATION,
  closeCodeOf,
  closeFault,
  FAULTS,
  type Fault,
  FrameReader,
  frameOf,
  INVALID,
  MAX_CONTROL,
  NO_CODE,
  PARTIAL,
  PING,
  PONG,
  TEXT,
  unmask,
  wordsOf,
  writeHeader
} from './frames.js'
import type { SendCallback, WakeReason, WebSocketHandlers, Woken } from './handlers.js'
import { SendQueue } from './send-queue.js'

// States of a connection.

/** A close frame was sent. */
const CLOSE_SENT = 1
/** The peer's close frame arrived. */
const CLOSE_RECEIVED = 2
/** The peer broke the protocol. */
const FAILED = 4
/** The peer has sent its FIN. */
const PEER_ENDED = 8
/** The kernel refused to send. epoll is about to report why. */
const BROKEN = 16
/** Bytes wait for a slow reader. */
const QUEUED = 32
/** A message or a frame is incomplete. */
const INCOMPLETE = 64
/** A FIN was sent, or is to be sent when the queue is empty. */
const ENDING = 128

/** What arrives is dropped. */
const DEAF = CLOSE_RECEIVED | FAILED
/** Nothing more can be sent. */
const MUTE = CLOSE_SENT | BROKEN | PEER_ENDED | ENDING

/** Size of the buffers for what is received and what is sent, in bytes. */
const SIZE = 65_536
/** In the send buffer, control frames come first, then data frames. */
const CONTROL_AT = 16
const DATA_AT = 192
const ROOM = SIZE - DATA_AT
/** A UTF-16 code unit has at most this many bytes in UTF-8. */
const BYTES_PER_UNIT = 3
/** For payloads from this length on, it pays to make a view of words. */
const VIEW_FROM = 1024
const EVENTS = EPOLLIN | EPOLLRDHUP
const MAX_OWNERS = 65_535

const EMPTY = Buffer.alloc(0)

/** The buffers of this thread. What they hold never lasts. */
interface Buffers {
  input: Buffer
  inputWords: Int32Array | undefined
  inputAt: number
  output: Buffer
  outputAt: number
}

let shared: Buffers | undefined

function buffers(): Buffers {
  if (shared === undefined) {
    const input = Buffer.allocUnsafeSlow(SIZE)
    const output = Buffer.allocUnsafeSlow(SIZE)
    const [inputAt, outputAt] = [addressOf(input), addressOf(output)]
    shared = { input, inputWords: wordsOf(input), inputAt, output, outputAt }
  }
  return shared
}

/** Received bytes that are being read. */
interface Cursor {
  /** -1: the rest is not read, because the connection was woken or closed. */
  row: number
  bytes: Buffer
  /** Offset of the first byte that is not read, and end of the bytes. */
  at: number
  end: number
  /** A handler of that connection is running, and led to this one. */
  outer: Cursor | undefined
}

/** The closing handshake of a connection. */
interface Closing {
  code: number
  reason: Buffer
}

/** A frame that goes to many connections. */
export interface PreparedFrame {
  readonly bytes: Buffer
  readonly address: number
}

/** Prepares a frame for {@link WebSockets.sendFrame}. @param rsv1 whether the payload is compressed */
export function prepareFrame(opcode: number, payload: string | Uint8Array, rsv1 = false): PreparedFrame {
  const bytes = frameOf(opcode, typeof payload === 'string' ? Buffer.from(payload) : payload, rsv1)
  return { bytes, address: addressOf(bytes) }
}

type Listener = (...args: unknown[]) => void

interface CloseListeners {
  /** The socket that they were put on. Such a listener may look at its `this`. */
  readonly socket: Socket
  readonly listeners: { listener: Listener; once: boolean }[]
}

/** The WebSocket connections of one server. Methods take the row of a connection that is open. */
export class WebSockets implements UpgradedProtocol {
  readonly #upgrades: Upgrades
  readonly #connections: Connections
  readonly #buffers = buffers()
  readonly #reader = new FrameReader()

  /** By owner number: its handlers, and how many connections it has. */
  readonly #handlers: (WebSocketHandlers | undefined)[] = []
  readonly #counts: number[] = []
  /** Owners that are forgotten when their last connection closes. */
  readonly #released = new Set<number>()
  /** By row: owner number. */
  #owner = new Uint16Array(0)
  /** By row: {@link CLOSE_SENT} and so on. */
  #state = new Uint8Array(0)

  // By row, only for those that need it.
  readonly #assemblies = new Map<number, Assembly>()
  readonly #queues = new Map<number, SendQueue>()
  readonly #closings = new Map<number, Closing>()
  /** Listeners of `close` that others have put on the socket. */
  readonly #closeListeners = new Map<number, CloseListeners>()
  /** Bytes that were received before the connection was parked for the first time. */
  readonly #heads = new Map<number, Buffer>()

  /** What is being read now. */
  #cursor: Cursor | undefined
  /** The text that is in the send buffer, and its frame. A loop that sends the same text writes the frame once. */
  #text: string | undefined
  #textFrom = 0
  #textEnd = 0
  readonly #broadcasts = new BroadcastQueue()

  constructor(upgrades: Upgrades) {
    this.#upgrades = upgrades
    this.#connections = upgrades.connections
  }

  get bytes(): number {
    return this.#owner.byteLength + this.#state.byteLength
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

  /** Number of connections of an owner. */
  count(owner: number): number {
    return this.#counts[owner] ?? 0
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
    this.#addRow(row, owner)
    this.#upgrades.scheduleIdleCheck(row)
    if (this.#ownerOf(row).wakes) return row
    socket.on('error', () => {})
    this.#heads.set(row, Buffer.from(head))
    if (!this.#upgrades.park(row)) socket.once('drain', () => this.#parkLater(row, socket))
    return row
  }

  #parkLater(row: number, socket: Socket): void {
    if (this.#connections.socket(row) === socket) this.#upgrades.park(row)
  }

  /** Takes a connection that is a bare descriptor. @returns its row; a negative errno after closing `fd` */
  adoptDescriptor(fd: number, owner: number): number {
    const row = this.#upgrades.adoptDescriptor(fd)
    if (row >= 0) this.#addRow(row, owner)
    return row
  }

  /** Takes a parked connection of the server, whose handshake was done while it was parked. */
  adoptParked(row: number, owner: number): void {
    this.#upgrades.adoptParked(row)
    this.#addRow(row, owner)
  }

  #addRow(row: number, owner: number): void {
    if (row >= this.#state.length) this.#resize(grown(this.#state.length, row + 1))
    this.#state[row] = 0
    this.#owner[row] = owner
    this.#counts[owner] = (this.#counts[owner] as number) + 1
  }

  #ownerOf(row: number): WebSocketHandlers {
    return this.#handlers[this.#owner[row] as number] as WebSocketHandlers
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
    return this.#connections.isUpgraded(row) && this.#owner[row] === owner
  }

  /** Whether a connection is parked. */
  isParked(row: number): boolean {
    return this.#connections.table.fd(row) >= 0
  }

  /** Whether messages can be sent: no close frame was sent, and the connection is not broken. */
  isOpen(row: number): boolean {
    return ((this.#state[row] as number) & (MUTE | DEAF)) === 0
  }

  /** Number of bytes that wait for a slow reader. */
  queued(row: number): number {
    return this.#queues.get(row)?.bytes ?? this.#connections.socket(row)?.writableLength ?? 0
  }

  /** Sets the timer of a parked connection, for `onTimer`. A closing handshake replaces it. @param ms 0: no timer */
  setTimer(row: number, ms: number): void {
    if (this.isOpen(row) && this.isParked(row)) this.#upgrades.setTimer(row, ms)
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
    const head = this.#takeUnread(row)
    const state = this.#state[row] as number
    const queue = this.#queues.get(row)
    const listeners = this.#closeListeners.get(row)
    const socket = this.#upgrades.wake(row)
    if (socket === undefined) return undefined
    this.#queues.delete(row)
    this.#closeListeners.delete(row)
    this.#state[row] = 0
    for (const { listener, once } of listeners?.listeners ?? []) socket[once ? 'once' : 'on']('close', listener)
    for (const { bytes, callback } of queue?.take() ?? []) socket.write(bytes, callback)
    if ((state & ENDING) !== 0 && (this.#connections.table.flags(row) & ENDED) === 0) socket.end()
    return {
      socket,
      head,
      closeSent: (state & CLOSE_SENT) !== 0,
      closeReceived: (state & CLOSE_RECEIVED) !== 0
    }
  }

  /** Takes the bytes of a connection that are received and not read, and ends the reading of them. */
  #takeUnread(row: number): Buffer {
    for (let cursor = this.#cursor; cursor !== undefined; cursor = cursor.outer) {
      if (cursor.row !== row) continue
      cursor.row = -1
      return Buffer.from(cursor.bytes.subarray(cursor.at, cursor.end))
    }
    return EMPTY
  }

  idleTime(row: number): number {
    return this.#ownerOf(row).idle
  }

  mayPark(row: number, socket: Socket): boolean {
    const handlers = this.#ownerOf(row)
    if (handlers.wakes) return isQuiet(socket) && handlers.mayPark(row, socket)
    return !socket.destroyed && socket.writableLength === 0
  }

  takesUnread(row: number): boolean {
    return !this.#ownerOf(row).wakes
  }

  onParked(row: number, socket: Socket): void {
    const handlers = this.#ownerOf(row)
    if (handlers.wakes) handlers.onParked(row, socket)
    else this.#takeHead(row, socket)
    const listeners = socket.rawListeners('close') as (Listener & { listener?: Listener })[]
    if (listeners.length === 0) return
    socket.removeAllListeners('close')
    this.#closeListeners.set(row, {
      socket,
      listeners: listeners.map((raw) => ({ listener: raw.listener ?? raw, once: raw.listener !== undefined }))
    })
  }

  /** Takes what the socket has received, and reads it in a later tick, when its owner knows the connection. */
  #takeHead(row: number, socket: Socket): void {
    const parts = [this.#heads.get(row) ?? EMPTY]
    this.#heads.delete(row)
    for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) parts.push(chunk)
    const state = this.#state[row] as number
    const id = this.id(row)
    process.nextTick(() => {
      if (this.id(row) !== id || !this.isParked(row)) return
      if ((state & CLOSE_SENT) !== 0) this.#upgrades.setTimer(row, this.#ownerOf(row).closeTimeout)
      const head = Buffer.concat(parts)
      const read = (): void => this.#read(row, head, undefined, head.length)
      if (head.length > 0) this.#connections.callBack(row, read, undefined)
    })
  }

  // Receiving: called by the reactor.

  ready(row: number, fd: number, events: number): void {
    const { reactor } = this.#upgrades
    const serial = reactor.serial[fd]
    if ((events & EPOLLOUT) !== 0) {
      this.#flush(row, fd)
      if (reactor.serial[fd] !== serial) return
    }
    if ((events & ~EPOLLOUT) === 0) return
    const { input, inputWords, inputAt } = this.#buffers
    for (;;) {
      const received = receiveAt(fd, inputAt, SIZE)
      if (received <= 0) {
        this.#onNothing(row, fd, received, events)
        return
      }
      if (((this.#state[row] as number) & DEAF) === 0) this.#read(row, input, inputWords, received)
      // Closed or woken. Without a FIN, epoll reports the connection again if there is more to read.
      if (reactor.serial[fd] !== serial || (events & ~(EPOLLIN | EPOLLOUT)) === 0) return
    }
  }

  /** @param result of `receiveAt()`: 0 or a negative errno */
  #onNothing(row: number, fd: number, result: number, events: number): void {
    // After a FIN, only the events tell that the peer has also reset the connection.
    const isOver = (events & (EPOLLERR | EPOLLHUP)) !== 0
    if (result === 0) this.#onPeerEnd(row, fd, isOver)
    else if (result !== -E.EAGAIN) this.#upgrades.close(row, 'reset')
    else if (isOver) {
      this.#upgrades.close(row, takeError(fd) === 0 ? 'peer' : 'reset')
    }
  }

  /** Closes the connection after the peer's FIN, as soon as the queued bytes are sent. */
  #onPeerEnd(row: number, fd: number, isOver: boolean): void {
    const state = this.#state[row] as number
    if ((state & QUEUED) === 0 || isOver) {
      this.#upgrades.close(row, 'peer')
      return
    }
    this.#state[row] = state | PEER_ENDED
    this.#upgrades.reactor.modify(fd, EPOLLOUT)
    this.#upgrades.setTimer(row, this.#ownerOf(row).closeTimeout)
  }

  /** Reads frames from the start of `bytes`, or from what was left the last time. */
  #read(row: number, bytes: Buffer, words: Int32Array | undefined, length: number): void {
    const rest = this.#assemblies.get(row)?.rest
    if (rest === undefined || rest.length === 0) {
      this.#readFrames({ row, bytes, at: 0, end: length, outer: this.#cursor }, words)
      return
    }
    rest.append(bytes, 0, length, this.#expected(row, rest.buffer, rest.length))
    const { buffer, length: end } = rest
    rest.clear()
    this.#readFrames({ row, bytes: buffer, at: 0, end, outer: this.#cursor }, undefined)
  }

  /** Returns the length of the frame at the start of `bytes`; 0 if it is not known yet. */
  #expected(row: number, bytes: Buffer, length: number): number {
    const assembly = this.#assemblies.get(row)
    const reader = this.#reader
    const { rules } = this.#ownerOf(row)
    reader.read(bytes, 0, length, rules, assembly !== undefined && assembly.opcode !== 0, assembly?.message.length ?? 0)
    return reader.end
  }

  #readFrames(cursor: Cursor, words: Int32Array | undefined): void {
    const { row } = cursor
    this.#cursor = cursor
    try {
      while (cursor.row === row && cursor.at < cursor.end && ((this.#state[row] as number) & DEAF) === 0) {
        if (!this.#readFrame(row, cursor, words)) return
      }
    } finally {
      this.#cursor = cursor.outer
    }
  }

  /** Reads one frame. @returns false if there is nothing more to read */
  #readFrame(row: number, cursor: Cursor, words: Int32Array | undefined): boolean {
    const handlers = this.#ownerOf(row)
    const { bytes } = cursor
    const reader = this.#reader
    const assembly = ((this.#state[row] as number) & INCOMPLETE) === 0 ? undefined : this.#assemblies.get(row)
    const opcodeBefore = assembly?.opcode ?? 0
    const result = reader.read(
      bytes,
      cursor.at,
      cursor.end,
      handlers.rules,
      opcodeBefore !== 0,
      assembly?.message.length ?? 0
    )
    if (result === PARTIAL) {
      if (handlers.wakes) this.#wakeFor(row, handlers, 'partial')
      else this.#keepRest(row, cursor, reader.end === 0 ? 0 : reader.end - cursor.at)
      return false
    }
    if (result === INVALID) {
      if (handlers.wakes) this.#wakeFor(row, handlers, 'invalid')
      else this.#fail(row, handlers, reader.fault)
      return false
    }
    const { opcode, fin, rsv1, start, length } = reader
    const end = reader.end
    const isWhole = fin && opcode !== CONTINUATION
    if (!isWhole && handlers.wakes) {
      this.#wakeFor(row, handlers, 'fragment')
      return false
    }
    const view = words ?? (length < VIEW_FROM ? undefined : wordsOf(bytes))
    unmask(bytes, view, start, length)
    const before = cursor.at
    cursor.at = end
    const reason = isWhole
      ? this.#onFrame(row, handlers, opcode, rsv1, bytes, start, end)
      : this.#onFragment(row, handlers, opcode, fin, bytes, start, end)
    if (reason === undefined) return true
    // The new socket reads the frame again.
    unmask(bytes, view, start, length)
    cursor.at = before
    this.#wakeFor(row, handlers, reason)
    return false
  }

  /** Handles a whole frame. @returns why the connection has to be woken to read the frame; undefined if it need not */
  #onFrame(
    row: number,
    handlers: WebSocketHandlers,
    opcode: number,
    rsv1: boolean,
    bytes: Buffer,
    start: number,
    end: number
  ): WakeReason | undefined {
    if (opcode === PING) {
      if (handlers.answersPings) this.#pong(row, bytes, start, end)
      this.#call(() => handlers.onPing(row, bytes, start, end))
      return undefined
    }
    if (opcode === PONG) {
      this.#call(() => handlers.onPong(row, bytes, start, end))
      return undefined
    }
    if (opcode === CLOSE) return this.#onClose(row, handlers, bytes, start, end)
    if (rsv1) return this.#onCompressed(row, handlers, opcode, bytes, start, end)
    if (opcode === TEXT && !handlers.anyText && !isUtf8(bytes.subarray(start, end))) {
      if (handlers.wakes) return 'invalid'
      this.#fail(row, handlers, FAULTS.utf8)
      return undefined
    }
    try {
      handlers.onMessage(row, bytes, start, end, opcode !== TEXT)
    } catch (error) {
      throwLater(error)
    }
    return undefined
  }

  #onCompressed(
    row: number,
    handlers: WebSocketHandlers,
    opcode: number,
    bytes: Buffer,
    start: number,
    end: number
  ): WakeReason | undefined {
    try {
      if (handlers.onCompressed?.(row, bytes, start, end, opcode !== TEXT) === true) return undefined
    } catch (error) {
      throwLater(error)
      return undefined
    }
    return 'compressed'
  }

  /** Handles the peer's close frame. */
  #onClose(
    row: number,
    handlers: WebSocketHandlers,
    bytes: Buffer,
    start: number,
    end: number
  ): WakeReason | undefined {
    const fault = closeFault(bytes, start, end - start, handlers.anyText)
    if (fault !== undefined) {
      if (handlers.wakes) return 'invalid'
      this.#fail(row, handlers, fault)
      return undefined
    }
    const code = closeCodeOf(bytes, start, end - start)
    const reason = end - start <= 2 ? EMPTY : Buffer.from(bytes.subarray(start + 2, end))
    this.#closings.set(row, { code, reason })
    this.#state[row] = (this.#state[row] as number) | CLOSE_RECEIVED
    this.#call(() => handlers.onClosing(row, code, reason))
    // The handler may have closed the connection, or woken it.
    if (this.#cursor?.row !== row) return undefined
    if (((this.#state[row] as number) & CLOSE_SENT) === 0) this.#sendClose(row, code, reason)
    else this.#end(row)
    return undefined
  }

  /** Adds a fragment to its message. */
  #onFragment(
    row: number,
    handlers: WebSocketHandlers,
    opcode: number,
    fin: boolean,
    bytes: Buffer,
    start: number,
    end: number
  ): undefined {
    const assembly = this.#assembly(row)
    if (opcode !== CONTINUATION) assembly.opcode = opcode
    assembly.message.append(bytes, start, end)
    if (!fin) return
    const { message, opcode: kind } = assembly
    this.#assemblies.delete(row)
    this.#state[row] = (this.#state[row] as number) & ~INCOMPLETE
    this.#onFrame(row, handlers, kind, false, message.buffer, 0, message.length)
  }

  /** Keeps the bytes of an incomplete frame. @param expected length of the frame; 0: unknown */
  #keepRest(row: number, cursor: Cursor, expected: number): void {
    const { bytes, at, end } = cursor
    const { rest } = this.#assembly(row)
    if (at === 0 && bytes !== this.#buffers.input) {
      // The buffer that was read is the one that the rest was kept in.
      rest.buffer = bytes as Buffer<ArrayBuffer>
      rest.length = end
    } else rest.append(bytes, at, end, expected)
  }

  #assembly(row: number): Assembly {
    let assembly = this.#assemblies.get(row)
    if (assembly === undefined) {
      assembly = new Assembly()
      this.#assemblies.set(row, assembly)
      this.#state[row] = (this.#state[row] as number) | INCOMPLETE
    }
    return assembly
  }

  #wakeFor(row: number, handlers: WebSocketHandlers, reason: WakeReason): void {
    const id = this.id(row)
    this.#call(() => handlers.onWake(row, reason))
    // Nobody reads the bytes: without this, epoll would report them for ever.
    if (this.id(row) === id && this.isParked(row) && this.#cursor?.row === row) this.#upgrades.close(row, 'server')
  }

  #fail(row: number, handlers: WebSocketHandlers, fault: Fault): void {
    this.#state[row] = (this.#state[row] as number) | FAILED
    this.#dropAssembly(row)
    this.#call(() => handlers.onFault(row, fault))
    if (this.#cursor?.row !== row) return
    if (((this.#state[row] as number) & CLOSE_SENT) === 0) this.#sendClose(row, fault.closeCode, EMPTY)
    else this.#end(row)
  }

  #dropAssembly(row: number): void {
    if (((this.#state[row] as number) & INCOMPLETE) === 0) return
    this.#assemblies.delete(row)
    this.#state[row] = (this.#state[row] as number) & ~INCOMPLETE
  }

  /** Calls a handler. What it throws must reach neither this connection nor another one. */
  #call(handler: () => void): void {
    try {
      handler()
    } catch (error) {
      throwLater(error)
    }
  }

  onTimer(row: number): void {
    const state = this.#state[row] as number
    if ((state & (MUTE | DEAF)) !== 0) this.#upgrades.close(row, 'timeout')
    else this.#call(() => this.#ownerOf(row).onTimer(row))
  }

  // Sending.

  /**
   * Sends a message, a ping or a pong.
   *
   * @param opcode `TEXT`, `BINARY`, `PING` or `PONG`; the payload of the last two has at most 125 bytes
   * @param data may be changed after this returns
   * @param callback called in a later tick
   * @param rsv1 whether `data` is compressed
   * @returns whether the kernel took all of it. If not, the rest is sent later, unless {@link isOpen} is false
   */
  send(row: number, opcode: number, data: string | Uint8Array, callback?: SendCallback, rsv1 = false): boolean {
    const { output } = this.#buffers
    if (typeof data === 'string' && data.length * BYTES_PER_UNIT <= ROOM) {
      if (data !== this.#text || opcode !== TEXT || rsv1) {
        const length = output.write(data, DATA_AT)
        this.#setFrame(opcode === TEXT && !rsv1 ? data : undefined, opcode, length, rsv1)
      }
      return this.#transmitOutput(row, this.#textFrom, this.#textEnd, callback)
    }
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    if (bytes.length <= ROOM) {
      output.set(bytes, DATA_AT)
      this.#setFrame(undefined, opcode, bytes.length, rsv1)
      return this.#transmitOutput(row, this.#textFrom, this.#textEnd, callback)
    }
    const frame = frameOf(opcode, bytes, rsv1)
    return this.#transmit(row, frame, addressOf(frame), callback)
  }

  /** Sends a frame that was prepared with {@link prepareFrame}. @returns as {@link send} */
  sendFrame(row: number, { bytes, address }: PreparedFrame, callback?: SendCallback): boolean {
    return this.#transmit(row, bytes, address, callback)
  }

  /**
   * Sends bytes that are whole frames, made elsewhere.
   *
   * @param callback called in a later tick
   * @returns false if the connection is broken, or a close frame was sent
   */
  write(row: number, bytes: Uint8Array, callback?: SendCallback): boolean {
    if (bytes.length <= ROOM) {
      this.#text = undefined
      this.#buffers.output.set(bytes, DATA_AT)
      this.#transmitOutput(row, DATA_AT, DATA_AT + bytes.length, callback)
    } else {
      const copy = Buffer.allocUnsafeSlow(bytes.length)
      copy.set(bytes)
      this.#transmit(row, copy, addressOf(copy), callback)
    }
    return this.isOpen(row)
  }

  end(row: number): void {
    this.#end(row)
  }

  /**
   * Sends the same frame to many connections, in slices of a few ms. Broadcasts run one after the other.
   *
   * @param ids of the connections; undefined: all connections of the owner
   * @returns how many connections it was sent to
   */
  broadcast(frame: PreparedFrame, owner: number, ids?: Iterable<number>): Promise<number> {
    return this.#broadcasts.add(ids ?? this.#connections.table.ids(), (id) => {
      const row = this.find(id, owner)
      if (row === -1 || !this.isOpen(row)) return false
      this.#transmit(row, frame.bytes, frame.address, undefined)
      return this.isOpen(row)
    })
  }

  /** Writes the header of the frame whose payload is in the send buffer. */
  #setFrame(text: string | undefined, opcode: number, length: number, rsv1: boolean): void {
    this.#text = text
    this.#textFrom = writeHeader(this.#buffers.output, DATA_AT, opcode, length, rsv1)
    this.#textEnd = DATA_AT + length
  }

  /** Sends a part of the send buffer. */
  #transmitOutput(row: number, from: number, end: number, callback: SendCallback | undefined): boolean {
    const { output, outputAt } = this.#buffers
    const sent = this.#trySend(row, outputAt + from, end - from, callback)
    if (sent >= 0) this.#enqueue(row, Buffer.from(output.subarray(from + sent, end)), callback)
    return sent === ALL
  }

  /** Sends bytes that do not change any more. */
  #transmit(row: number, bytes: Buffer, address: number, callback: SendCallback | undefined): boolean {
    const sent = this.#trySend(row, address, bytes.length, callback)
    if (sent >= 0) this.#enqueue(row, bytes.subarray(sent), callback)
    return sent === ALL
  }

  /**
   * Sends to the kernel, unless earlier bytes wait.
   *
   * @returns {@link ALL} or {@link REFUSED}, with the callback scheduled; else how many bytes are sent, and the caller
   *   has to queue the rest
   */
  #trySend(row: number, address: number, length: number, callback: SendCallback | undefined): number {
    const state = this.#state[row] as number
    if ((state & MUTE) !== 0) {
      if (callback !== undefined) process.nextTick(callback, notOpen())
      return REFUSED
    }
    const fd = this.#connections.table.fd(row)
    if (fd < 0 || (state & QUEUED) !== 0) return 0
    const sent = sendAt(fd, address, length)
    if (sent === length) {
      if (callback !== undefined) process.nextTick(callback)
      return ALL
    }
    if (sent >= 0) return sent
    this.#state[row] = state | BROKEN
    if (callback !== undefined) process.nextTick(callback, systemError('write', -sent))
    return REFUSED
  }

  /** Keeps bytes until the kernel, or the socket of an awake connection, takes them. */
  #enqueue(row: number, bytes: Buffer, callback: SendCallback | undefined): void {
    const { table } = this.#connections
    const fd = table.fd(row)
    if (fd < 0) {
      // The callback belongs to the caller, and all other events of the socket to the connection.
      const bound = callback && AsyncResource.bind(callback)
      this.#connections.callBack(row, () => this.#connections.socket(row)?.write(bytes, bound), undefined)
      return
    }
    this.#queue(row, fd).push(bytes, callback)
  }

  #queue(row: number, fd: number): SendQueue {
    let queue = this.#queues.get(row)
    if (queue === undefined) {
      queue = new SendQueue()
      this.#queues.set(row, queue)
      this.#state[row] = (this.#state[row] as number) | QUEUED
      this.#upgrades.reactor.modify(fd, EVENTS | EPOLLOUT)
    }
    return queue
  }

  #pong(row: number, bytes: Buffer, start: number, end: number): void {
    const state = this.#state[row] as number
    if ((state & MUTE) !== 0) return
    const queue = this.#queues.get(row)
    if (queue !== undefined) {
      queue.pong = frameOf(PONG, bytes.subarray(start, end))
      return
    }
    bytes.copy(this.#buffers.output, CONTROL_AT, start, end)
    this.#transmitControl(row, PONG, end - start)
  }

  /** Sends a control frame whose payload is in the send buffer. */
  #transmitControl(row: number, opcode: number, length: number): void {
    const from = writeHeader(this.#buffers.output, CONTROL_AT, opcode, length)
    this.#transmitOutput(row, from, CONTROL_AT + length, undefined)
  }

  /** Sends queued bytes. */
  #flush(row: number, fd: number): void {
    const queue = this.#queues.get(row)
    if (queue === undefined) return
    const result = queue.flush(fd)
    if (result === 1) return
    if (result < 0) {
      this.#upgrades.close(row, 'reset')
      return
    }
    const state = (this.#state[row] as number) & ~QUEUED
    this.#state[row] = state
    this.#queues.delete(row)
    if ((state & PEER_ENDED) !== 0) {
      this.#upgrades.close(row, 'peer')
      return
    }
    this.#upgrades.reactor.modify(fd, EVENTS)
    if ((state & ENDING) !== 0) this.#end(row)
    else if ((state & MUTE) === 0) this.#call(() => this.#ownerOf(row).onDrain(row))
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
    this.#sendClose(row, code, reason)
    return true
  }

  /** Closes a connection without a closing handshake. */
  terminate(row: number): void {
    this.#upgrades.close(row, 'server')
  }

  /** Sends a close frame, and sets the timer of the closing handshake. */
  #sendClose(row: number, code: number, reason: Uint8Array): void {
    const { output } = this.#buffers
    const length = code === NO_CODE ? 0 : 2 + Math.min(reason.length, MAX_CONTROL - 2)
    if (length > 0) {
      output[CONTROL_AT] = code >> 8
      output[CONTROL_AT + 1] = code
      output.set(reason.subarray(0, length - 2), CONTROL_AT + 2)
    }
    // No frame may follow a close frame.
    const queue = this.#queues.get(row)
    if (queue !== undefined) queue.pong = undefined
    this.#transmitControl(row, CLOSE, length)
    const state = (this.#state[row] as number) | CLOSE_SENT
    this.#state[row] = state
    if (this.isParked(row)) this.#upgrades.setTimer(row, this.#ownerOf(row).closeTimeout)
    if ((state & DEAF) !== 0) this.#end(row)
  }

  /** Sends a FIN after what is queued. */
  #end(row: number): void {
    const { table } = this.#connections
    const state = this.#state[row] as number
    this.#state[row] = state | ENDING
    if ((state & QUEUED) !== 0) return
    const fd = table.fd(row)
    if (fd < 0) {
      this.#connections.socket(row)?.end()
      return
    }
    if ((table.flags(row) & ENDED) !== 0) return
    table.setFlags(row, ENDED)
    shutdownWrite(fd)
  }

  onClosed(row: number, cause: Cause): void {
    for (let cursor = this.#cursor; cursor !== undefined; cursor = cursor.outer) {
      if (cursor.row === row) cursor.row = -1
    }
    const owner = this.#owner[row] as number
    const handlers = this.#ownerOf(row)
    const { code, reason } = this.#closings.get(row) ?? { code: ABNORMAL, reason: EMPTY }
    const queue = this.#queues.get(row)
    const listeners = this.#closeListeners.get(row)
    this.#queues.delete(row)
    this.#closeListeners.delete(row)
    this.#closings.delete(row)
    this.#assemblies.delete(row)
    this.#heads.delete(row)
    this.#state[row] = BROKEN
    this.#counts[owner] = (this.#counts[owner] as number) - 1
    if (this.#released.has(owner)) this.unregister(owner)
    this.#call(() => handlers.onClosed(row, code, reason, cause))
    for (const { callback } of queue?.take() ?? []) if (callback !== undefined) process.nextTick(callback, notOpen())
    if (listeners !== undefined) process.nextTick(callCloseListeners, listeners)
  }

  trim(end: number): void {
    const size = shrunk(end)
    if (size < this.#state.length) this.#resize(size)
  }

  #resize(size: number): void {
    this.#owner = resized(this.#owner, new Uint16Array(size))
    this.#state = resized(this.#state, new Uint8Array(size))
  }
}

/** Results of `#trySend()` that leave nothing to queue. */
const ALL = -1
const REFUSED = -2

function notOpen(): EbbError {
  return new EbbError('ERR_STREAM_DESTROYED', 'the WebSocket connection is closed, or is being closed')
}

function callCloseListeners({ socket, listeners }: CloseListeners): void {
  for (const { listener } of listeners) process.nextTick(() => listener.call(socket, false))
}

/** Makes an error an `uncaughtException`, in a later turn. */
function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

/** Receiving: the frames that arrive for parked WebSocket connections. */
import { isUtf8 } from 'node:buffer'
import type { Connections } from '../park/state/connections.js'
import type { Upgrades } from '../park/upgrades.js'
import { E, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../sys/constants.js'
import { reportLater } from '../sys/node/callback-scope.js'
import { takeError } from '../sys/socket.js'
import { receiveAt } from '../sys/transfer.js'
import { Assembly } from './assembly.js'
import { buffers, SIZE } from './buffers.js'
import {
  ABNORMAL,
  CLOSE,
  CONTINUATION,
  closeCodeOf,
  closeFault,
  FAULTS,
  type Fault,
  FrameReader,
  INVALID,
  PARTIAL,
  PING,
  PONG,
  TEXT,
  unmask,
  wordsOf
} from './frames.js'
import { callHandler, type WakeReason, type WebSocketHandlers } from './handlers.js'
import type { MovedState } from './moved-state.js'
import type { FrameSender } from './sending.js'
import { CLOSE_RECEIVED, CLOSE_SENT, DEAF, FAILED, INCOMPLETE, PEER_ENDED, QUEUED, type States } from './states.js'

/** For payloads from this length on, it pays to make a view of words. */
const VIEW_FROM = 1024
const EMPTY = Buffer.alloc(0)

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

/** The peer's close frame. */
interface Closing {
  code: number
  reason: Buffer
}

const NO_CLOSE_FRAME: Closing = { code: ABNORMAL, reason: EMPTY }

/** Reads what arrives for the connections of one server, and calls their handlers. */
export class FrameReceiver {
  readonly #upgrades: Upgrades
  readonly #connections: Connections
  readonly #states: States
  readonly #sender: FrameSender
  readonly #buffers = buffers()
  readonly #reader = new FrameReader()

  // By row, only for those that need it.
  readonly #assemblies = new Map<number, Assembly>()
  readonly #closings = new Map<number, Closing>()

  /** What is being read now. */
  #cursor: Cursor | undefined

  constructor(upgrades: Upgrades, states: States, sender: FrameSender) {
    this.#upgrades = upgrades
    this.#connections = upgrades.connections
    this.#states = states
    this.#sender = sender
  }

  /** Whether bytes of a connection are received and not read, because a listener runs. */
  hasUnread(row: number): boolean {
    for (let cursor = this.#cursor; cursor !== undefined; cursor = cursor.outer) {
      if (cursor.row === row) return cursor.at < cursor.end
    }
    return false
  }

  /** Takes the bytes of a connection that are received and not read, and ends the reading of them. */
  takeUnread(row: number): Buffer {
    for (let cursor = this.#cursor; cursor !== undefined; cursor = cursor.outer) {
      if (cursor.row !== row) continue
      cursor.row = -1
      return Buffer.from(cursor.bytes.subarray(cursor.at, cursor.end))
    }
    return EMPTY
  }

  /** Forgets a connection that is closed. @returns the peer's close frame */
  delete(row: number): Closing {
    for (let cursor = this.#cursor; cursor !== undefined; cursor = cursor.outer) {
      if (cursor.row === row) cursor.row = -1
    }
    const closing = this.#closings.get(row) ?? NO_CLOSE_FRAME
    this.#closings.delete(row)
    this.#assemblies.delete(row)
    return closing
  }

  /** Number of bytes that have arrived of an incomplete message and an incomplete frame. */
  incompleteBytes(row: number): number {
    const assembly = this.#assemblies.get(row)
    return assembly === undefined ? 0 : assembly.message.length + assembly.rest.length
  }

  /** Returns what has arrived in part, and the peer's close frame, for another process. */
  describe(row: number): Pick<MovedState, 'closing' | 'message' | 'rest'> {
    const { opcode = 0, message, rest } = this.#assemblies.get(row) ?? {}
    return {
      closing: this.#closings.get(row),
      message: message === undefined || opcode === 0 ? undefined : { opcode, bytes: message.bytes },
      rest: rest === undefined || rest.length === 0 ? undefined : rest.bytes
    }
  }

  /** Goes on with what has arrived in another process. */
  restore(row: number, { closing, message, rest }: MovedState): void {
    if (closing !== undefined) this.#closings.set(row, closing)
    if (message === undefined && rest === undefined) return
    const assembly = this.#assembly(row)
    assembly.opcode = message?.opcode ?? 0
    if (message !== undefined) assembly.message.append(message.bytes, 0, message.bytes.length)
    if (rest !== undefined) assembly.rest.append(rest, 0, rest.length)
  }

  /** Handles events of a parked connection. */
  ready(row: number, fd: number, events: number): void {
    const { reactor } = this.#upgrades
    const serial = reactor.serial[fd]
    if ((events & EPOLLOUT) !== 0) {
      this.#sender.flush(row, fd)
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
      if ((this.#states.flags(row) & DEAF) === 0) this.read(row, input, inputWords, received)
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
    const state = this.#states.flags(row)
    if ((state & QUEUED) === 0 || isOver) {
      this.#upgrades.close(row, 'peer')
      return
    }
    const handlers = this.#states.handlers(row)
    this.#states.setFlags(row, PEER_ENDED)
    this.#upgrades.reactor.modify(fd, EPOLLOUT)
    this.#upgrades.setTimer(row, handlers.closeTimeout)
    callHandler(() => handlers.onPeerEnd?.(row))
  }

  /** Reads frames from the start of `bytes`, or from what was left the last time. */
  read(row: number, bytes: Buffer, words: Int32Array | undefined, length: number): void {
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
    const { rules } = this.#states.handlers(row)
    reader.read(bytes, 0, length, rules, assembly !== undefined && assembly.opcode !== 0, assembly?.message.length ?? 0)
    return reader.end
  }

  #readFrames(cursor: Cursor, words: Int32Array | undefined): void {
    const { row } = cursor
    this.#cursor = cursor
    try {
      while (cursor.row === row && cursor.at < cursor.end && (this.#states.flags(row) & DEAF) === 0) {
        if (!this.#readFrame(row, cursor, words)) return
      }
    } finally {
      this.#cursor = cursor.outer
    }
  }

  /** Reads one frame. @returns false if there is nothing more to read */
  #readFrame(row: number, cursor: Cursor, words: Int32Array | undefined): boolean {
    const handlers = this.#states.handlers(row)
    const { bytes } = cursor
    const reader = this.#reader
    const assembly = (this.#states.flags(row) & INCOMPLETE) === 0 ? undefined : this.#assemblies.get(row)
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
      if (handlers.answersPings) this.#sender.pong(row, bytes, start, end)
      callHandler(() => handlers.onPing(row, bytes, start, end))
      return undefined
    }
    if (opcode === PONG) {
      callHandler(() => handlers.onPong(row, bytes, start, end))
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
      reportLater(error)
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
      reportLater(error)
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
    this.#states.setFlags(row, CLOSE_RECEIVED)
    callHandler(() => handlers.onClosing(row, code, reason))
    this.#finishClosing(row, code, reason)
    return undefined
  }

  /** Sends a close frame, or a FIN if a close frame was sent before. */
  #finishClosing(row: number, code: number, reason: Buffer): void {
    // The handler may have closed the connection, or woken it.
    if (this.#cursor?.row !== row) return
    if ((this.#states.flags(row) & CLOSE_SENT) === 0) this.#sender.close(row, code, reason)
    else this.#sender.end(row)
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
    if (!fin) {
      handlers.onProgress?.(row)
      return
    }
    const { message, opcode: kind } = assembly
    this.#dropAssembly(row)
    this.#onFrame(row, handlers, kind, false, message.buffer, 0, message.length)
  }

  /** Keeps the bytes of an incomplete frame. @param expected length of the frame; 0: unknown */
  #keepRest(row: number, cursor: Cursor, expected: number): void {
    const { bytes, at, end } = cursor
    this.#states.handlers(row).onProgress?.(row)
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
      this.#states.setFlags(row, INCOMPLETE)
    }
    return assembly
  }

  #wakeFor(row: number, handlers: WebSocketHandlers, reason: WakeReason): void {
    const id = this.#connections.table.id(row)
    callHandler(() => handlers.onWake(row, reason))
    // Nobody reads the bytes: without this, epoll would report them for ever.
    const isSame = this.#connections.table.id(row) === id && this.#connections.isParked(row)
    if (isSame && this.#cursor?.row === row) this.#upgrades.close(row, 'server')
  }

  #fail(row: number, handlers: WebSocketHandlers, fault: Fault): void {
    this.#states.setFlags(row, FAILED)
    this.#dropAssembly(row)
    callHandler(() => handlers.onFault(row, fault))
    this.#finishClosing(row, fault.closeCode, EMPTY)
  }

  #dropAssembly(row: number): void {
    if ((this.#states.flags(row) & INCOMPLETE) === 0) return
    this.#assemblies.delete(row)
    this.#states.setFlags(row, 0, INCOMPLETE)
  }
}

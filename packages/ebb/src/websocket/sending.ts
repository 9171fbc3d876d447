/** Sending: frames that go straight to the descriptors of parked WebSocket connections. */
import { AsyncResource } from 'node:async_hooks'
import type { Connections } from '../park/state/connections.js'
import { ENDED } from '../park/state/table.js'
import type { Cause } from '../park/stats.js'
import type { Upgrades } from '../park/upgrades.js'
import { E, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../sys/constants.js'
import { EbbError, systemError } from '../sys/errors.js'
import { sendRoom, shutdownWrite } from '../sys/socket.js'
import { addressOf, sendAt } from '../sys/transfer.js'
import { buffers, SIZE } from './buffers.js'
import { CLOSE, frameOf, MAX_CONTROL, NO_CODE, PONG, TEXT, writeHeader } from './frames.js'
import { callHandler, type SendCallback } from './handlers.js'
import type { MovedState } from './moved-state.js'
import { type Entry, SendQueue } from './send-queue.js'
import { BROKEN, CLOSE_SENT, DEAF, ENDING, MUTE, PEER_ENDED, QUEUED, type States } from './states.js'

/** In the send buffer, control frames come first, then data frames. */
const CONTROL_AT = 16
const DATA_AT = 192
const ROOM = SIZE - DATA_AT
/** A UTF-16 code unit has at most this many bytes in UTF-8. */
const BYTES_PER_UNIT = 3
const EVENTS = EPOLLIN | EPOLLRDHUP

/** Milliseconds that epoll has to report why the kernel refused to send. Then the connection is closed anyway. */
const REPORT_TIMEOUT = 100

/** A frame that goes to many connections. */
export interface PreparedFrame {
  readonly bytes: Buffer
  readonly address: number
}

/** Prepares a frame for {@link FrameSender.sendFrame}. */
export function prepareFrame(opcode: number, payload: string | Uint8Array): PreparedFrame {
  const bytes = frameOf(opcode, typeof payload === 'string' ? Buffer.from(payload) : payload)
  return { bytes, address: addressOf(bytes) }
}

/**
 * Returns the room in a send buffer that takes a frame whole. The kernel counts its own memory, of which a small
 * segment needs several times the payload.
 */
function roomFor(length: number): number {
  return 4 * length + 4096
}

/** Results of `#trySend()` that leave nothing to queue. */
const ALL = -1
const REFUSED = -2

/** Sends to the connections of one server. What the kernel does not take is kept in order. */
export class FrameSender {
  readonly #upgrades: Upgrades
  readonly #connections: Connections
  readonly #states: States
  readonly #buffers = buffers()
  /** By row: bytes for a slow reader. */
  readonly #queues = new Map<number, SendQueue>()

  constructor(upgrades: Upgrades, states: States) {
    this.#upgrades = upgrades
    this.#connections = upgrades.connections
    this.#states = states
  }

  /** Number of bytes that wait for a slow reader. */
  queued(row: number): number {
    return this.#queues.get(row)?.bytes ?? this.#connections.socket(row)?.writableLength ?? 0
  }

  /** Takes what waits for a slow reader, to send it elsewhere. */
  takeQueue(row: number): Entry[] {
    const entries = this.#queues.get(row)?.take() ?? []
    this.#queues.delete(row)
    return entries
  }

  /** Returns what waits for a slow reader, for another process. */
  describe(row: number): Pick<MovedState, 'queue' | 'pong'> {
    const queue = this.#queues.get(row)
    return { queue: queue?.copy(), pong: queue?.pong }
  }

  /** Goes on with what waited in another process. */
  restore(row: number, { queue: bytes, pong }: MovedState): void {
    if (bytes === undefined) return
    const queue = this.#queue(row, this.#connections.table.fd(row))
    if (bytes.length > 0) queue.push(bytes, undefined)
    queue.pong = pong
  }

  /** Forgets what waits for a slow reader, because another process sends it. Callbacks are told that it is sent. */
  onMoved(row: number): void {
    for (const { callback } of this.takeQueue(row)) if (callback !== undefined) process.nextTick(callback, null)
  }

  /** Forgets what waits for a slow reader, because the connection is closed. Callbacks get an error. */
  delete(row: number, cause: Cause): void {
    const entries = this.takeQueue(row)
    if (entries.length === 0) return
    const error = cause === 'reset' ? systemError('write', E.ECONNRESET) : notOpen()
    for (const { callback } of entries) if (callback !== undefined) process.nextTick(callback, error)
  }

  /**
   * Sends a message, a ping or a pong.
   *
   * @param opcode `TEXT`, `BINARY`, `PING` or `PONG`; the payload of the last two has at most 125 bytes
   * @param data may be changed after this returns
   * @param callback called in a later tick
   * @param rsv1 whether `data` is compressed
   * @returns whether the kernel took all of it. If not, the rest is sent later, unless {@link States.isOpen} is false
   */
  send(row: number, opcode: number, data: string | Uint8Array, callback?: SendCallback, rsv1 = false): boolean {
    const { output } = this.#buffers
    if (typeof data === 'string' && data.length * BYTES_PER_UNIT <= ROOM) {
      if (data !== this.#buffers.text || opcode !== TEXT || rsv1) {
        const length = output.write(data, DATA_AT)
        this.#setFrame(opcode === TEXT && !rsv1 ? data : undefined, opcode, length, rsv1)
      }
      return this.#transmitOutput(row, this.#buffers.frameStart, this.#buffers.frameEnd, callback)
    }
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    if (bytes.length <= ROOM) {
      output.set(bytes, DATA_AT)
      this.#setFrame(undefined, opcode, bytes.length, rsv1)
      return this.#transmitOutput(row, this.#buffers.frameStart, this.#buffers.frameEnd, callback)
    }
    const frame = frameOf(opcode, bytes, rsv1)
    return this.#transmit(row, frame, addressOf(frame), callback)
  }

  /** Sends a frame that was prepared with {@link prepareFrame}. @returns as {@link send} */
  sendFrame(row: number, { bytes, address }: PreparedFrame): boolean {
    return this.#transmit(row, bytes, address, undefined)
  }

  /**
   * Sends bytes that are whole frames, made elsewhere.
   *
   * @param callback called in a later tick
   * @returns false if the connection is broken, or a close frame was sent
   */
  write(row: number, bytes: Uint8Array, callback?: SendCallback): boolean {
    if (bytes.length <= ROOM) {
      this.#buffers.text = undefined
      this.#buffers.output.set(bytes, DATA_AT)
      this.#transmitOutput(row, DATA_AT, DATA_AT + bytes.length, callback)
    } else {
      const copy = Buffer.allocUnsafeSlow(bytes.length)
      copy.set(bytes)
      this.#transmit(row, copy, addressOf(copy), callback)
    }
    return this.#states.isOpen(row)
  }

  /** Writes the header of the frame whose payload is in the send buffer. */
  #setFrame(text: string | undefined, opcode: number, length: number, rsv1: boolean): void {
    this.#buffers.text = text
    this.#buffers.frameStart = writeHeader(this.#buffers.output, DATA_AT, opcode, length, rsv1)
    this.#buffers.frameEnd = DATA_AT + length
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
    const state = this.#states.flags(row)
    if ((state & MUTE) !== 0) {
      if (callback !== undefined) process.nextTick(callback, notOpen())
      return REFUSED
    }
    const fd = this.#connections.table.fd(row)
    if (fd < 0 || (state & QUEUED) !== 0) return 0
    const { onLeaving } = this.#connections
    // A duplicate of this connection may not outlive this process with a part of a frame.
    const mayBePart = onLeaving !== undefined && sendRoom(fd) < roomFor(length)
    if (mayBePart) onLeaving(row)
    const sent = sendAt(fd, address, length)
    if (sent === length) {
      if (mayBePart) this.#connections.onChange?.(row)
      if (callback !== undefined) process.nextTick(callback, null)
      return ALL
    }
    onLeaving?.(row)
    if (sent >= 0) return sent
    this.#states.setFlags(row, BROKEN)
    this.#upgrades.setTimer(row, REPORT_TIMEOUT)
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
      this.#states.setFlags(row, QUEUED)
      this.#upgrades.reactor.modify(fd, EVENTS | EPOLLOUT)
    }
    return queue
  }

  pong(row: number, bytes: Buffer, start: number, end: number): void {
    const state = this.#states.flags(row)
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
  flush(row: number, fd: number): void {
    const queue = this.#queues.get(row)
    if (queue === undefined) return
    const result = queue.flush(fd)
    if (result === 1) {
      this.#states.handlers(row).onProgress?.(row)
      return
    }
    if (result < 0) {
      this.#upgrades.close(row, 'reset')
      return
    }
    this.#states.setFlags(row, 0, QUEUED)
    const state = this.#states.flags(row)
    this.#queues.delete(row)
    if ((state & PEER_ENDED) !== 0) {
      this.#upgrades.close(row, 'peer')
      return
    }
    this.#upgrades.reactor.modify(fd, EVENTS)
    if ((state & ENDING) !== 0) this.end(row)
    else if ((state & MUTE) === 0) callHandler(() => this.#states.handlers(row).onDrain(row))
  }

  /** Sends a close frame, and sets the timer of the closing handshake. */
  close(row: number, code: number, reason: Uint8Array): void {
    this.#connections.onLeaving?.(row)
    const { output } = this.#buffers
    const length = code === NO_CODE ? 0 : 2 + Math.min(reason.length, MAX_CONTROL - 2)
    if (length > 0) {
      output[CONTROL_AT] = code >> 8
      output[CONTROL_AT + 1] = code
      output.set(reason.subarray(0, length - 2), CONTROL_AT + 2)
    }
    // No frame may follow a close frame.
    this.#queues.get(row)?.pushPong()
    this.#transmitControl(row, CLOSE, length)
    this.#states.setFlags(row, CLOSE_SENT)
    if (this.#connections.isParked(row)) this.#upgrades.setTimer(row, this.#states.handlers(row).closeTimeout)
    if ((this.#states.flags(row) & DEAF) !== 0) this.end(row)
  }

  /** Sends a FIN after what is queued. */
  end(row: number): void {
    const { table } = this.#connections
    this.#connections.onLeaving?.(row)
    const state = this.#states.flags(row)
    this.#states.setFlags(row, ENDING)
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
}

function notOpen(): EbbError {
  return new EbbError('ERR_STREAM_DESTROYED', 'the WebSocket connection is closed, or is being closed')
}

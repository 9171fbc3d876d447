/** What a WebSocket object does when another process has its connection. */
import { isUint8Array } from 'node:util/types'
import { EbbError } from '../../sys/errors.js'
import { isCloseCode, MAX_CONTROL, NO_CODE } from '../frames.js'
import type { SendCallback } from '../handlers.js'
import type { WebSocketOrder } from '../orders.js'
import type { WebSockets } from '../web-sockets.js'
import { callbackOf, isSet, payloadOf } from './arguments.js'
import { CLOSED, type Sender } from './internals.js'
import type { ParkedGroup, ParkedWebSocket } from './parked-class.js'
import { ParkedSender } from './parked-sender.js'

/** Passes on what the program does with one WebSocket, as long as the other process can be reached. */
export class MovedGroup implements ParkedGroup {
  readonly #core: WebSockets
  readonly #id: number
  readonly #owner: string

  constructor(core: WebSockets, id: number, owner: string) {
    this.#core = core
    this.#id = id
    this.#owner = owner
  }

  #pass(webSocket: ParkedWebSocket, order: Omit<WebSocketOrder, 'owner'>, callback?: SendCallback): void {
    const isPassed = this.#core.pass(this.#id, { ...order, owner: this.#owner })
    if (!isPassed) webSocket._readyState = CLOSED
    if (callback !== undefined) process.nextTick(callback, isPassed ? null : gone())
  }

  send(webSocket: ParkedWebSocket, data: unknown, options: unknown, callback: unknown): boolean {
    if (typeof options === 'function') return this.send(webSocket, data, undefined, options)
    const payload = payloadOf(data)
    if (payload === undefined || !isSet(options, 'fin', true)) {
      this.#refuse(callbackOf(callback))
      return true
    }
    const kind = isSet(options, 'binary', typeof payload !== 'string') ? 'binary' : 'text'
    this.#pass(webSocket, { kind, data: bytesOf(payload) }, callbackOf(callback))
    return true
  }

  control(webSocket: ParkedWebSocket, isPing: boolean, data: unknown, mask: unknown, callback: unknown): boolean {
    if (typeof data === 'function') return this.control(webSocket, isPing, undefined, undefined, data)
    if (typeof mask === 'function') return this.control(webSocket, isPing, data, undefined, mask)
    const payload = payloadOf(data)
    const isPassed = isPing && payload !== undefined && Buffer.byteLength(payload) <= MAX_CONTROL
    if (isPassed) this.#pass(webSocket, { kind: 'ping', data: bytesOf(payload) }, callbackOf(callback))
    else this.#refuse(callbackOf(callback))
    return true
  }

  close(webSocket: ParkedWebSocket, code: unknown, reason: unknown): boolean {
    const isCode = typeof code === 'number' && isCloseCode(code)
    const text = isCode && (typeof reason === 'string' || isUint8Array(reason)) ? reason : ''
    const data = bytesOf(text).subarray(0, MAX_CONTROL - 2)
    this.#pass(webSocket, { kind: 'close', code: isCode ? code : NO_CODE, data })
    return true
  }

  terminate(): boolean {
    this.#core.terminateElsewhere(this.#id)
    return true
  }

  write(_webSocket: ParkedWebSocket, _bytes: Uint8Array, callback: SendCallback | undefined): void {
    this.#refuse(callback)
  }

  /** What cannot be passed on: parts of messages, pongs, frames that were made elsewhere. */
  #refuse(callback: SendCallback | undefined): void {
    if (callback !== undefined) process.nextTick(callback, gone())
  }

  reach(): void {
    // There is no socket.
  }

  senderOf(webSocket: ParkedWebSocket): Sender {
    return new ParkedSender(webSocket)
  }

  queued(): number {
    return 0
  }

  park(): boolean {
    return false
  }
}

function bytesOf(payload: string | Uint8Array): Uint8Array {
  return typeof payload === 'string' ? Buffer.from(payload) : payload
}

function gone(): EbbError {
  return new EbbError('ERR_STREAM_DESTROYED', 'another process has the WebSocket connection, and cannot be reached')
}

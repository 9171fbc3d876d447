/** The sender of a WebSocket whose connection is parked. */
import type { SendCallback } from '../handlers.js'
import type { Sender } from './internals.js'
import { kGroup, kRow, kSender, type ParkedWebSocket } from './parked-class.js'

/** Stands for the sender of a parked connection. engine.io sends frames that it has made before. */
export class ParkedSender implements Sender {
  _bufferedBytes = 0
  readonly _queue: unknown[] = []
  readonly _firstFragment = true
  readonly _state = 0
  readonly #webSocket: ParkedWebSocket

  constructor(webSocket: ParkedWebSocket) {
    this.#webSocket = webSocket
  }

  sendFrame(list: (Uint8Array | string)[], callback?: SendCallback): void {
    if (this.#isReplaced()) {
      this.#awake().sendFrame(list, callback)
      return
    }
    const bytes = Buffer.concat(list.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
    this.#webSocket[kGroup]?.write(this.#webSocket, bytes, callback)
  }

  #isReplaced(): boolean {
    return this.#webSocket[kSender] !== null || this.#webSocket[kRow] === -1
  }

  /** Returns the sender of `ws`, after waking the connection. */
  #awake(): Sender {
    this.#webSocket[kGroup]?.reach(this.#webSocket)
    return this.#webSocket[kSender] as Sender
  }

  send(...args: unknown[]): void {
    this.#awake().send(...args)
  }

  ping(...args: unknown[]): void {
    this.#awake().ping(...args)
  }

  pong(...args: unknown[]): void {
    this.#awake().pong(...args)
  }

  close(...args: unknown[]): void {
    this.#awake().close(...args)
  }
}

/** Bare TCP: the payload is sent as it is, and may be awaited back. */
import { addressOf, grown, resized } from 'ebb/sys'
import type { Message } from './message.js'
import type { Protocol, Wire } from './protocol.js'

/** Sends the payload, and compares what comes back. */
export class TcpProtocol implements Protocol {
  readonly awaitsAnswer: boolean
  readonly needsOrder = false
  readonly #wire: Wire
  readonly #message: Message | null
  readonly #fixedAt: number
  /** By line: bytes of the payload that came back. */
  #received = new Uint32Array(0)
  /** Payloads that are awaited back, if they differ. */
  readonly #awaited = new Map<number, Buffer>()

  constructor(wire: Wire, message: Message | null, expectEcho: boolean) {
    this.#wire = wire
    this.#message = message
    this.awaitsAnswer = expectEcho && message !== null
    this.#fixedAt = message?.fixed === undefined ? 0 : addressOf(message.fixed)
  }

  reserve(size: number): void {
    if (!this.awaitsAnswer || size <= this.#received.length) return
    this.#received = resized(this.#received, new Uint32Array(grown(this.#received.length, size)))
  }

  begin(line: number): void {
    this.#wire.opened(line)
  }

  speak(line: number): void {
    const message = this.#message as Message
    if (this.awaitsAnswer) this.#received[line] = 0
    if (message.fixed !== undefined) this.#wire.send(line, message.fixed, this.#fixedAt)
    else {
      const bytes = message.bytesFor(this.#wire.idOf(line), this.#wire.sentBy(line))
      if (this.awaitsAnswer) this.#awaited.set(line, bytes)
      this.#wire.send(line, bytes)
    }
  }

  receive(line: number, bytes: Buffer, length: number): void {
    if (!this.awaitsAnswer || !this.#wire.isAwaiting(line)) {
      this.#wire.traffic.received++
      return
    }
    const payload = this.#message?.fixed ?? (this.#awaited.get(line) as Buffer)
    const from = this.#received[line] as number
    const to = from + length
    this.#received[line] = to
    const same = to <= payload.length && bytes.compare(payload, from, to, 0, length) === 0
    if (!same) this.#wire.unanswered(line, 'MISMATCH')
    else if (to === payload.length) this.#wire.answered(line)
  }

  ended(): string {
    return 'FIN'
  }

  ping(): void {}

  lastWords(): undefined {}

  forget(line: number): void {
    if (this.#awaited.size > 0) this.#awaited.delete(line)
  }
}

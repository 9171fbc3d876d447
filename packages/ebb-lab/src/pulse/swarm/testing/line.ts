/** One participant's line to a bus. Tests can cut it, or make it lose messages. */
import type { Bus, OfferedAgent, Offering, OfferText } from '../bus.js'

/** Passes everything on to a bus, unless it is cut. */
export class Line implements Bus {
  readonly name: string
  readonly closed: Promise<Error | undefined>
  /** Whether all messages are lost. */
  cut = false
  /** Returns whether a message is lost. */
  loses: (message: Uint8Array) => boolean = () => false
  readonly #bus: Bus

  constructor(bus: Bus) {
    this.#bus = bus
    this.name = bus.name
    this.closed = bus.closed
  }

  get up(): boolean {
    return this.#bus.up
  }

  publish(subject: string, message: Uint8Array): void {
    if (!this.cut && !this.loses(message)) this.#bus.publish(subject, message)
  }

  subscribe(subject: string, receive: (message: Uint8Array) => void): () => void {
    return this.#bus.subscribe(subject, (message) => {
      if (!this.cut && !this.loses(message)) receive(message)
    })
  }

  offer(service: string, about: OfferText, agent: OfferedAgent): Promise<Offering> {
    const receive = (message: Uint8Array): void => {
      if (!this.cut && !this.loses(message)) agent.receive(message)
    }
    return this.#bus.offer(service, about, {
      ...agent,
      receive,
      subject: (id) => agent.subject(id),
      statistics: () => agent.statistics()
    })
  }

  async discover(service: string): Promise<unknown[]> {
    return this.cut ? [] : await this.#bus.discover(service)
  }

  watch(changed: (up: boolean) => void): () => void {
    return this.#bus.watch(changed)
  }

  close(): Promise<void> {
    return this.#bus.close()
  }
}

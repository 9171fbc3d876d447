/** A bus within this process. Messages are bytes that arrive in the next turn of the event loop, as over a network. */
import type { Bus, OfferedAgent, Offering, OfferText } from './bus.js'
import { newToken } from './messages.js'

/** Connects agents and coordinators of this process. */
export class LocalBus implements Bus {
  readonly name = 'this process'
  readonly up = true
  readonly closed: Promise<undefined>
  readonly #listeners = new Map<string, Set<(message: Uint8Array) => void>>()
  readonly #offers = new Map<string, Map<string, OfferText>>()
  #resolveClosed: (nothing: undefined) => void = () => {}

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
  }

  publish(subject: string, message: Uint8Array): void {
    setImmediate(() => {
      for (const receive of this.#listeners.get(subject) ?? []) receive(message)
    })
  }

  subscribe(subject: string, receive: (message: Uint8Array) => void): () => void {
    const listeners = this.#listeners.get(subject) ?? new Set()
    this.#listeners.set(subject, listeners.add(receive))
    return () => {
      listeners.delete(receive)
      if (listeners.size === 0 && this.#listeners.get(subject) === listeners) this.#listeners.delete(subject)
    }
  }

  async offer(service: string, about: OfferText, { subject, receive }: OfferedAgent): Promise<Offering> {
    const id = newToken()
    const unsubscribe = this.subscribe(subject(id), receive)
    const offers = this.#offers.get(service) ?? new Map<string, OfferText>()
    this.#offers.set(service, offers.set(id, about))
    let resolveEnded: (nothing: undefined) => void = () => {}
    return {
      id,
      ended: new Promise((resolve) => {
        resolveEnded = resolve
      }),
      withdraw: async () => {
        offers.delete(id)
        unsubscribe()
        resolveEnded(undefined)
      }
    }
  }

  async discover(service: string): Promise<unknown[]> {
    return [...(this.#offers.get(service) ?? [])].map(([id, about]) => ({ ...about, id }))
  }

  watch(): () => void {
    return () => {}
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    this.#offers.clear()
    this.#resolveClosed(undefined)
  }
}

/** What agents and a co-ordinator speak over: this process, or NATS. Messages may be lost on either. */
import type { Offer } from './messages.js'

/** Somebody that can be discovered. */
export interface Offering {
  readonly id: string
  /** Fails when it cannot be discovered, or reached, any more. */
  readonly ended: Promise<Error | undefined>
  withdraw(): Promise<void>
}

export interface Bus {
  /** Where it leads, for a person. */
  readonly name: string
  /** False while the server between is away. */
  readonly up: boolean
  /** Sends to whoever listens now. @throws Error for a message that is too large for the server between */
  publish(subject: string, message: Uint8Array): void
  /** Returns what ends it. */
  subscribe(subject: string, receive: (message: Uint8Array) => void): () => void
  /**
   * Makes an agent known as one of `service`, and has it receive what is sent to its subject.
   *
   * @param about what others are told, in words; `id` is added
   * @param statistics asked for now and then by people's tools
   */
  offer(service: string, about: OfferText, agent: OfferedAgent): Promise<Offering>
  /** Everybody that offers itself as one of `service` now; not yet checked. */
  discover(service: string): Promise<unknown[]>
  /** Told whenever `up` changes. Returns what ends it. */
  watch(changed: (up: boolean) => void): () => void
  /** Settles when it is closed: by `close()`, or with what the server had against us. */
  readonly closed: Promise<Error | undefined>
  /** What was published is sent, as far as the server is there. */
  close(): Promise<void>
}

/** An {@link Offer} without its id, and more for people. All text: so does NATS's service protocol have it. */
export type OfferText = Record<Exclude<keyof Offer, 'id'>, string> & Record<string, string>

export interface OfferedAgent {
  /** The subject of its orders, by its id. */
  subject(id: string): string
  receive(message: Uint8Array): void
  statistics(): Record<string, number>
}

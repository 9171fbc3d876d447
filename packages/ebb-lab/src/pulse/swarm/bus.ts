/** The bus that agents and a coordinator talk over: this process, or NATS. Either may lose messages. */
import type { Offer } from './messages.js'

/** An agent's presence on the bus, from `offer()` to `withdraw()`. */
export interface Offering {
  /** Id of the agent, unique on the bus. */
  readonly id: string
  /** Resolves when the agent can no longer be discovered or reached, with the error that caused it. Never rejects. */
  readonly ended: Promise<Error | undefined>
  /** Removes the agent from the bus. */
  withdraw(): Promise<void>
}

/** Carries messages by subject, and lets coordinators discover agents. */
export interface Bus {
  /** Description for people, such as `NATS at 10.0.0.1:4222`. */
  readonly name: string
  /** Whether the server that carries the messages is reachable. */
  readonly up: boolean
  /**
   * Sends a message to everybody who is subscribed now.
   *
   * @throws {NatsError} if the message is larger than the server accepts
   */
  publish(subject: string, message: Uint8Array): void
  /** Calls `receive` for each message on a subject. Returns a function that ends the subscription. */
  subscribe(subject: string, receive: (message: Uint8Array) => void): () => void
  /**
   * Makes an agent known as a member of `service` and delivers the messages on its subject.
   *
   * @param about description of the agent for whoever discovers it; the bus adds the `id`
   * @throws {NatsError} if the server refuses it
   */
  offer(service: string, about: OfferText, agent: OfferedAgent): Promise<Offering>
  /**
   * Returns the descriptions of all agents of `service`. They are not validated.
   *
   * @throws {NatsError} if the server refuses it or cannot be used
   */
  discover(service: string): Promise<unknown[]>
  /** Calls `changed` whenever `up` changes. Returns a function that ends this. */
  watch(changed: (up: boolean) => void): () => void
  /** Resolves when the bus is closed: with undefined after `close()`, else with the error. Never rejects. */
  readonly closed: Promise<Error | undefined>
  /** Sends what was published, if the server is reachable, and closes the bus. */
  close(): Promise<void>
}

/**
 * Description of an agent: an {@link Offer} without its id, and more fields for people. All values are text, because
 * NATS's service protocol requires it.
 */
export type OfferText = Record<Exclude<keyof Offer, 'id'>, string> & Record<string, string>

/** What the bus needs of an agent. */
export interface OfferedAgent {
  /** Returns the subject on which the agent with this id receives orders. */
  subject(id: string): string
  /** Called for each message on that subject. */
  receive(message: Uint8Array): void
  /** Returns figures for monitoring tools, such as `nats micro stats`. */
  statistics(): Record<string, number>
}

/** The bus over NATS. Agents are discovered with NATS's service protocol, which tools such as `nats micro` use too. */
import { createRequire } from 'node:module'
import { setImmediate as turn } from 'node:timers/promises'
import { Svcm } from '@nats-io/services'
import { errors, type NatsConnection } from '@nats-io/transport-node'
import type { Bus, OfferedAgent, Offering, OfferText } from '../bus.js'
import { connectNats, toNatsError } from './connect.js'
import { NatsError, type NatsOptions } from './options.js'

/** Milliseconds without another answer after which a discovery ends. */
const DISCOVERY_STALL = 250
/** Maximum duration of a discovery, ms. */
const MAX_DISCOVERY = 3000

/** Milliseconds to wait until published messages are sent, when the bus is closed. */
const FLUSH_TIMEOUT = 500

const { version } = createRequire(import.meta.url)('ebb-lab/package.json') as { version: string }

/** Connects agents and coordinators over NATS. */
export class NatsBus implements Bus {
  readonly name: string
  readonly closed: Promise<Error | undefined>
  readonly #server: string
  readonly #connection: NatsConnection
  readonly #services: Svcm
  readonly #watchers = new Set<(up: boolean) => void>()
  #up = true
  /** Maximum size of a message in bytes (`max_payload` of the server). */
  #maxPayload: number
  /** Error with which the server has refused a subject. */
  #refused: Error | undefined

  private constructor(connection: NatsConnection) {
    this.#connection = connection
    this.#server = connection.getServer()
    this.name = `NATS at ${this.#server}`
    this.#maxPayload = connection.info?.max_payload ?? Number.POSITIVE_INFINITY
    // A cast, because the service library depends on another version of NATS's core than the client. Both versions have
    // the methods that it calls.
    this.#services = new Svcm(connection as unknown as ConstructorParameters<typeof Svcm>[0])
    this.closed = this.#awaitClose()
    void this.#followStatus()
  }

  /**
   * Connects to NATS.
   *
   * @throws {NatsError} if the options are not valid, or the server cannot be reached or refuses the user
   */
  static async connect(options: NatsOptions): Promise<NatsBus> {
    return new NatsBus(await connectNats(options))
  }

  get up(): boolean {
    return this.#up
  }

  publish(subject: string, message: Uint8Array): void {
    // The server would close the connection.
    if (message.length > this.#maxPayload) {
      throw new NatsError(
        `a message of ${message.length} bytes is larger than ${this.name} accepts: ` +
          `raise its max_payload of ${this.#maxPayload}`
      )
    }
    try {
      this.#connection.publish(subject, message)
    } catch (error) {
      // Messages that are published after the end are dropped.
      const closed = error instanceof errors.ClosedConnectionError || error instanceof errors.DrainingConnectionError
      if (!closed) throw error
    }
  }

  subscribe(subject: string, receive: (message: Uint8Array) => void): () => void {
    const subscription = this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (error) this.#refuse(error)
        else receive(message.data)
      }
    })
    return () => {
      if (!this.#connection.isClosed()) subscription.unsubscribe()
    }
  }

  async offer(service: string, about: OfferText, agent: OfferedAgent): Promise<Offering> {
    const offered = await this.#services.add({
      name: service,
      version,
      description: 'makes pulses of connections',
      metadata: about,
      statsHandler: async () => agent.statistics()
    })
    const { id } = offered.info()
    offered.addEndpoint('orders', {
      subject: agent.subject(id),
      handler: (error, message) => {
        if (error) this.#refuse(error)
        else agent.receive(message.data)
      }
    })
    // When the server has answered the flush, it has also reported a subject that it refuses. If the connection is
    // closed meanwhile, the client never settles the flush.
    const closed = await Promise.race([this.#connection.flush().catch(() => {}), this.closed])
    await turn()
    if (this.#refused !== undefined) throw toNatsError(this.#refused, this.#server)
    if (closed instanceof Error) throw closed
    return {
      id,
      ended: offered.stopped.then((error) => error ?? undefined),
      withdraw: async () => {
        await Promise.race([offered.stop(), this.closed, delay(FLUSH_TIMEOUT)])
      }
    }
  }

  async discover(service: string): Promise<unknown[]> {
    const found: unknown[] = []
    try {
      const client = this.#services.client({ strategy: 'stall', maxWait: MAX_DISCOVERY, stall: DISCOVERY_STALL })
      for await (const { id, metadata } of await client.info(service)) found.push({ ...metadata, id })
    } catch (error) {
      if (this.#refused !== undefined) throw toNatsError(this.#refused, this.#server)
      if (!isNoResponders(error)) throw toNatsError(error, this.#server)
    }
    return found
  }

  watch(changed: (up: boolean) => void): () => void {
    this.#watchers.add(changed)
    return () => this.#watchers.delete(changed)
  }

  async close(): Promise<void> {
    if (this.#up) await Promise.race([this.#connection.flush().catch(() => {}), this.closed, delay(FLUSH_TIMEOUT)])
    await this.#connection.close()
  }

  async #awaitClose(): Promise<Error | undefined> {
    const error = await this.#connection.closed()
    this.#up = false
    const reason = this.#refused ?? (error instanceof Error ? error : undefined)
    return reason === undefined ? undefined : toNatsError(reason, this.#server)
  }

  /** Closes the bus after the server has refused a subject, because no message on the subject would ever arrive. */
  #refuse(error: Error): void {
    this.#refused ??= error
    void this.#connection.close()
  }

  async #followStatus(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === 'disconnect') this.#setUp(false)
      if (status.type === 'reconnect') {
        this.#maxPayload = this.#connection.info?.max_payload ?? this.#maxPayload
        this.#setUp(true)
      }
      if (status.type === 'error' && status.error instanceof errors.PermissionViolationError) this.#refuse(status.error)
    }
  }

  #setUp(up: boolean): void {
    if (up === this.#up) return
    this.#up = up
    for (const changed of this.#watchers) changed(up)
  }
}

/** Returns whether a request failed because nobody is subscribed to its subject: the swarm has no agents. */
function isNoResponders(error: unknown): boolean {
  return error instanceof errors.NoRespondersError || (error instanceof errors.RequestError && error.isNoResponders())
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

/** The bus over NATS. Agents are discovered by its service protocol, which its tools (`nats micro`) speak too. */
import { createRequire } from 'node:module'
import { setImmediate as turn } from 'node:timers/promises'
import { Svcm } from '@nats-io/services'
import { errors, type NatsConnection } from '@nats-io/transport-node'
import type { Bus, OfferedAgent, Offering, OfferText } from '../bus.js'
import { connectNats, explained } from './connect.js'
import { NatsError, type NatsOptions } from './options.js'

/** Answers to a discovery come within this time of the one before, ms; all of them within the other. */
const STALL = 250
const MOST_WAIT = 3000

/** For what was published to leave when the bus is closed, ms. */
const FLUSH = 500

const { version } = createRequire(import.meta.url)('ebb-lab/package.json') as { version: string }

export class NatsBus implements Bus {
  readonly name: string
  readonly closed: Promise<Error | undefined>
  readonly #where: string
  readonly #connection: NatsConnection
  readonly #services: Svcm
  readonly #watchers = new Set<(up: boolean) => void>()
  #up = true
  #largest: number
  #refused: Error | undefined

  private constructor(connection: NatsConnection) {
    this.#connection = connection
    this.#where = connection.getServer()
    this.name = `NATS at ${this.#where}`
    this.#largest = connection.info?.max_payload ?? Number.POSITIVE_INFINITY
    // It comes with a core of its own, whose types are not the connection's; what it calls is the same in both.
    this.#services = new Svcm(connection as unknown as ConstructorParameters<typeof Svcm>[0])
    this.closed = this.#close()
    void this.#follow()
  }

  /** @throws {NatsError} a sentence on what is wrong */
  static async connect(options: NatsOptions): Promise<NatsBus> {
    return new NatsBus(await connectNats(options))
  }

  get up(): boolean {
    return this.#up
  }

  publish(subject: string, message: Uint8Array): void {
    // Above it the server would hang up.
    if (message.length > this.#largest) {
      throw new NatsError(
        `a message of ${message.length} bytes is more than ${this.name} takes (max_payload ${this.#largest})`
      )
    }
    try {
      this.#connection.publish(subject, message)
    } catch (error) {
      // Nobody hears what is said after the end.
      if (!(error instanceof errors.ClosedConnectionError) && !(error instanceof errors.DrainingConnectionError))
        throw error
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
    // What it must not, the server has said when it answers. A connection that is closed meanwhile, for instance because it has
    // said so, has no answer any more: the client leaves who waits for one alone.
    const closed = await Promise.race([this.#connection.flush().catch(() => {}), this.closed])
    await turn()
    if (this.#refused !== undefined) throw explained(this.#refused, this.#where)
    if (closed instanceof Error) throw closed
    return {
      id,
      ended: offered.stopped.then((error) => error ?? undefined),
      withdraw: async () => {
        await Promise.race([offered.stop(), this.closed, later(FLUSH)])
      }
    }
  }

  async discover(service: string): Promise<unknown[]> {
    const found: unknown[] = []
    try {
      const client = this.#services.client({ strategy: 'stall', maxWait: MOST_WAIT, stall: STALL })
      for await (const { id, metadata } of await client.info(service)) found.push({ ...metadata, id })
    } catch (error) {
      if (this.#refused !== undefined) throw explained(this.#refused, this.#where)
      // Nobody there. The service library brings its own classes of errors.
      if (!/no.?responders/i.test(`${(error as Error).name} ${(error as Error).message}`))
        throw explained(error, this.#where)
    }
    return found
  }

  watch(changed: (up: boolean) => void): () => void {
    this.#watchers.add(changed)
    return () => this.#watchers.delete(changed)
  }

  async close(): Promise<void> {
    if (this.#up) await Promise.race([this.#connection.flush().catch(() => {}), this.closed, later(FLUSH)])
    await this.#connection.close()
  }

  async #close(): Promise<Error | undefined> {
    const error = await this.#connection.closed()
    this.#up = false
    const reason = this.#refused ?? (error instanceof Error ? error : undefined)
    return reason === undefined ? undefined : explained(reason, this.#where)
  }

  /** Ends it: without the subject there would be silence. */
  #refuse(error: Error): void {
    this.#refused ??= error
    void this.#connection.close()
  }

  async #follow(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === 'disconnect') this.#set(false)
      if (status.type === 'reconnect') {
        this.#largest = this.#connection.info?.max_payload ?? this.#largest
        this.#set(true)
      }
      if (status.type === 'error' && status.error instanceof errors.PermissionViolationError) this.#refuse(status.error)
    }
  }

  #set(up: boolean): void {
    if (up === this.#up) return
    this.#up = up
    for (const changed of this.#watchers) changed(up)
  }
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

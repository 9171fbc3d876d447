/** Offers what `ebb run` holds at the handover socket, in place of a process that has ended. */
import type { LinkHandler } from '../handover/link.js'
import { Link } from '../handover/link.js'
import { ChannelListener } from '../handover/listener.js'
import {
  decode,
  decodeAddressed,
  decodeHello,
  encodeAbort,
  encodeAddressed,
  encodeJson,
  HELLO,
  type Hello,
  indexOfServer,
  ORDER,
  READY,
  WELCOME
} from '../handover/protocol.js'
import { type Channel, listenForChannels } from '../sys/channel.js'
import { EbbError } from '../sys/errors.js'
import type { Archived } from './archive.js'
import { give } from './giving.js'

/** What becomes of an offer. */
export interface OfferEvents {
  /** A process has taken over. */
  taken(count: number): void
  /** A process has not taken over. It, or another one, may try again. */
  failed(error: Error): void
}

/** Waits at the handover socket of a process that is about to start. */
export class Offer {
  readonly #events: OfferEvents
  readonly #listener: ChannelListener
  readonly #links = new Set<Link>()
  #archived: Archived | undefined

  /**
   * @param path of the handover socket
   * @param archived which the offer owns from now on
   * @throws {SystemError} of the socket
   */
  constructor(path: string, archived: Archived, events: OfferEvents) {
    this.#events = events
    this.#archived = archived
    this.#listener = new ChannelListener(
      listenForChannels(path),
      (channel) => this.#meet(channel),
      (error) => events.failed(error)
    )
  }

  /** Number of connections that nobody has taken. */
  get size(): number {
    return this.#archived?.holding.size ?? 0
  }

  /** Ends the offer. @returns what nobody has taken; the caller owns it */
  end(): Archived | undefined {
    const archived = this.#archived
    this.#archived = undefined
    this.#listener.close()
    for (const link of this.#links) link.close()
    this.#links.clear()
    return archived
  }

  #meet(channel: Channel): void {
    let hello: Hello | undefined
    const handler: LinkHandler = {
      onMessage: ({ kind, payload }) => {
        const archived = this.#archived
        if (archived === undefined) throw outOfTurn(kind)
        if (kind === HELLO && hello === undefined) {
          hello = decodeHello(payload)
          link.send(encodeJson(WELCOME, archived.holding.origin))
        } else if (kind === READY && hello !== undefined) this.#give(link, hello, archived)
        else throw outOfTurn(kind)
      },
      onEnd: () => this.#drop(link),
      onFailure: (error) => {
        link.channel.trySend(encodeAbort(error.message))
        this.#drop(link)
        this.#events.failed(error)
      }
    }
    const link = new Link(channel, handler)
    this.#links.add(link)
  }

  #drop(link: Link): void {
    this.#links.delete(link)
    link.close()
  }

  #give(link: Link, hello: Hello, { holding, orders }: Archived): void {
    this.#links.delete(link)
    try {
      const count = give(link, hello, holding, this.#listener.fd, (send) => {
        for (const order of ordersFor(hello, holding.origin.servers, orders)) send(order)
      })
      // The process listens at the path from now on.
      this.end()
      holding.close()
      this.#events.taken(count)
    } catch (error) {
      this.#events.failed(error as Error)
    }
  }
}

/** Returns orders as a process knows them: with its numbers of servers. */
function ordersFor(hello: Hello, servers: Hello['servers'], orders: readonly Buffer[]): Buffer[] {
  return orders.flatMap((bytes) => {
    const order = decodeAddressed(decode(bytes).payload, servers.length)
    const server = indexOfServer(hello.servers, servers[order.server] as Hello['servers'][number])
    return server === -1 ? [] : [encodeAddressed(ORDER, { ...order, server })]
  })
}

function outOfTurn(kind: number): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', `message ${kind} is out of turn`)
}

/**
 * The time before a handover, in the process that has the connections: it sends duplicates of the parked ones to the
 * successor while it goes on serving them, a few in each turn. What is left for the handover itself is what has changed
 * since, so that both processes are blocked for a short time only.
 *
 * All connections are this process's. The successor reads nothing from those that it has. A DROP is in its queue before
 * this process reads from one of them, wakes it or closes it, so the successor can go on with the others if this
 * process dies.
 */
import type { Channel } from '../sys/channel.js'
import { MOST_DESCRIPTORS } from '../sys/channel.js'
import { E } from '../sys/constants.js'
import { EbbError, type SystemError, systemError } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { Copies, type CopiesHost } from './copies.js'
import { wasDone } from './done.js'
import { asFailure } from './failure.js'
import { addKeeper, removeKeeper } from './keepers.js'
import type { Link, LinkHandler } from './link.js'
import { ABORT, decodeAbort, type Message } from './protocol.js'
import type { Transfer } from './transfer.js'
import { RowSender } from './wire.js'

/** Rows are sent for this long (ms) before the event loop goes on. */
const TURN = 3
/** Milliseconds until the next look whether the successor has read. */
const PAUSE = 1
/** How long (ms) this process waits at most for room for a DROP. */
const PATIENCE = 50
/** Connections that may be left for the handover itself: about 5 ms. */
const FEW = 256
/** Size (bytes) of all attachments up to which {@link FEW} may be left: about 5 ms. With more, none is. */
const LIGHT = 4_000_000
/** Attachments that are sent in one go end with the one that makes them as large as this (bytes). */
const MOST_AT_ONCE = 1_000_000
/** Rows that are sent at most for each connection: with much traffic, some change as fast as they are sent. */
const MOST_TIMES = 3

/** What {@link Advance} reports. */
export interface AdvanceEvents {
  /** The rest can be sent at once. */
  ready(channel: Channel): void
  /** The successor has nothing, and knows it. */
  failed(error: Error): void
}

/** Sends connections ahead. */
export class Advance implements LinkHandler, CopiesHost {
  readonly #link: Link
  readonly #transfer: Transfer
  readonly #timeout: number
  readonly #events: AdvanceEvents
  readonly #sender: RowSender
  /** By pair. */
  readonly #copies: Copies[]
  /** When the successor last had room. */
  #progress = performance.now()
  /** Rows that may still be sent. */
  #budget = 0
  #isOver = false

  /** @param timeout how long (ms) the successor may take to read */
  constructor(link: Link, transfer: Transfer, timeout: number, events: AdvanceEvents) {
    this.#link = link
    this.#transfer = transfer
    this.#timeout = timeout
    this.#events = events
    this.#sender = new RowSender(link.channel, transfer.hello.format)
    this.#copies = transfer.pairs.map(({ server, index }) => new Copies(this, server, index, true))
    link.handler = this
  }

  /** Sends the listening sockets, and begins with the connections. */
  start(handoverSocket: number): void {
    try {
      const rows = this.#transfer.begin(this.#link.channel, handoverSocket, performance.now() + this.#timeout)
      for (const [at, { server }] of this.#transfer.pairs.entries()) {
        const copies = this.#copies[at] as Copies
        addKeeper(server, copies)
        // The last one is sent first.
        for (const row of (rows[at] ?? []).toReversed()) if (server.canKeep(row)) copies.parked(row)
        this.#budget += MOST_TIMES * copies.pending
      }
    } catch (error) {
      this.fail(error as Error)
      return
    }
    this.#send()
  }

  readonly #send = (): void => {
    if (this.#isOver) return
    const { channel } = this.#link
    const start = performance.now()
    try {
      while (this.#isWorthwhile && performance.now() - start < TURN && channel.isWritable) {
        this.#progress = performance.now()
        this.#sendSome()
      }
      if (this.#isOver) return
      if (performance.now() - this.#progress > this.#timeout) throw systemError('sendmsg', E.ETIMEDOUT)
    } catch (error) {
      this.fail(error as Error)
      return
    }
    if (this.#isWorthwhile) this.#continue(channel)
    else {
      this.#isOver = true
      this.#events.ready(this.#link.detach())
    }
  }

  get #isWorthwhile(): boolean {
    if (this.#budget <= 0) return false
    const attachments = this.#transfer.pairs.reduce((sum, { server }) => sum + server.attachmentBytes, 0)
    return this.#copies.reduce((sum, { pending }) => sum + pending, 0) > (attachments > LIGHT ? 0 : FEW)
  }

  /** Sends as many connections as a message holds, or fewer with large attachments. */
  #sendSome(): void {
    const sender = this.#sender
    sender.begin(performance.now() + this.#timeout)
    let attached = 0
    for (const copies of this.#copies) {
      while (sender.count < MOST_DESCRIPTORS && attached < MOST_AT_ONCE) {
        const connection = copies.next()
        // A DROP that found no room has ended it.
        if (this.#isOver) return
        if (connection === undefined) break
        sender.add(copies.index, connection)
        attached += connection.attachment?.length ?? 0
      }
    }
    sender.finish()
    this.#budget -= sender.count
  }

  #continue(channel: Channel): void {
    if (channel.isWritable) outside(() => setImmediate(this.#send))
    else outside(() => setTimeout(this.#send, PAUSE)).unref()
  }

  /**
   * Ends it, in the turn of the handover.
   *
   * @param rows all connections that can move, by pair
   * @returns those that the successor does not have
   */
  settle(rows: readonly (readonly number[])[]): number[][] {
    return this.#copies.map((copies, at) => copies.settle(rows[at] ?? []))
  }

  /** Tells the servers that nobody has duplicates of their connections. */
  stop(): void {
    for (const [at, { server }] of this.#transfer.pairs.entries()) removeKeeper(server, this.#copies[at] as Copies)
  }

  /** Takes back what was sent. */
  fail(error: Error): void {
    if (this.#isOver) return
    this.#isOver = true
    this.stop()
    // Its end would mean that this process has died: so it stays open until the successor knows.
    const failure = asFailure(error as SystemError, this.#timeout)
    wasDone(this.#link.detach(), -1, failure)
    this.#events.failed(failure)
  }

  // Called by the copies.

  schedule(): void {
    // What is parked meanwhile is sent in a later turn.
  }

  drop(message: Buffer): void {
    const { channel } = this.#link
    try {
      channel.send(message, [], performance.now() + PATIENCE)
    } catch (error) {
      if (this.#isOver) throw error
      this.fail(error as Error)
    }
  }

  unlisten(): void {
    // The handover finds out.
  }

  // Called by the link.

  onMessage({ kind, payload }: Message): void {
    if (kind === ABORT) throw new EbbError('ERR_EBB_HANDOVER', `the successor refused: ${decodeAbort(payload).reason}`)
    throw new EbbError('ERR_EBB_HANDOVER', `the successor answered with message ${kind}`)
  }

  onEnd(): void {
    this.fail(new EbbError('ERR_EBB_HANDOVER', 'the successor has ended before it took over'))
  }

  onFailure(error: Error): void {
    this.fail(error)
  }
}

/**
 * Keeping, in the process that has the connections: it gives a keeper (`run/keeper.ts`) duplicates of its parked
 * connections, with what another process needs to go on with them. If this process is killed, the next one takes over
 * from the keeper.
 *
 * What the keeper has must be untouched. So a DROP is in the keeper's queue before anything is read from a connection,
 * also when this process is killed right after it. If the queue has no room, this process removes the keeper's socket
 * file and goes on without it. A keeper whose file is gone forgets all that it has.
 */
import fs from 'node:fs'
import { FORMAT } from '../socket/attachments.js'
import { type Channel, connectChannel, isTemporary, MOST_BYTES, MOST_DESCRIPTORS } from '../sys/channel.js'
import { E } from '../sys/constants.js'
import { EbbError, errorName, warn } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { reactor } from '../sys/reactor.js'
import { Copies, type CopiesHost } from './copies.js'
import { addKeeper, removeKeeper } from './keepers.js'
import { Link, type LinkHandler } from './link.js'
import { introduction, type Movable } from './movable.js'
import {
  ACK,
  ATTACH,
  BYE,
  chunksOf,
  decodeNumbers,
  encode,
  encodeJson,
  encodeNumbers,
  LISTENING,
  type Message,
  OWN,
  UNLISTEN
} from './protocol.js'
import { type Row, RowWriter } from './rows.js'
import { step } from './steps.js'
import { monotonic, toRow } from './wire.js'

/** Milliseconds for which a parked connection waits to be kept: connections that wake again soon cost nothing. */
const DELAY = 10
/** Messages with connections that the keeper may not have read. The rest of its queue is for DROP. */
const MOST_UNREAD = 4
/** How long (ms) this process waits for room for a DROP before it goes on without a keeper. */
const PATIENCE = 50
/** How long (ms) the keeper may take to read a message with connections. */
const STALL = 5000
/** Milliseconds until the next attempt to find a keeper: the first one, and the longest. */
const RETRY = 1000
const LONGEST_RETRY = 30_000
/** Bytes of a message with connections. */
const CAPACITY = 16_384
/** Attachments up to this size (bytes) are sent with their row. It leaves room for several in a message. */
const INLINE = CAPACITY / 4
/** More bytes than any row takes. */
const LARGEST_ROW = INLINE + 128

/** Keeps the connections of the servers of this process. */
export class Keeping implements LinkHandler, CopiesHost {
  /** Path of the keeper's socket. */
  readonly path: string
  readonly #servers: readonly Movable[]
  readonly #kept: Copies[]
  readonly #writer = new RowWriter(CAPACITY)
  readonly #descriptors: number[] = []
  readonly #large: Row[] = []
  #link: Link | undefined
  #unread = 0
  #sent = 0
  #isOwner = false
  #isStopped = false
  #timer: NodeJS.Timeout | undefined
  #retryTimer: NodeJS.Timeout | undefined
  /** Runs while the keeper has messages that it has not read. */
  #stallTimer: NodeJS.Timeout | undefined
  #retry = RETRY

  constructor(path: string, servers: readonly Movable[]) {
    this.path = path
    this.#servers = servers
    this.#kept = servers.map((server, index) => new Copies(this, server, index))
    for (const [index, server] of servers.entries()) addKeeper(server, this.#kept[index] as Copies)
    this.#attach()
  }

  /**
   * The connections are this process's now.
   *
   * @param from where they came from: the keeper has all connections that it gave, and may have those of a process
   *   before this one until they are sent to it anew; of any other process, it forgets all
   */
  own(from: 'keeper' | 'process' | 'nobody'): void {
    this.#isOwner = true
    if (from !== 'nobody') for (const kept of this.#kept) kept.takeAsSent(from === 'keeper')
    this.#send(encodeNumbers(OWN, [from === 'nobody' ? 0 : 1]))
    step('keep:own')
  }

  /** Gives the keeper the listening sockets. */
  listening(): void {
    for (const [index, server] of this.#servers.entries()) {
      const socket = server.listening()
      if (socket === undefined || this.#link === undefined) continue
      const { fd, ...told } = socket
      this.#send(encodeJson(LISTENING, { server: index, ...told, mostUses: server.mostUses }), [fd])
    }
  }

  /** Ends: the connections are another process's, or closed. */
  stop(): void {
    if (this.#isStopped) return
    this.#isStopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#stallTimer)
    for (const [index, server] of this.#servers.entries()) removeKeeper(server, this.#kept[index] as Copies)
    this.#link?.close()
    this.#link = undefined
  }

  /** Tells the keeper that all connections are closed, and ends. */
  bye(): void {
    this.#send(encode(BYE))
    this.stop()
  }

  // Called by servers.

  /** Sends what is pending in a while. */
  schedule(): void {
    if (this.#timer !== undefined || this.#link === undefined) return
    this.#timer = outside(() => setTimeout(this.#onTimer, DELAY))
    this.#timer.unref()
  }

  drop(message: Buffer): void {
    this.#send(message)
  }

  unlisten(index: number): void {
    this.#send(encodeNumbers(UNLISTEN, [index]))
  }

  #attach(): void {
    let channel: Channel
    try {
      channel = connectChannel(this.path)
    } catch (error) {
      this.#lose((error as Error).message)
      return
    }
    // From now on, closing a descriptor of this process alone ends nothing.
    reactor().hasDuplicates = true
    this.#unread = 0
    this.#sent = 0
    this.#link = new Link(channel, this)
    this.#send(encodeJson(ATTACH, { ...introduction(this.#servers), format: FORMAT, free: 0 }))
    if (!this.#isOwner) return
    for (const [index, server] of this.#servers.entries()) {
      for (const row of server.rows(undefined, Number.POSITIVE_INFINITY)) this.#kept[index]?.parked(row)
    }
    // Some were pending already.
    this.schedule()
    this.#send(encodeNumbers(OWN, [0]))
    this.listening()
  }

  /** Sends a message, for which there is room unless the keeper has stopped. */
  #send(message: Buffer, descriptors: readonly number[] = []): void {
    if (this.#link === undefined) return
    const { channel } = this.#link
    let errno = channel.trySend(message, descriptors)
    if (isTemporary(errno)) {
      try {
        channel.send(message, descriptors, performance.now() + PATIENCE)
        errno = 0
      } catch {
        errno = E.ETIMEDOUT
      }
    }
    this.#check(errno)
  }

  #check(errno: number): void {
    if (errno === 0 || this.#link === undefined) return
    const isDead = errno === E.EPIPE || errno === E.ECONNRESET
    // A dead keeper has nothing. Another one may have its place already.
    if (!isDead) fs.rmSync(this.path, { force: true })
    step('keep:lost')
    this.#lose(isDead ? 'it has ended' : `it does not read (${errorName(errno)})`)
  }

  /** Goes on without a keeper, and looks for one now and then. */
  #lose(reason: string): void {
    this.#link?.close()
    this.#link = undefined
    clearTimeout(this.#stallTimer)
    this.#stallTimer = undefined
    for (const kept of this.#kept) kept.clear()
    warnOnce(`connections are not kept: the keeper at ${this.path} cannot be used: ${reason}`)
    if (this.#isStopped) return
    this.#retryTimer = outside(() => setTimeout(() => this.#attach(), this.#retry))
    this.#retryTimer.unref()
    this.#retry = Math.min(LONGEST_RETRY, 2 * this.#retry)
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined
    this.#flushAll()
  }

  #flushAll(): void {
    for (const kept of this.#kept) this.#flush(kept)
  }

  /** Sends the pending connections of a server, as long as the keeper reads them. */
  #flush(kept: Copies): void {
    const now = monotonic()
    while (this.#link !== undefined && this.#unread < MOST_UNREAD) {
      const connection = kept.next()
      if (connection === undefined) break
      const row = toRow(kept.index, connection, now)
      const isLarge = row.size > INLINE
      if (isLarge) this.#large.push(row)
      this.#writer.add(isLarge ? { ...row, body: undefined } : row)
      this.#descriptors.push(connection.fd)
      const isFull = this.#writer.room < LARGEST_ROW || this.#descriptors.length === MOST_DESCRIPTORS
      if (isFull || isLarge) this.#sendRows()
    }
    this.#sendRows()
  }

  #sendRows(): void {
    if (this.#descriptors.length === 0) return
    this.#send(this.#writer.take(), this.#descriptors)
    this.#descriptors.length = 0
    this.#unread++
    this.#sent++
    if (this.#link !== undefined && this.#stallTimer === undefined) {
      this.#stallTimer = outside(() => setTimeout(() => this.#check(E.ETIMEDOUT), STALL))
      this.#stallTimer.unref()
    }
    step('keep:sent')
    for (const { server, id, body = '' } of this.#large.splice(0)) {
      for (const chunk of chunksOf(server, id, body, MOST_BYTES)) this.#send(chunk)
    }
  }

  onMessage({ kind, payload }: Message): void {
    if (kind !== ACK) throw new EbbError('ERR_EBB_HANDOVER', `the keeper sent message ${kind}`)
    const [read = 0] = decodeNumbers(payload, 1)
    this.#unread = Math.max(0, this.#sent - read)
    this.#retry = RETRY
    clearTimeout(this.#stallTimer)
    this.#stallTimer = undefined
    this.#flushAll()
  }

  onEnd(): void {
    this.#lose('it has ended')
  }

  onFailure(error: Error): void {
    fs.rmSync(this.path, { force: true })
    this.#lose(error.message)
  }
}

let warned = false

function warnOnce(text: string): void {
  if (!warned) warn('EBB_KEEPER_LOST', text)
  warned = true
}

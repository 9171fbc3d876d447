/** The time after a handover: connections that were not at rest follow when they are, or end here. */
import type { Channel } from '../sys/channel.js'
import { EbbError } from '../sys/errors.js'
import { batchAfter, outside, runBatch } from '../sys/node/callback-scope.js'
import { notify } from '../sys/notify.js'
import { receiveDone, wasDone } from './done.js'
import { Link, type LinkHandler } from './link.js'
import type { Patience } from './movable.js'
import { carryOut, Parts, PassedIds, Passing } from './passing.js'
import {
  ABORT,
  ACK,
  type Addressed,
  BYE,
  decodeAbort,
  decodeAddressed,
  decodeNumbers,
  encode,
  encodeNumbers,
  type Message,
  ORDER
} from './protocol.js'
import { step } from './steps.js'
import type { Transfer } from './transfer.js'

/** Interval (ms) at which connections are looked at: it grows while none comes to rest. */
const SHORTEST = 2
const LONGEST = 50
/** Part of the grace after which any silence counts as rest. */
const HURRY = 0.8

/** Sends what comes to rest, until nothing is left or the grace is over. */
export class Leaving implements LinkHandler {
  readonly #transfer: Transfer
  readonly #patience: Patience
  readonly #isArriving: () => boolean
  readonly #link: Link | undefined
  readonly #servers: (Transfer['pairs'][number]['server'] | undefined)[] = []
  readonly #passing: Passing | undefined
  readonly #start = performance.now()
  readonly #parts = new Parts()
  /** Number of orders of the successor that were carried out. */
  #orders = 0
  #interval = SHORTEST
  #timer: NodeJS.Timeout | undefined
  #unwatch: (() => void)[] = []
  #isOver = false

  /**
   * @param channel to the successor; undefined if it is closed
   * @param isArriving whether connections of an earlier process may still come
   */
  constructor(channel: Channel | undefined, transfer: Transfer, patience: Patience, isArriving: () => boolean) {
    this.#transfer = transfer
    this.#patience = patience
    this.#isArriving = isArriving
    this.#link = channel && new Link(channel, this)
    this.#passing = this.#link && new Passing(this.#link)
    for (const { index, server } of transfer.pairs) this.#servers[index] = server
  }

  start(): void {
    for (const [at, { index, server }] of this.#transfer.pairs.entries()) {
      if (this.#passing === undefined) continue
      const moved = this.#transfer.moved[at] as Set<number>
      server.setElsewhere('after', new PassedIds(this.#passing, index, moved, undefined))
    }
    this.#unwatch = this.#transfer.pairs.map(({ server }) => server.onRest(this.#lookSoon))
    // After the event `handedOver`, which is emitted in the next turn. The first look may already close a server.
    outside(() =>
      setImmediate(() => {
        for (const server of this.#transfer.others) server.shutDown(this.#patience.grace)
        this.#schedule()
      })
    )
    step('old:leaving')
  }

  #schedule(): void {
    this.#timer = outside(() => setTimeout(() => runBatch(this.#look), this.#interval))
  }

  /** A response is over: its client may send the next request at once. */
  readonly #lookSoon = (): void => {
    if (this.#timer === undefined || this.#isOver) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    outside(() => setImmediate(() => runBatch(this.#look)))
  }

  readonly #look = (): void => {
    this.#timer = undefined
    const part = (performance.now() - this.#start) / (HURRY * this.#patience.grace)
    if (this.#link?.isOpen && !this.#link.isFull && this.#moveRested(Math.max(0, 1 - part))) this.#interval = SHORTEST
    else this.#interval = Math.min(LONGEST, 1.5 * this.#interval)
    const isOver = performance.now() - this.#start >= this.#patience.grace
    const isEmpty = this.#transfer.pairs.every(({ server }) => server.size === 0) && !this.#isArriving()
    if (isOver || isEmpty) this.#finish()
    else this.#schedule()
  }

  #finish(): void {
    this.#isOver = true
    for (const unwatch of this.#unwatch) unwatch()
    // First: a supervisor that is also the successor may end this process as soon as it has read BYE.
    notify('STOPPING=1')
    this.#link?.send(encode(BYE))
    step('old:bye')
    const left = this.#patience.grace - (performance.now() - this.#start)
    const lingers = left > 0 && this.#transfer.pairs.some(({ server }) => server.lingers)
    if (!lingers) this.#link?.close()
    for (const { server } of this.#transfer.pairs) {
      if (!lingers || !server.lingers) server.setElsewhere('after', undefined)
      server.end(true)
    }
    if (lingers) batchAfter(left, () => this.#disconnect())
  }

  /** @returns whether connections were moved */
  #moveRested(part: number): boolean {
    const { channel } = this.#link as Link
    const deadline = performance.now() + this.#patience.timeout
    const orders: Addressed[] = []
    let isDone = false
    try {
      const count = this.#transfer.sendRested(channel, part, this.#orders, deadline)
      if (count === 0) return false
      // Orders that come before DONE are carried out when it is known who has their connections.
      receiveDone(channel, count, deadline, ({ kind, payload }) => {
        if (kind === ORDER) orders.push(decodeAddressed(payload, this.#servers.length))
        else if (kind === ACK) this.#onAck(payload)
        else return false
        return true
      })
      isDone = true
    } catch (error) {
      isDone = wasDone((this.#link as Link).detach(), this.#transfer.count, error as Error)
      if (isDone) channel.close()
    }
    if (isDone) this.#transfer.surrenderRows()
    else this.#transfer.keepRows()
    try {
      this.#carryOut(orders)
    } catch {
      this.onFailure()
    }
    return isDone
  }

  #onAck(payload: Buffer): void {
    const [count = 0] = decodeNumbers(payload, 1)
    if (this.#passing?.onCarriedOut(count) !== true) {
      throw new EbbError('ERR_EBB_HANDOVER', 'the successor has carried out orders that it was not given')
    }
  }

  /** Carries out orders, except for connections that the successor has by now: it knows them. */
  #carryOut(orders: readonly Addressed[]): void {
    const before = this.#orders
    for (const order of orders) {
      const whole = this.#parts.add(order)
      if (whole === undefined) continue
      const at = this.#transfer.pairs.findIndex(({ index }) => index === whole.server)
      if (this.#transfer.moved[at]?.has(whole.id) !== true) carryOut(this.#servers, whole, 'after')
      this.#orders += this.#parts.count
    }
    if (this.#orders > before) this.#link?.send(encodeNumbers(ACK, [this.#orders]))
  }

  onMessage({ kind, payload }: Message): void {
    if (kind === ORDER) this.#carryOut([decodeAddressed(payload, this.#servers.length)])
    else if (kind === ACK) this.#onAck(payload)
    else if (kind === ABORT) throw new EbbError('ERR_EBB_HANDOVER', decodeAbort(payload).reason)
    else throw new EbbError('ERR_EBB_HANDOVER', `the successor sent message ${kind} out of turn`)
  }

  onEnd(): void {
    this.#disconnect()
  }

  onFailure(): void {
    this.#disconnect()
  }

  /** The connections that are left end here. */
  #disconnect(): void {
    this.#link?.close()
    for (const { server } of this.#transfer.pairs) server.setElsewhere('after', undefined)
  }
}

/** Takes over from a process that is to end, so that its connections can be stored: `ebb run` as its successor. */
import { sayDone } from '../handover/done.js'
import { Link, type LinkHandler } from '../handover/link.js'
import {
  ABORT,
  ACK,
  ALL_SERVERS,
  AWAY,
  BYE,
  COMMIT,
  decodeAbort,
  decodeNumbers,
  decodeWelcome,
  encode,
  encodeAbort,
  encodeJson,
  encodeNumbers,
  HELLO,
  LISTENING,
  type Message,
  ORDER,
  READY,
  WELCOME
} from '../handover/protocol.js'
import { connectChannel } from '../sys/channel.js'
import { descriptorLimit, openDescriptors } from '../sys/descriptors.js'
import { EbbError } from '../sys/errors.js'
import type { Archived } from './archive.js'
import { Holding, refused } from './holding.js'

/** How long the process may take until it has handed over, ms. */
const PATIENCE = 2000
/** Descriptors that this process keeps for itself. */
const RESERVE = 64
/** Whether an attachment can be read is for the process that gets it to say. */
const ANY_FORMAT = 0xffff

/** Collects what a process gives. */
export class Collector implements LinkHandler {
  /** Resolves when the process has handed over what was at rest; rejects if it keeps its servers. */
  readonly taken: Promise<void>
  /** Resolves when no connection comes any more. */
  readonly rested: Promise<void>
  /** Resolves when the process has ended, or has failed: nothing comes any more. */
  readonly ended: Promise<void>
  /** Why connections that were not at rest did not follow. */
  failure: Error | undefined
  readonly #link: Link
  readonly #timer: NodeJS.Timeout
  #resolveTaken: () => void = () => {}
  #reject: (error: Error) => void = () => {}
  #resolveRested: () => void = () => {}
  #resolveEnded: () => void = () => {}
  /** What was taken; undefined until WELCOME has come. */
  #holding: Holding | undefined
  /** What has come since the last COMMIT. */
  #batch: Holding | undefined
  #away = 0
  #isTaken = false
  readonly #orders: Buffer[] = []

  /**
   * @param path of the handover socket of the process
   * @throws {SystemError} if no process listens there
   */
  constructor(path: string) {
    this.taken = new Promise((resolve, reject) => {
      this.#resolveTaken = resolve
      this.#reject = reject
    })
    this.rested = new Promise((resolve) => {
      this.#resolveRested = resolve
    })
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
    this.#link = new Link(connectChannel(path), this)
    this.#timer = setTimeout(() => this.onFailure(late()), PATIENCE)
    const free = Math.max(0, descriptorLimit() - Math.max(0, openDescriptors()) - RESERVE)
    const { pid, version: node } = process
    this.#link.send(encodeJson(HELLO, { pid, node, format: ANY_FORMAT, free, servers: ALL_SERVERS }))
  }

  /** Number of connections so far. */
  get size(): number {
    return this.#holding?.size ?? 0
  }

  /** Ends the collection. @returns what was taken, which the caller owns; undefined if nothing was */
  end(): Archived | undefined {
    this.#finish()
    const holding = this.#holding
    this.#holding = undefined
    if (!this.#isTaken) holding?.close()
    return this.#isTaken && holding !== undefined ? { holding, orders: this.#orders } : undefined
  }

  onMessage(message: Message, descriptors: number[]): void {
    const { kind, payload } = message
    // It goes on.
    if (!this.#isTaken) this.#timer.refresh()
    if (kind === ABORT) this.#onAbort(decodeAbort(payload).reason)
    else if (this.#holding === undefined || this.#batch === undefined) {
      if (kind !== WELCOME) throw refused(`message ${kind} is out of turn`)
      const origin = decodeWelcome(payload)
      this.#holding = new Holding(origin)
      this.#batch = new Holding(origin)
      this.#link.send(encode(READY))
    } else if (kind === LISTENING && !this.#isTaken) this.#holding.take(message, descriptors)
    else if (kind === AWAY) this.#away += decodeNumbers(payload, 2).length - 2
    else if (kind === COMMIT) this.#commit(this.#holding, this.#batch, decodeNumbers(payload, 4))
    else if (kind === ORDER && this.#isTaken) this.#order(message)
    else if (kind === BYE && this.#isTaken) this.#resolveRested()
    else if (this.#batch.take(message, descriptors) === -1) throw refused(`message ${kind} is out of turn`)
  }

  /** The process goes on, or keeps what it has sent since the last COMMIT. */
  #onAbort(reason: string): void {
    if (!this.#isTaken) throw new EbbError('ERR_EBB_HANDOVER', `the process keeps its servers: ${reason}`)
    this.#batch?.close()
  }

  #commit(holding: Holding, batch: Holding, [rows, sockets, away, , ...uses]: number[]): void {
    const isFirst = !this.#isTaken
    if (rows !== batch.size || !batch.isWhole) throw refused('not the connections that COMMIT tells')
    if (isFirst && (sockets !== holding.sockets || away !== this.#away)) throw refused('not what COMMIT tells')
    if (!sayDone(this.#link.channel, rows)) throw late()
    holding.inherit(batch)
    if (!isFirst) return
    holding.setUses(uses)
    this.#take()
  }

  /** What has come is this process's. */
  #take(): void {
    this.#isTaken = true
    clearTimeout(this.#timer)
    this.#resolveTaken()
  }

  /** Keeps an order for a connection that was taken: the next process carries it out. */
  #order({ payload }: Message): void {
    // A copy: the message is in the buffer of the channel.
    this.#orders.push(encode(ORDER, payload))
    this.#link.send(encodeNumbers(ACK, [this.#orders.length]))
  }

  onEnd(): void {
    const holding = this.#holding
    const batch = this.#batch
    if (holding === undefined || batch === undefined || holding.sockets === 0) {
      this.onFailure(new EbbError('ERR_EBB_HANDOVER', 'the process has ended before it handed over'))
      return
    }
    // It has died in the middle of a batch: what has come lives here.
    holding.inherit(batch)
    if (!this.#isTaken) {
      holding.addUnknownUses()
      this.#take()
    }
    this.#finish()
  }

  onFailure(error: Error): void {
    this.#link.channel.trySend(encodeAbort(error.message))
    this.failure = error
    this.#reject(error)
    this.#finish()
  }

  #finish(): void {
    clearTimeout(this.#timer)
    this.#link.close()
    this.#batch?.close()
    this.#batch = undefined
    this.#resolveRested()
    this.#resolveEnded()
  }
}

function late(): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', `the process has not handed over within ${PATIENCE} ms`)
}

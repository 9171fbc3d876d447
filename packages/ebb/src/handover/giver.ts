/**
 * The process that has the servers: it waits for a successor, and hands over to it.
 *
 * Most connections are sent ahead: see `advance.ts`. The transfer itself happens within one turn of the event loop, and
 * blocks this process for at most `timeout`. Until the successor says DONE, every connection is this process's. When it
 * has said so, every connection that was sent is the successor's. If this process loses patience, it says ABORT,
 * refuses further messages, and looks once more whether DONE had come by then: so both sides agree on who has the
 * connections, whatever dies and whenever.
 */
import type { HandedOver } from '../socket/moved.js'
import type { Channel } from '../sys/channel.js'
import { EbbError, type SystemError } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { HANDED_OVER, notify } from '../sys/notify.js'
import { reactor } from '../sys/reactor.js'
import { Advance } from './advance.js'
import { wasDone } from './done.js'
import { type HandoverMessage, handoverEnded, handoverFailed, handoverStarted } from './events.js'
import { asFailure } from './failure.js'
import { Leaving } from './leaving.js'
import { Link, type LinkHandler } from './link.js'
import { ChannelListener } from './listener.js'
import { introduction, type Movable, type Patience } from './movable.js'
import {
  ABORT,
  decodeAbort,
  decodeHello,
  encodeAbort,
  encodeJson,
  HELLO,
  type Hello,
  READY,
  WELCOME
} from './protocol.js'
import { step } from './steps.js'
import { Transfer } from './transfer.js'

/** Waits at the handover socket. */
export class Giver {
  readonly #servers: readonly Movable[]
  readonly #patience: Patience
  readonly #isArriving: () => boolean
  readonly #onHandedOver: () => void
  /** Closed once the handover socket is handed over. */
  readonly #listener: ChannelListener
  #successor: Link | undefined
  /** Process id of the successor, once it has said HELLO. */
  #pid: number | undefined
  /** What sends connections ahead to the successor. */
  #advancing: Advance | undefined

  /**
   * @param listening the handover socket, which the giver owns from now on
   * @param isArriving whether connections of an earlier process may still come
   * @param onHandedOver called when the connections are the successor's, before this process gives them up
   * @throws {SystemError} of `epoll_ctl`; then the socket is closed
   */
  constructor(
    servers: readonly Movable[],
    listening: number,
    patience: Patience,
    isArriving: () => boolean,
    onHandedOver: () => void
  ) {
    this.#onHandedOver = onHandedOver
    this.#servers = servers
    this.#patience = patience
    this.#isArriving = isArriving
    this.#listener = new ChannelListener(
      listening,
      (channel) => this.#meet(channel),
      (error) => this.#fail(error)
    )
  }

  /** Whether this process still waits for a successor. */
  get isOpen(): boolean {
    return this.#listener.isOpen
  }

  /** Stops waiting. A successor that is connected is told. */
  close(): void {
    const error = new EbbError('ERR_EBB_HANDOVER', 'the servers of this process are closed')
    if (this.#advancing !== undefined) this.#advancing.fail(error)
    else if (this.#successor !== undefined) this.#refuse(this.#successor, error)
    this.#listener.close()
  }

  /** Waits for HELLO and READY of a successor. */
  #meet(channel: Channel): void {
    if (this.#successor !== undefined) {
      channel.trySend(encodeAbort('another process is about to take over'))
      channel.close()
      return
    }
    let hello: Hello | undefined
    const handler: LinkHandler = {
      onMessage: (message) => {
        if (message.kind === HELLO && hello === undefined) {
          hello = decodeHello(message.payload)
          this.#checkReady()
          link.send(encodeJson(WELCOME, introduction(this.#servers)))
          timer.refresh()
          this.#pid = hello.pid
          handoverStarted(this.#message())
          step('old:welcome')
        } else if (message.kind === READY && hello !== undefined) {
          clearTimeout(timer)
          this.#advance(link, hello)
        } else if (message.kind === ABORT) throw new EbbError('ERR_EBB_HANDOVER', decodeAbort(message.payload).reason)
        else throw new EbbError('ERR_EBB_HANDOVER', `the successor sent message ${message.kind} out of turn`)
      },
      onEnd: () => {
        clearTimeout(timer)
        this.#drop(link)
        this.#fail(new EbbError('ERR_EBB_HANDOVER', 'the successor has ended before it took over'))
      },
      onFailure: (error) => {
        clearTimeout(timer)
        this.#refuse(link, error)
        this.#fail(error)
      }
    }
    const link = new Link(channel, handler)
    this.#successor = link
    const { timeout } = this.#patience
    const onTimeout = (): void => {
      // This process may be the one that was busy: what has come by now was in time.
      link.drain()
      if (this.#successor === link) handler.onFailure(tooSlow(timeout))
    }
    const timer = outside(() => setTimeout(onTimeout, timeout))
    timer.unref()
  }

  #checkReady(): void {
    const deaf = this.#servers.find((server) => server.listening() === undefined)
    if (deaf !== undefined) {
      throw new EbbError('ERR_EBB_HANDOVER', `server ${JSON.stringify(deaf.name)} does not listen by itself`)
    }
  }

  #refuse(link: Link, error: Error): void {
    link.channel.trySend(encodeAbort(error.message))
    this.#drop(link)
  }

  #drop(link: Link): void {
    if (this.#successor === link) this.#successor = undefined
    link.close()
  }

  #message(): HandoverMessage {
    return { side: 'old', servers: this.#servers.map(({ name }) => name), pid: this.#pid }
  }

  #fail(error: Error): void {
    handoverFailed({ ...this.#message(), error })
    this.#pid = undefined
    for (const server of this.#servers) server.emit('handoverFailed', error)
  }

  /** Sends connections ahead, and then hands over. */
  #advance(link: Link, hello: Hello): void {
    const { timeout } = this.#patience
    const transfer = new Transfer(this.#servers, hello)
    reactor().hasDuplicates = true
    const advance = new Advance(link, transfer, timeout, {
      ready: (channel) => this.#give(channel, transfer, advance),
      failed: (error) => this.#onRefused(error)
    })
    this.#advancing = advance
    advance.start(this.#listener.fd)
  }

  #onRefused(failure: Error): void {
    this.#successor = undefined
    this.#advancing = undefined
    this.#fail(failure)
  }

  /** Hands over. Blocks until the successor has taken over, or has failed to. */
  #give(channel: Channel, transfer: Transfer, advance: Advance): void {
    const start = performance.now()
    const { hello } = transfer
    let isLate = false
    try {
      transfer.park()
      transfer.send(channel, (rows) => advance.settle(rows), start + this.#patience.timeout)
    } catch (error) {
      const failure = asFailure(error as SystemError, this.#patience.timeout)
      isLate = wasDone(channel, transfer.count, failure)
      if (!isLate) {
        advance.stop()
        this.#onRefused(failure)
        return
      }
    }
    step('old:done')
    // A successor that dies before it is ready can then be told from one that had nothing.
    notify(`${HANDED_OVER}=1`)
    advance.stop()
    this.#successor = undefined
    this.#advancing = undefined
    this.#onHandedOver()
    this.#listener.close()
    const awake = transfer.surrender()
    step('old:surrendered')
    const ms = performance.now() - start
    const report: HandedOver = { pid: hello.pid, connections: transfer.count, awake, ms }
    handoverEnded({ ...this.#message(), connections: transfer.count, awake, ms })
    for (const server of this.#servers) server.emit('handedOver', report)
    if (isLate) channel.close()
    // Without the channel, connections that are still awake cannot follow.
    new Leaving(isLate ? undefined : channel, transfer, this.#patience, this.#isArriving).start()
  }
}

function tooSlow(timeout: number): Error {
  return new EbbError('ERR_EBB_HANDOVER', `the successor connected, and did not go on within ${timeout} ms (timeout)`)
}

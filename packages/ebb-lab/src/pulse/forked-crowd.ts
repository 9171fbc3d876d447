/** A crowd that several worker processes hold. */
import { type ChildProcess, fork } from 'node:child_process'
import { defined } from '../units/defined.js'
import { addCauses, type Causes, count, total } from './causes.js'
import type { ClientOptions } from './client-options.js'
import type { Arrivals, Crowd } from './crowd.js'
import { type EncodedLatencies, type EncodedLatency, Latencies } from './latencies.js'
import { toMonotonic } from './monotonic.js'
import { addOpened, emptyOpened, type Opened } from './opened.js'
import { addTraffic, emptyTraffic, type Traffic } from './traffic.js'

/** A message to a worker process. The worker answers each of them, except `abort`, with a {@link Reply}. */
export type Order =
  /** Creates the client. */
  | { order: 'start'; options: ClientOptions }
  /** Opens `n` connections. */
  | { order: 'connect'; n: number; arrivals: WorkerArrivals }
  /** Cancels the current `connect`. */
  | { order: 'abort' }
  /** Closes `max` connections. Default: all. */
  | { order: 'close'; max?: number }
  /** Asks for what the connections have sent and received. */
  | { order: 'traffic' }
  /** Asks for the connections that the server closed. */
  | { order: 'lost' }

/** {@link Arrivals} of one of several workers. */
export type WorkerArrivals = Omit<Arrivals, 'start'> & {
  /** Reading of the machine's monotonic clock at which the first connect is due, ms. */
  startsAt?: number
}

/** A message from a worker process. `progress` is sent regularly, and answers no order. */
export type Reply =
  | { reply: 'started' }
  | { reply: 'progress'; open: number; failed: number; latencies: EncodedLatencies | null }
  | { reply: 'connected'; opened: Opened; latencies: EncodedLatencies }
  | { reply: 'closed' }
  /** `answers`: latencies of answers since the last such reply or `connected`, or null if there was none. */
  | { reply: 'traffic'; traffic: Traffic; answers: EncodedLatency | null }
  | { reply: 'lost'; lost: Causes }

/** The parent's side of a worker process. */
class Worker {
  /** Number of open connections, as last reported. */
  open = 0
  /** Number of failed connects, as last reported. */
  failed = 0
  alive = true
  readonly #child: ChildProcess
  readonly #onLatencies: (latencies: EncodedLatencies) => void
  #waiting: { reply: Reply['reply']; resolve: (reply: Reply | undefined) => void } | undefined

  /** @param onLatencies called with latencies that the worker has recorded since the last time */
  constructor(onLatencies: (latencies: EncodedLatencies) => void) {
    this.#onLatencies = onLatencies
    // Flags of this process, such as an inspector port, are not for its workers.
    this.#child = fork(new URL('./worker.js', import.meta.url), { execArgv: [], serialization: 'advanced' })
    this.#child.on('message', (reply: Reply) => this.#receive(reply))
    this.#child.on('error', () => this.#onExit())
    this.#child.on('exit', () => this.#onExit())
  }

  /** Sends an order. Resolves with the reply, or with undefined if the worker has ended. */
  async ask<R extends Reply['reply']>(order: Order, reply: R): Promise<Extract<Reply, { reply: R }> | undefined> {
    if (!this.alive) return undefined
    return (await new Promise<Reply | undefined>((resolve) => {
      this.#waiting = { reply, resolve }
      this.send(order)
    })) as Extract<Reply, { reply: R }> | undefined
  }

  /** Sends an order without waiting for a reply. */
  send(order: Order): void {
    // An error means that the worker has just died. The `exit` event handles that.
    if (this.#child.connected) this.#child.send(order, () => {})
  }

  /** Ends the worker. Resolves when the process has ended. */
  async end(): Promise<void> {
    if (!this.alive) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    if (this.#child.connected) this.#child.disconnect()
    await ended
  }

  #receive(reply: Reply): void {
    if (reply.reply === 'progress') {
      this.open = reply.open
      this.failed = reply.failed
      if (reply.latencies !== null) this.#onLatencies(reply.latencies)
    } else if (reply.reply === this.#waiting?.reply) {
      const { resolve } = this.#waiting
      this.#waiting = undefined
      resolve(reply)
    }
  }

  #onExit(): void {
    this.alive = false
    this.#waiting?.resolve(undefined)
    this.#waiting = undefined
  }
}

/** Cause of the connections that a worker held, or was connecting, when it died. */
const WORKER_LOST = 'EWORKERLOST'

/** Shares its connections out over worker processes. */
export class ForkedCrowd implements Crowd {
  readonly latencies = new Latencies()
  /** Resolves when all workers have started. */
  readonly ready: Promise<void>
  readonly #workers: Worker[]
  /** By worker: number of connections it held at its last reply. They are lost if the worker dies. */
  readonly #held: number[]
  #lost: Causes = {}

  constructor(options: ClientOptions, processes: number) {
    this.#workers = Array.from({ length: processes }, () => new Worker((latencies) => this.latencies.merge(latencies)))
    this.#held = this.#workers.map(() => 0)
    this.ready = this.#start(options)
  }

  get open(): number {
    return this.#workers.reduce((sum, worker) => sum + (worker.alive ? worker.open : 0), 0)
  }

  get failed(): number {
    return this.#workers.reduce((sum, worker) => sum + worker.failed, 0)
  }

  async #start(options: ClientOptions): Promise<void> {
    const of = this.#workers.length
    const rate = options.rate / of
    await Promise.all(
      this.#workers.map((worker, index) =>
        worker.ask({ order: 'start', options: { ...options, rate, part: { index, of } } }, 'started')
      )
    )
  }

  async connect(n: number, signal?: AbortSignal, { rate, start, replace }: Arrivals = {}): Promise<Opened> {
    const sum = emptyOpened()
    const arrivals: WorkerArrivals = defined({
      rate: rate === undefined ? undefined : rate / this.#workers.length,
      startsAt: start === undefined ? undefined : toMonotonic(start),
      replace
    })
    const abort = (): void => {
      for (const worker of this.#workers) worker.send({ order: 'abort' })
    }
    signal?.addEventListener('abort', abort)
    const shares = splitEvenly(n, this.#workers.length)
    const parts = Promise.all(
      this.#workers.map(async (worker, i) => {
        const share = shares[i] as number
        const reply = await worker.ask({ order: 'connect', n: share, arrivals }, 'connected')
        if (reply === undefined) {
          count(sum.failed, WORKER_LOST, share)
          return
        }
        this.#held[i] = Math.max(0, (this.#held[i] as number) + reply.opened.connected - reply.opened.replaced)
        worker.open = this.#held[i] as number
        addOpened(sum, reply.opened)
        this.latencies.merge(reply.latencies)
      })
    )
    // A worker handles orders in sequence, so an abort that came before `connect` would have no effect.
    if (signal?.aborted) abort()
    await parts
    signal?.removeEventListener('abort', abort)
    return sum
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#workers.map(async (worker, i) => {
        const closed = await worker.ask({ order: 'close' }, 'closed')
        if (closed === undefined) count(this.#lost, WORKER_LOST, this.#held[i])
        this.#held[i] = 0
        worker.open = 0
      })
    )
  }

  async shrink(n: number): Promise<void> {
    let left = n
    await Promise.all(
      this.#workers.map(async (worker, i) => {
        const max = Math.min(left, this.#held[i] as number)
        left -= max
        if (max === 0) return
        const closed = await worker.ask({ order: 'close', max }, 'closed')
        const rest = (this.#held[i] as number) - max
        if (closed === undefined) count(this.#lost, WORKER_LOST, rest)
        this.#held[i] = closed === undefined ? 0 : rest
      })
    )
  }

  async takeTraffic(): Promise<Traffic> {
    const sum = emptyTraffic()
    await Promise.all(
      this.#workers.map(async (worker) => {
        const reply = await worker.ask({ order: 'traffic' }, 'traffic')
        if (reply === undefined) return
        addTraffic(sum, reply.traffic)
        if (reply.answers !== null) this.latencies.answers.merge(reply.answers)
      })
    )
    return sum
  }

  async takeLost(): Promise<Causes> {
    const lost = this.#lost
    this.#lost = {}
    await Promise.all(
      this.#workers.map(async (worker, i) => {
        const reply = await worker.ask({ order: 'lost' }, 'lost')
        if (reply === undefined) return
        addCauses(lost, reply.lost)
        this.#held[i] = (this.#held[i] as number) - total(reply.lost)
      })
    )
    return lost
  }

  takeAllLost(): Promise<Causes> {
    for (const [i, worker] of this.#workers.entries()) {
      if (worker.alive) continue
      count(this.#lost, WORKER_LOST, this.#held[i])
      this.#held[i] = 0
    }
    return this.takeLost()
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.end()))
  }
}

/**
 * Splits `n` into `parts` whole numbers that differ by at most 1, the larger ones first. So the numbers of connections,
 * which the workers take in turn, have no gaps.
 */
function splitEvenly(n: number, parts: number): number[] {
  return Array.from({ length: parts }, (_, i) => Math.floor((n + parts - 1 - i) / parts))
}

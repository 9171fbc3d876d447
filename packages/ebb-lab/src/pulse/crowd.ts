/** A crowd of connections, held by this process or by several: what a pulse opens and closes. */
import { type ChildProcess, fork } from 'node:child_process'
import { descriptorLimit } from 'ebb/sys'
import {
  addCauses,
  addOpened,
  type Causes,
  Client,
  type ClientOptions,
  count,
  emptyOpened,
  type Opened,
  total
} from './client.js'
import { LatencyHistogram } from './histogram.js'

export interface Crowd {
  readonly latency: LatencyHistogram
  /** Connections that are open now, and connects that have failed in this `connect()`; of other processes: as last told. */
  readonly open: number
  readonly failed: number
  /** Given when nobody is left to hold it. */
  readonly gone?: AbortSignal
  connect(n: number, signal?: AbortSignal): Promise<Opened>
  close(): Promise<void>
  /** Connections that the server closed first, by cause, since the last call. */
  takeLost(): Promise<Causes>
  /** Ends what the crowd needs besides its connections, processes among it. */
  dispose(): Promise<void>
}

/** A crowd that this machine holds. */
export interface OwnCrowd extends Crowd {
  /** Closes `n` of its connections. */
  shrink(n: number): Promise<void>
  /** As `takeLost()`, which tells what a process held that has died only once all are closed; this at once. */
  takeAllLost(): Promise<Causes>
}

/** Descriptors that a process needs for itself. */
const RESERVED = 64

/** Each is a Node process of some 40 MB. */
export const MOST_PROCESSES = 256

/** How many connections so many processes can hold under the descriptor limit. */
export function roomOf(processes: number): number {
  return processes * Math.max(1, descriptorLimit() - RESERVED)
}

/** How many processes it takes to hold `n` connections under the descriptor limit. */
export function processesFor(n: number): number {
  return Math.max(1, Math.ceil(n / roomOf(1)))
}

/** A crowd in `processes` processes: 1 is this one, unless it is to be held `apart` from it. */
export async function crowdOf(options: ClientOptions, processes: number, apart = false): Promise<OwnCrowd> {
  if (processes === 1 && !apart) return new LocalCrowd(options)
  const crowd = new ForkedCrowd(options, processes)
  await crowd.ready
  return crowd
}

class LocalCrowd implements OwnCrowd {
  readonly #client: Client

  constructor(options: ClientOptions) {
    this.#client = new Client(options)
  }

  get latency(): LatencyHistogram {
    return this.#client.latency
  }

  get open(): number {
    return this.#client.open
  }

  get failed(): number {
    return this.#client.failed
  }

  connect(n: number, signal?: AbortSignal): Promise<Opened> {
    return this.#client.connect(n, signal)
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  shrink(n: number): Promise<void> {
    return this.#client.close(n)
  }

  async takeLost(): Promise<Causes> {
    return this.#client.takeLost()
  }

  takeAllLost(): Promise<Causes> {
    return this.takeLost()
  }

  async dispose(): Promise<void> {
    this.#client.dispose()
  }
}

/** From the crowd to a worker. Each is answered by a {@link Reply}. */
export type Order =
  | { order: 'start'; options: ClientOptions }
  | { order: 'connect'; n: number }
  | { order: 'abort' }
  | { order: 'close'; most?: number }
  | { order: 'lost' }

/** From a worker. `progress` comes by itself. */
export type Reply =
  | { reply: 'started' }
  | { reply: 'progress'; open: number; failed: number }
  | { reply: 'connected'; opened: Opened; latency: string }
  | { reply: 'closed' }
  | { reply: 'lost'; lost: Causes }

class Worker {
  open = 0
  failed = 0
  alive = true
  readonly #child: ChildProcess
  #waiting: { reply: Reply['reply']; resolve: (reply: Reply | undefined) => void } | undefined

  constructor() {
    // Flags of this process (an inspector's port, coverage) are not for its workers.
    this.#child = fork(new URL('./worker.js', import.meta.url), { execArgv: [], serialization: 'advanced' })
    this.#child.on('message', (reply: Reply) => this.#receive(reply))
    this.#child.on('error', () => this.#end())
    this.#child.on('exit', () => this.#end())
  }

  /** Sends an order; resolves with the reply, or undefined when the worker is gone. */
  async ask<R extends Reply['reply']>(order: Order, reply: R): Promise<Extract<Reply, { reply: R }> | undefined> {
    if (!this.alive) return undefined
    return (await new Promise<Reply | undefined>((resolve) => {
      this.#waiting = { reply, resolve }
      this.tell(order)
    })) as Extract<Reply, { reply: R }> | undefined
  }

  tell(order: Order): void {
    // A worker that has just died: its exit is what counts.
    if (this.#child.connected) this.#child.send(order, () => {})
  }

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
    } else if (reply.reply === this.#waiting?.reply) {
      const { resolve } = this.#waiting
      this.#waiting = undefined
      resolve(reply)
    }
  }

  #end(): void {
    this.alive = false
    this.#waiting?.resolve(undefined)
    this.#waiting = undefined
  }
}

/** Cause of what a worker held, or was to connect, when it died. */
const WORKER_LOST = 'EWORKERLOST'

class ForkedCrowd implements OwnCrowd {
  readonly latency = new LatencyHistogram()
  readonly ready: Promise<void>
  readonly #workers: Worker[]
  /** What each worker held when it last told: lost with it when it dies. */
  readonly #held: number[]
  #lost: Causes = {}

  constructor(options: ClientOptions, processes: number) {
    this.#workers = Array.from({ length: processes }, () => new Worker())
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

  async connect(n: number, signal?: AbortSignal): Promise<Opened> {
    const sum = emptyOpened()
    const abort = (): void => {
      for (const worker of this.#workers) worker.tell({ order: 'abort' })
    }
    signal?.addEventListener('abort', abort)
    const shares = share(n, this.#workers.length)
    const parts = Promise.all(
      this.#workers.map(async (worker, i) => {
        const part = shares[i] as number
        const reply = await worker.ask({ order: 'connect', n: part }, 'connected')
        if (reply === undefined) {
          count(sum.failed, WORKER_LOST, part)
          return
        }
        this.#held[i] = (this.#held[i] as number) + reply.opened.connected
        addOpened(sum, reply.opened)
        this.latency.merge(reply.latency)
      })
    )
    // Orders are done in their order: one that was given before the connects would be of no use.
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
      })
    )
  }

  async shrink(n: number): Promise<void> {
    let left = n
    await Promise.all(
      this.#workers.map(async (worker, i) => {
        const most = Math.min(left, this.#held[i] as number)
        left -= most
        if (most === 0) return
        const closed = await worker.ask({ order: 'close', most }, 'closed')
        const rest = (this.#held[i] as number) - most
        if (closed === undefined) count(this.#lost, WORKER_LOST, rest)
        this.#held[i] = closed === undefined ? 0 : rest
      })
    )
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

/** `n` in `parts` whole numbers that differ by 1 at most. */
function share(n: number, parts: number): number[] {
  return Array.from({ length: parts }, (_, i) => Math.floor(((i + 1) * n) / parts) - Math.floor((i * n) / parts))
}

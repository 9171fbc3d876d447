/** A place among several servers: the process that serves there, and the next when it has ended. */
import { type ChildProcess, fork } from 'node:child_process'
import type { ServerEvents, ServerOptions } from './server.js'
import type { Count } from './totals.js'

/** To a server that is ready: listen. `settle`: and give back what starting left behind. */
export type Order = ServerOptions & { settle: boolean }

export type Released = Parameters<ServerEvents['released']>[0]

/** From a server, in this order; the last three again and again. */
export type Report =
  | { report: 'ready' }
  | { report: 'failed'; code: string | undefined; message: string }
  | { report: 'listening' }
  | { report: 'count'; count: Count }
  | { report: 'released'; released: Released }
  | { report: 'warned'; code: string; message: string }

/** How a server ended. */
export interface End {
  /** 0: it could not be started. */
  pid: number
  exitCode: number | null
  signal: NodeJS.Signals | null
  /** What kept it from listening, or from being started. */
  failure: Error | undefined
}

/** Whom a place tells. */
export interface PlaceEvents {
  reported(place: Place, report: Report): void
  /** The place is empty now; {@link Place.startLater} is the other's to call. */
  ended(place: Place, end: End): void
}

/** From a server's end to the start of the next, ms: twice as long each time, up to the longest. */
const FIRST_WAIT = 100
const LONGEST_WAIT = 30_000
/** A server that has listened for as long as this, ms, was sound: the wait for the next is the first again. */
const SOUND = 10_000

export class Place {
  /** It waits for its order. */
  ready = false
  /** When it began to listen, by `performance.now()`. */
  listeningSince: number | undefined

  readonly #events: PlaceEvents
  #child: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #wait = FIRST_WAIT
  #failure: Error | undefined
  #endedBy: NodeJS.Signals | null = null

  constructor(events: PlaceEvents) {
    this.#events = events
  }

  /** The process that serves here; 0: none. */
  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Somebody serves here, or will. */
  get taken(): boolean {
    return this.#child !== undefined || this.#timer !== undefined
  }

  start(): void {
    this.#timer = undefined
    this.#failure = undefined
    let child: ChildProcess
    try {
      // A debugger's port is this process's alone.
      const execArgv = process.execArgv.filter((flag) => !flag.startsWith('--inspect'))
      child = fork(new URL('./serve-child.js', import.meta.url), { execArgv })
    } catch (error) {
      // As it comes in all other cases.
      setImmediate(() => this.#unstarted(error as Error))
      return
    }
    this.#child = child
    child.on('message', (report: Report) => this.#reported(report))
    child.on('error', (error) => {
      if (child.pid === undefined) this.#unstarted(error)
    })
    child.on('exit', (exitCode, signal) => this.#ended({ pid: child.pid as number, exitCode, signal }))
  }

  /** Starts the next after the wait that is due, which it returns, ms. */
  startLater(): number {
    const wait = this.#wait
    this.#wait = Math.min(2 * wait, LONGEST_WAIT)
    this.#timer = setTimeout(() => this.start(), wait)
    return wait
  }

  /** Has the server listen, once. */
  listen(order: Order): void {
    if (!this.ready) return
    this.ready = false
    // One that has just died: its exit is what counts.
    this.#child?.send(order, () => {})
  }

  /** Sends a signal. Where the last server ended of the same, or `forGood`, no other is started. */
  pass(signal: NodeJS.Signals, forGood: boolean): void {
    // Until its error is told, a process that could not be started has the number 0: `kill()` would end all of this process's own group.
    if (this.pid !== 0) this.#child?.kill(signal)
    if (this.#timer === undefined || !(forGood || this.#endedBy === signal)) return
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #reported(report: Report): void {
    if (report.report === 'ready') this.ready = true
    if (report.report === 'listening') this.listeningSince = performance.now()
    if (report.report === 'failed') {
      const { code, message } = report
      this.#failure = Object.assign(new Error(message), code !== undefined && { code })
    }
    this.#events.reported(this, report)
  }

  #unstarted(cause: Error): void {
    this.#failure = new Error(`a server process cannot be started: ${cause.message}`, { cause })
    this.#ended({ pid: 0, exitCode: null, signal: null })
  }

  #ended(end: Omit<End, 'failure'>): void {
    if (this.listeningSince !== undefined && performance.now() - this.listeningSince > SOUND) this.#wait = FIRST_WAIT
    this.#child = undefined
    this.#endedBy = end.signal
    this.ready = false
    this.listeningSince = undefined
    this.#events.ended(this, { ...end, failure: this.#failure })
  }
}

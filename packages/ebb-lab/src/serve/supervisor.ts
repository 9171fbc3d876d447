/**
 * Several servers on one port, each a process: started, started again when they end, and told of as one.
 *
 * The kernel shares out connections among them (`SO_REUSEPORT`). This process keeps the port and serves nobody, so nothing that
 * happens to a server costs the connections of another.
 */
import { release } from 'ebb/memory'
import { codeOf } from '../units/errors.js'
import { addressOf } from './address.js'
import { SERVE_DEFAULTS, type Served, type ServeOptions } from './options.js'
import { type HeldPort, holdPort } from './shared-port.js'
import { Tally } from './totals.js'
import { type End, Place, type Released, type Report } from './worker-slot.js'

export interface SuperviseOptions extends ServeOptions {
  /** How many servers. */
  procs: number
}

/** A server that has not ended this long after SIGTERM or SIGINT, ms, is killed. */
const GRACE = 5000
/** Servers that give back within this time, ms, saw the same crowd go: one line for all. */
const TOGETHER = 250

/** Signals that end all servers, for good. */
const ENDING = new Set<NodeJS.Signals>(['SIGTERM', 'SIGINT'])

/** Starts, watches and ends servers. */
export class Supervisor implements Served {
  /** An address; a name until {@link start} has looked it up. */
  host: string
  /** What the kernel chose, once {@link start} is done. */
  port: number
  /**
   * Settles when no server is left and none will be started: with the signal that ended the last of them, where it was passed on
   * and they did not answer it, or null. Rejects with what kept the last from listening.
   */
  readonly ended: Promise<NodeJS.Signals | null>

  #resolve: (signal: NodeJS.Signals | null) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  readonly #options: Required<SuperviseOptions>
  readonly #tally: Tally<Place>
  readonly #places: readonly Place[]
  readonly #passed = new Set<NodeJS.Signals>()
  #state: 'starting' | 'serving' | 'ending' | 'ended' = 'starting'
  #held: HeldPort | undefined
  #failure: Error | undefined
  #allListen = () => {}
  #releases = 0
  #released: Released | undefined
  #releaseTimer: NodeJS.Timeout | undefined

  constructor(options: SuperviseOptions) {
    this.#options = { ...SERVE_DEFAULTS, ...options }
    this.host = this.#options.host
    this.port = this.#options.port
    this.#tally = new Tally(this.#options.every)
    const events = {
      reported: (place: Place, report: Report) => this.#reported(place, report),
      ended: (place: Place, end: End) => this.#ended(place, end)
    }
    this.#places = Array.from({ length: this.#options.procs }, () => new Place(events))
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Told to whoever waits for it.
    this.ended.catch(() => {})
  }

  /** Clients of all servers, as they last told. */
  get clients(): number {
    return this.#tally.clients
  }

  /**
   * Settles when all servers listen, or were ended before they did.
   *
   * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, ...; the error of `dns.lookup` for a name that is not known; what a server
   * ended of before it listened
   */
  async start(): Promise<void> {
    const { mode, procs, onEvent } = this.#options
    this.host = await addressOf(this.host)
    if (this.#isOver()) return
    this.#held = holdPort(this.host, this.port)
    this.port = this.#held.port
    const allListen = new Promise<void>((resolve) => {
      this.#allListen = resolve
    })
    for (const place of this.#places) place.start()
    await Promise.race([allListen, this.ended])
    // As small as those whom it supervises.
    if (!this.#isOver()) await release()
    if (this.#isOver()) return
    this.#state = 'serving'
    onEvent({ event: 'listening', mode, host: this.host, port: this.port, pid: process.pid, procs })
    this.#tell()
  }

  /**
   * Passes a signal on to every server. SIGTERM and SIGINT end them: one that has not ended 5 s later, or at the second such signal,
   * is killed. A server that ends of another signal which was passed on is not started again.
   */
  pass(signal: NodeJS.Signals): void {
    if (this.#state === 'ended') return
    this.#passed.add(signal)
    if (!ENDING.has(signal)) {
      for (const place of this.#places) place.pass(signal, false)
    } else if (this.#state === 'ending') {
      this.#endAll('SIGKILL')
    } else {
      setTimeout(() => this.#endAll('SIGKILL'), GRACE).unref()
      this.#endAll(signal)
    }
    this.#endIfEmpty(signal)
  }

  /** Ends all servers. */
  async close(): Promise<void> {
    if (!this.#isOver()) this.pass('SIGTERM')
    await this.ended
  }

  #endAll(signal: NodeJS.Signals): void {
    this.#state = 'ending'
    for (const place of this.#places) place.pass(signal, true)
  }

  /** A method, because the state changes in calls that the compiler does not follow. */
  #isOver(): boolean {
    return this.#state === 'ending' || this.#state === 'ended'
  }

  #reported(place: Place, report: Report): void {
    const { onEvent } = this.#options
    switch (report.report) {
      case 'ready':
        if (this.#state === 'serving') this.#listen(place)
        // The first ones all at once: who finds one that listens finds them all.
        else if (this.#places.every(({ ready, listeningSince }) => ready || listeningSince !== undefined)) {
          for (const each of this.#places) this.#listen(each)
        }
        break
      case 'listening':
        if (this.#state === 'serving') onEvent({ event: 'started', pid: place.pid })
        else if (this.#places.every(({ listeningSince }) => listeningSince !== undefined)) this.#allListen()
        break
      case 'count':
        if (this.#tally.count(place, report.count)) this.#tell()
        break
      case 'released':
        this.#sumUp(report.released)
        break
      case 'warned':
        onEvent({ event: 'warning', code: report.code, text: `server ${place.pid}: ${report.message}` })
    }
  }

  #listen(place: Place): void {
    const { mode, backlog } = this.#options
    // What is compared with node:net is node:net as it is.
    place.listen({ mode, host: this.host, port: this.port, backlog, reusePort: true, settle: mode === 'park' })
  }

  #ended(place: Place, end: End): void {
    const { pid, exitCode, signal, failure } = end
    const clients = this.#tally.clientsOf(place)
    const news = this.#tally.end(place)
    const passedOn = signal !== null && this.#passed.has(signal)
    if (this.#state === 'starting' && !passedOn) {
      // Killed before it listened, it may well the next time; what ends by itself then will again.
      if (signal !== null) place.startLater()
      else this.#fail(failure ?? new Error(`a server ended before it listened (exit code ${exitCode})`))
    } else if (this.#state === 'serving' && !passedOn) {
      const { onEvent } = this.#options
      if (failure !== undefined && !this.#places.some(({ listeningSince }) => listeningSince !== undefined)) {
        this.#fail(failure)
      } else {
        if (failure !== undefined) onEvent({ event: 'warning', code: codeOf(failure), text: failure.message })
        onEvent({ event: 'ended', pid, exitCode, signal, clients, wait: place.startLater() })
      }
    }
    if (news) this.#tell()
    this.#endIfEmpty(signal)
  }

  /** Nobody is served, and nobody will be. */
  #fail(error: Error): void {
    this.#failure = error
    this.#endAll('SIGKILL')
  }

  #endIfEmpty(signal: NodeJS.Signals | null): void {
    if (this.#state === 'ended' || this.#places.some(({ taken }) => taken)) return
    this.#state = 'ended'
    this.#tellRelease()
    this.#held?.close()
    const passedOn = signal !== null && this.#passed.has(signal) && !ENDING.has(signal)
    if (this.#failure !== undefined) this.#reject(this.#failure)
    else this.#resolve(passedOn ? signal : null)
  }

  #tell(): void {
    this.#options.onEvent({ event: 'cycle', ...this.#tally.sum() })
  }

  /** Servers give back at the same time: what they held is added up, and the longest of their times is that of all. */
  #sumUp(released: Released): void {
    const sum = this.#released
    if (sum === undefined) {
      this.#released = { ...released }
      this.#releaseTimer = setTimeout(() => this.#tellRelease(), TOGETHER)
      return
    }
    sum.before += released.before
    sum.after += released.after
    sum.ms = Math.max(sum.ms, released.ms)
    sum.pauseMs = Math.max(sum.pauseMs, released.pauseMs)
  }

  #tellRelease(): void {
    clearTimeout(this.#releaseTimer)
    if (this.#released === undefined) return
    this.#options.onEvent({ event: 'release', release: ++this.#releases, ...this.#released })
    this.#released = undefined
  }
}

/** When a parked server is registered at the reactor, and whether it keeps the process running. */
import { onTrim } from '../memory/trim.js'
import { type Reactor, reactor, type Watcher } from '../sys/reactor.js'
import { joinServed, leaveServed, type Served } from '../sys/served.js'

/**
 * A server's registration at the reactor. It lasts while the server listens or has connections that are parked or
 * upgraded. After that nothing refers to the server, so that it can be garbage collected.
 */
export class Registration {
  readonly #watcher: Watcher & Served
  readonly #onTrim: () => void
  #reactor: Reactor | undefined
  #owner = -1
  /** Whether the server listens. */
  #open = false
  #parked = 0
  /** Parked connections that keep the process running. */
  #referenced = 0
  #upgraded = 0
  /** Whether the listening socket keeps the process running. */
  #keepsRunning = false
  #stopTrimming: (() => void) | undefined

  /** @param trim called before each release of memory while the server is registered */
  constructor(watcher: Watcher & Served, trim: () => void) {
    this.#watcher = watcher
    this.#onTrim = trim
  }

  /** The reactor. Must be used only while the server is registered. */
  get reactor(): Reactor {
    return this.#reactor as Reactor
  }

  /** The server's owner number at the reactor. */
  get owner(): number {
    return this.#owner
  }

  /** Whether the server listens. */
  get open(): boolean {
    return this.#open
  }

  /** Number of parked connections. */
  get parked(): number {
    return this.#parked
  }

  /** Number of parked connections that keep the process running. */
  get referenced(): number {
    return this.#referenced
  }

  /** Number of upgraded connections, parked and awake. */
  get upgraded(): number {
    return this.#upgraded
  }

  /** Registers the server, which is about to listen or to have an upgraded connection. */
  join(): Reactor {
    if (this.#reactor === undefined) {
      this.#reactor = reactor()
      this.#owner = this.#reactor.register(this.#watcher)
      this.#stopTrimming = onTrim(this.#onTrim)
      joinServed(this.#watcher)
    }
    return this.#reactor
  }

  /** Called when the server listens. */
  onListening(): void {
    this.#open = true
  }

  /** Called when the server has stopped listening. */
  onStopped(): void {
    this.#open = false
    this.keepRunning(false)
    this.leaveIfEmpty()
  }

  /** Sets whether the listening socket keeps the process running. */
  keepRunning(on: boolean): void {
    if (on === this.#keepsRunning) return
    this.#keepsRunning = on
    if (on) this.#reactor?.ref()
    else this.#reactor?.unref()
  }

  /** Counts one parked connection more or less. @param keepsRunning whether it keeps the process running */
  countParked(by: 1 | -1, keepsRunning: boolean): void {
    this.#parked += by
    if (keepsRunning) this.countReferenced(by)
  }

  /** Counts one parked connection more or less that keeps the process running, as its socket would. */
  countReferenced(by: 1 | -1): void {
    const before = this.#referenced
    this.#referenced += by
    if (before === 0) this.#reactor?.ref()
    else if (this.#referenced === 0) this.#reactor?.unref()
  }

  /** Counts one upgraded connection more or less. They are parked again although their server does not listen. */
  countUpgraded(by: 1 | -1): void {
    this.#upgraded += by
  }

  /** Leaves the reactor if the server is closed and has no connections that need it. */
  leaveIfEmpty(): void {
    if (this.#open || this.#parked > 0 || this.#upgraded > 0 || this.#reactor === undefined) return
    this.#reactor.unregister(this.#owner)
    this.#reactor = undefined
    this.#stopTrimming?.()
    leaveServed(this.#watcher)
  }
}

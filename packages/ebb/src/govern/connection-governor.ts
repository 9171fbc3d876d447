/**
 * When to give back: after a crowd has gone.
 *
 * A server tells its governor of each client that joins and leaves, which costs a comparison. When the crowd has fallen below
 * half of its highest, the governor waits until the fall is over (or 0.8 s at most), and gives back: within a second of
 * the fall, at most once a second, and no more often than keeps the pauses under a hundredth of the time.
 */
import { getHeapStatistics } from 'node:v8'
import type { Release } from '../memory/release.js'
import { ownAnonymous } from '../proc/process.js'
import { invalidArgument } from '../sys/errors.js'
import { price } from './cost-model.js'

/** All optional. */
export interface GovernorOptions {
  /** The share of its time that the program may spend in give-backs, from 0 to 1. Default: 0.01. */
  budget?: number
  /** A crowd that never was as large as this is not worth an act. Default: 100 clients. */
  least?: number
  /** Less than this over what the last act left is not worth an act (bytes). Default: 1,000,000. */
  worth?: number
  /** Told of each act. */
  onRelease?: (release: Release) => void
}

/** A fall that goes on is looked at again after this many ms. */
const LOOK = 100
/** A fall that does not end: act after this many ms all the same. */
const LONGEST_WAIT = 800
/**
 * A heap of no more than this (bytes) is collected at once, a larger one in steps: at once stops this one for 20 ms and not for 6, and returns
 * 1.5 MB more, a seventh of what a server of `listen()` alone holds.
 */
const SMALL_HEAP = 10_000_000

// Shared by all governors of the thread: they act on one process.
let clients = 0
/** The clients that were there at the last act: what they held may be garbage when they are gone. */
let floorClients = 0

export class Governor {
  readonly #budget: number
  readonly #least: number
  readonly #worth: number
  readonly #onRelease: ((release: Release) => void) | undefined
  #crowd = 0
  #high = 0
  #timer: NodeJS.Timeout | undefined
  #fallStart = 0
  #lastLook = 0

  constructor(options: GovernorOptions = {}) {
    const { budget = 0.01, least = 100, worth = 1_000_000, onRelease } = options
    if (!(budget > 0 && budget <= 1)) {
      throw invalidArgument(`budget must be a share of time over 0 and up to 1, not ${budget}`)
    }
    this.#budget = budget
    this.#least = least
    this.#worth = worth
    this.#onRelease = onRelease
  }

  /** A client has come. */
  joined(): void {
    clients++
    if (++this.#crowd > this.#high) this.#high = this.#crowd
  }

  /** A client has gone. */
  left(): void {
    clients--
    this.#crowd--
    if (this.#timer === undefined && this.#fallen()) this.#watch()
  }

  /** Forgets what was planned. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#high = 0
  }

  #fallen(): boolean {
    return this.#crowd < this.#high / 2 && this.#high >= this.#least
  }

  #watch(): void {
    this.#fallStart = performance.now()
    this.#lastLook = this.#crowd
    this.#lookAgain(LOOK)
  }

  #lookAgain(ms: number): void {
    this.#timer = setTimeout(this.#look, ms)
    this.#timer.unref()
  }

  readonly #look = (): void => {
    this.#timer = undefined
    // A new crowd has come meanwhile: it needs what the last one took.
    if (!this.#fallen()) return
    const now = performance.now()
    const falling = this.#crowd < this.#lastLook
    this.#lastLook = this.#crowd
    if (falling && now - this.#fallStart < LONGEST_WAIT) this.#lookAgain(LOOK)
    else if (now < price().earliestAfterSpike) this.#lookAgain(Math.min(price().earliestAfterSpike - now, LONGEST_WAIT))
    else if (!worthwhile(this.#worth)) this.#high = this.#crowd
    else void this.#act()
  }

  async #act(): Promise<void> {
    this.#high = this.#crowd
    floorClients = clients
    const inSteps = getHeapStatistics().used_heap_size > SMALL_HEAP
    const done = await price().act(this.#budget, this.#worth, { inSteps })
    if (done !== undefined) this.#onRelease?.(done)
  }
}

/** Whether there can be something to give back: the process holds more than after the last act, or far fewer clients hold it. */
function worthwhile(worth: number): boolean {
  const held = ownAnonymous()
  const { floor } = price()
  // Not known, or so much less that the floor is of another time.
  if (held === 0 || held < floor - worth) return true
  return clients < floorClients / 2 || held - floor >= worth
}

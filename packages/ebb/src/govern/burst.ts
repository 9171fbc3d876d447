/** Bursts of work that leaves garbage: many connections were opened, and all of them stay. */
import { outside } from '../sys/node/callback-scope.js'
import type { Governor } from './connection-governor.js'

/** A burst is over after this time (ms) without a connection. */
const QUIET = 500

/**
 * Has a governor release memory after a burst. To the governor, each connection of the burst is a client, and all of
 * them leave when the burst is over.
 */
export class Burst {
  readonly #governor: Governor | undefined
  #size = 0
  /** Size of the burst when the timer was set. */
  #sizeBefore = 0
  #timer: NodeJS.Timeout | undefined

  constructor(governor: Governor | undefined) {
    this.#governor = governor
  }

  /** Call this for each connection that was opened. */
  add(): void {
    if (this.#governor === undefined) return
    this.#governor.joined()
    this.#size++
    if (this.#timer === undefined) this.#wait()
  }

  #wait(): void {
    this.#sizeBefore = this.#size
    this.#timer = outside(() => setTimeout(this.#look, QUIET)).unref()
  }

  readonly #look = (): void => {
    this.#timer = undefined
    if (this.#size > this.#sizeBefore) {
      this.#wait()
      return
    }
    for (; this.#size > 0; this.#size--) this.#governor?.left()
  }
}

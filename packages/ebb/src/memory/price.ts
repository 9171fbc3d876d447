/**
 * What a give-back costs in this program, and whether one may be had now: a budget of time, patience after acts that brought
 * little, and a guess of the pause. One for the thread, whoever decides, so that two who see the same spike act once.
 */
import { getHeapStatistics } from 'node:v8'
import { onCollected, type Release, release, SETTLE } from './release.js'

/** No two acts within this many ms. */
const APART = 1000
/** Patience (ms) does not grow beyond this. */
const LONGEST_PATIENCE = 600_000
/** Memory has grown again: by this factor. */
const GROWN = 1.5
/** After an act that failed (ms). */
const FAILED = 60_000

/**
 * The guess, before anything is learned: V8 marks what lives, at 2 to 5 ms for each MB of small objects, and does so a few times
 * in one act; an empty heap takes 8 to 15 ms. (`LowMemoryNotification` with 10, 50, 200 and 1,000 MB of small objects on two shared
 * cores: 48, 200, 950 and 3,600 ms on Node 20, half of that on 26.)
 */
const EMPTY_MS = 10
const MS_PER_MB = 3
/** What was allocated since the last collection is mostly garbage: this share of it is taken to live. */
const SURVIVING = 0.25
/** How fast a guess that kept an act away is doubted: by this factor a minute. */
const DOUBT = 0.9
/** However often it is doubted, a gigabyte that lives is never taken for little. */
const LEAST_FACTOR = 0.5

export class Price {
  /** On the clock of `performance.now()`: no act before. */
  earliest = 0
  /** Anonymous memory after the last act; 0: none yet. */
  floor = 0
  /** How long an act that brought little keeps the next away (ms), for those who ask {@link isPatient}. */
  #patience = APART
  #patientUntil = 0
  /** How much longer an act took than guessed. */
  #factor = 1
  #doubted = 0
  /** Heap in use after the last act. */
  #floorHeap = getHeapStatistics().used_heap_size
  /** Heap in use after V8's last own collection, and the load at that time. */
  #heap = this.#floorHeap
  #load = 0
  #sentinel: WeakRef<object> | undefined

  /**
   * To be called now and then: notices that V8 has collected its old generation. Only such a collection clears a `WeakRef`, so this
   * costs nothing while there is none.
   *
   * @param load what the heap grows with (descriptors)
   */
  notice(load: number): void {
    if (this.#sentinel?.deref() !== undefined) return
    this.#sentinel = new WeakRef({})
    this.#heap = getHeapStatistics().used_heap_size
    this.#load = load
  }

  /** The pause (ms) that an act would cause now. */
  pause(load: number): number {
    this.notice(load)
    const used = getHeapStatistics().used_heap_size
    const grown = SURVIVING * Math.max(0, used - this.#floorHeap)
    // What lived when V8 last looked has gone with the crowd that it was for.
    const share = this.#load > 0 ? Math.min(1, load / this.#load) : 1
    const known = share * Math.max(0, this.#heap - this.#floorHeap)
    return this.#factor * guess(Math.min(used, this.#floorHeap + Math.max(grown, known)))
  }

  /** The last acts brought little: the next one waits, unless memory has grown by half since then. */
  isPatient(now: number, held: number): boolean {
    return now < this.#patientUntil && held < GROWN * this.floor
  }

  /** An act that would take too long was left undone. */
  tooLong(now: number): void {
    if (this.#doubted === 0) this.#doubted = now
    this.#factor = Math.max(LEAST_FACTOR, this.#factor * DOUBT ** ((now - this.#doubted) / 60_000))
    this.#doubted = now
  }

  /**
   * One act, and what it teaches.
   *
   * @param budget the share of time that acts may take
   * @param load as of {@link notice}
   * @param worth an act that brings less (bytes) doubles the patience
   * @returns undefined when it failed, which is said as a warning
   */
  async act(load: number, budget: number, worth: number, workers: boolean): Promise<Release | undefined> {
    // Until the price is known nobody else starts another.
    this.earliest = Number.POSITIVE_INFINITY
    const guessed = this.pause(load) / this.#factor
    let done: Release
    try {
      done = await release({ workers })
    } catch (error) {
      this.earliest = performance.now() + FAILED
      process.emitWarning(`giving memory back failed: ${(error as Error).message}`, { code: 'EBB_RELEASE_FAILED' })
      return undefined
    }
    const factor = done.pauseMs / guessed
    // Dearer than thought is believed at once, cheaper slowly.
    this.#factor = Math.max(factor, 0.7 * this.#factor + 0.3 * factor)
    this.#doubted = 0
    this.#patience = done.before - done.afterTrim < worth ? Math.min(2 * this.#patience, LONGEST_PATIENCE) : APART
    this.#patientUntil = performance.now() + this.#patience
    this.earliest = performance.now() + Math.max((done.ms - SETTLE) / budget, APART)
    return done
  }

  /** After every act, whoever asked for it. */
  collected({ afterTrim }: Release): void {
    this.floor = afterTrim
    this.#floorHeap = getHeapStatistics().used_heap_size
    this.#heap = this.#floorHeap
    this.#load = 0
    this.#sentinel = new WeakRef({})
  }
}

function guess(live: number): number {
  return EMPTY_MS + (MS_PER_MB * live) / 1e6
}

// Found by its symbol: a program may have two copies of this library, and has one heap.
const KEY = Symbol.for('ebb.price.1')
const shared = globalThis as { [KEY]?: Price }

export function price(): Price {
  if (shared[KEY] === undefined) {
    const made = new Price()
    shared[KEY] = made
    onCollected((done) => made.collected(done))
  }
  return shared[KEY]
}

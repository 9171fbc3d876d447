/**
 * A timer wheel: deadlines of many connections behind one timer.
 *
 * As the kernel's since Linux 4.8 (`kernel/time/timer.c`, "non-cascading"): levels of 64 slots, each level eight times as coarse
 * as the one below, a deadline in the lowest level that reaches so far. Nothing moves between levels: what is added is touched once
 * more, when it is due. The price is precision: a deadline is never early, and late by at most a seventh of its time or one
 * {@link TICK}, the larger. What waits has no object: three numbers in arrays indexed by it.
 */
import { grown, resized, shrunk } from '../sys/arrays.js'

/** Precision of the lowest level (ms). */
const TICK = 16
const LEVELS = 8
const SLOTS = 64
/** What is due at once is handled for this long (ms) before others get their turn. */
const TURN = 5
/** The clock is read after this many. */
const BETWEEN_LOOKS = 16

export class Wheel {
  readonly #due: (index: number) => void
  readonly #after: (() => void) | undefined
  /** By slot: the first index in it, or -1. */
  readonly #heads = new Int32Array(LEVELS * SLOTS).fill(-1)
  /** By level: the tick (in units of the level) up to which its slots have been handled. */
  readonly #handled = new Float64Array(LEVELS)
  // By index. `#slot`: 0 where it is not in the wheel, else its slot + 1.
  #next = new Int32Array(0)
  #previous = new Int32Array(0)
  #slot = new Uint16Array(0)

  #size = 0
  #timer: NodeJS.Timeout | undefined
  #timerTick = Number.POSITIVE_INFINITY
  #immediate: NodeJS.Immediate | undefined
  #running = false

  /**
   * @param due told of each index when its time has come; it is out of the wheel by then, and may be added again
   * @param after called when a row of those is over
   */
  constructor(due: (index: number) => void, after?: () => void) {
    this.#due = due
    this.#after = after
  }

  /** How many wait. */
  get size(): number {
    return this.#size
  }

  /** Memory of the arrays that grow. */
  get bytes(): number {
    return this.#next.byteLength + this.#previous.byteLength + this.#slot.byteLength
  }

  /** `index` is due in `ms`; if it was in the wheel already, the earlier time is forgotten. */
  add(index: number, ms: number): void {
    if (index >= this.#slot.length) this.#resize(grown(this.#slot.length, index + 1))
    if ((this.#slot[index] as number) !== 0) this.#unlink(index)
    else this.#size++
    const now = performance.now() / TICK
    let level = 0
    let unit = 1
    let tick = 0
    for (; ; level++, unit *= 8) {
      this.#advance(level, Math.floor(now / unit))
      const last = (this.#handled[level] as number) + SLOTS - 1
      tick = Math.ceil((now + ms / TICK) / unit)
      if (tick <= last) break
      if (level === LEVELS - 1) {
        // Beyond the reach of the wheel, a year: as late as it can be.
        tick = last
        break
      }
    }
    this.#link(index, level * SLOTS + (tick % SLOTS))
    if (!this.#running) this.#schedule(tick * unit)
  }

  remove(index: number): void {
    if (!((this.#slot[index] as number) > 0)) return
    this.#unlink(index)
    if (--this.#size === 0) this.#stop()
  }

  /** Forgets all. */
  clear(): void {
    this.#heads.fill(-1)
    this.#slot.fill(0)
    this.#size = 0
    this.#stop()
  }

  /** Gives back what the arrays grew by, and no index from `end` on needs. */
  trim(end: number): void {
    const size = this.#size === 0 ? 0 : shrunk(end)
    if (size < this.#slot.length) this.#resize(size)
  }

  #link(index: number, slot: number): void {
    const head = this.#heads[slot] as number
    this.#next[index] = head
    this.#previous[index] = -1
    if (head !== -1) this.#previous[head] = index
    this.#heads[slot] = index
    this.#slot[index] = slot + 1
  }

  #unlink(index: number): void {
    const next = this.#next[index] as number
    const previous = this.#previous[index] as number
    if (next !== -1) this.#previous[next] = previous
    if (previous !== -1) this.#next[previous] = next
    else this.#heads[(this.#slot[index] as number) - 1] = next
    this.#slot[index] = 0
  }

  /**
   * Time in which nothing was due has passed: what is added now may use its slots. All that waits in a level lies within 63
   * ticks of what is handled there, so that a slot stands for one tick.
   */
  #advance(level: number, end: number): void {
    if (this.#running) return
    const handled = this.#handled[level] as number
    const last = Math.min(end, handled + SLOTS - 1)
    for (let tick = handled + 1; tick <= last; tick++) {
      if (this.#heads[level * SLOTS + (tick % SLOTS)] !== -1) return
      this.#handled[level] = tick
    }
    if (end > handled) this.#handled[level] = end
  }

  #schedule(tick: number): void {
    if (tick >= this.#timerTick || this.#immediate !== undefined) return
    clearTimeout(this.#timer)
    this.#timerTick = tick
    // No more than 2^31 - 1 ms, which is what setTimeout takes: then it looks again.
    const ms = Math.min(tick * TICK - performance.now(), 2 ** 31 - 1)
    this.#timer = setTimeout(this.#run, Math.max(1, Math.ceil(ms)))
    this.#timer.unref()
  }

  #stop(): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    this.#timer = undefined
    this.#immediate = undefined
    this.#timerTick = Number.POSITIVE_INFINITY
  }

  readonly #run = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#timerTick = Number.POSITIVE_INFINITY
    this.#immediate = undefined
    this.#running = true
    let finished = false
    try {
      finished = this.#handleDue()
    } finally {
      this.#running = false
      // After one that threw, too: the others are still due.
      if (this.#size > 0) {
        if (finished) this.#schedule(this.#nextTick())
        else this.#immediate ??= setImmediate(this.#run)
      }
      this.#after?.()
    }
  }

  /** False: there is more to do, and it was time for others. */
  #handleDue(): boolean {
    const start = performance.now()
    let left = BETWEEN_LOOKS
    for (let level = 0, unit = 1; level < LEVELS; level++, unit *= 8) {
      const end = Math.floor(start / TICK / unit)
      const last = Math.min(end, (this.#handled[level] as number) + SLOTS - 1)
      for (let tick = (this.#handled[level] as number) + 1; tick <= last; tick++) {
        const slot = level * SLOTS + (tick % SLOTS)
        for (let index = this.#heads[slot] as number; index !== -1; index = this.#heads[slot] as number) {
          if (left-- === 0) {
            if (performance.now() - start > TURN) return false
            left = BETWEEN_LOOKS
          }
          this.#unlink(index)
          this.#size--
          this.#due(index)
        }
        this.#handled[level] = tick
      }
      if (end > last) this.#handled[level] = end
    }
    return true
  }

  /** The tick at which the next slot that holds something is due. */
  #nextTick(): number {
    let next = Number.POSITIVE_INFINITY
    for (let level = 0, unit = 1; level < LEVELS; level++, unit *= 8) {
      const handled = this.#handled[level] as number
      for (let tick = handled + 1; tick < handled + SLOTS && tick * unit < next; tick++) {
        if (this.#heads[level * SLOTS + (tick % SLOTS)] !== -1) next = tick * unit
      }
    }
    return next
  }

  #resize(size: number): void {
    this.#next = resized(this.#next, new Int32Array(size))
    this.#previous = resized(this.#previous, new Int32Array(size))
    this.#slot = resized(this.#slot, new Uint16Array(size))
  }
}

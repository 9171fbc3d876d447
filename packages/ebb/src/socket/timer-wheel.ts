/**
 * A timer wheel: the deadlines of many connections, behind one timer.
 *
 * It works like the kernel's timer wheel since Linux 4.8 (`kernel/time/timer.c`, "non-cascading"). Each level has 64
 * slots, which are eight times as long as the slots of the level below. A deadline goes to the lowest level that
 * reaches far enough, and never moves to another level. So it is touched twice: when it is added and when it is due.
 *
 * This costs precision. A deadline is never early. It is late by at most 1/7 of its time or one {@link TICK}, whichever
 * is larger. A deadline has no object, only three numbers in arrays indexed by its connection.
 */
import { grown, resized, shrunk } from '../sys/arrays.js'
import { outside, runBatch } from '../sys/node/callback-scope.js'

/** Precision of the lowest level, in ms. */
const TICK = 16
const LEVELS = 8
/** Slots per level. */
const SLOTS = 64
/** Length of a slot, compared with a slot of the level below. */
const COARSER = 8
/** Due deadlines are handled for this long (ms) before the event loop goes on. */
const TURN = 5
/** The clock is read once for this many deadlines. */
const CLOCK_INTERVAL = 16

/** Holds at most one deadline for each index, a small integer such as a row of a table. */
export class Wheel {
  readonly #onDue: (index: number) => void
  readonly #afterBatch: (() => void) | undefined
  /** By slot: the first index in the slot, or -1. */
  readonly #heads = new Int32Array(LEVELS * SLOTS).fill(-1)
  /** By level: the last tick whose slot was handled, in units of the level. */
  readonly #handled = new Float64Array(LEVELS)
  // By index: the neighbours in its slot, and the number of its slot + 1; 0 if it is not in the wheel.
  #next = new Int32Array(0)
  #previous = new Int32Array(0)
  #slot = new Uint16Array(0)

  #size = 0
  #timer: NodeJS.Timeout | undefined
  #timerTick = Number.POSITIVE_INFINITY
  #immediate: NodeJS.Immediate | undefined
  #running = false

  /**
   * @param onDue called with each index that is due; it was removed from the wheel, and may be added again. Calls the
   *   program through `CallbackScopes.run()`
   * @param afterBatch called after each batch of `onDue` calls
   */
  constructor(onDue: (index: number) => void, afterBatch?: () => void) {
    this.#onDue = onDue
    this.#afterBatch = afterBatch
  }

  /** Number of deadlines. */
  get size(): number {
    return this.#size
  }

  /** Memory of the arrays that grow, in bytes. */
  get bytes(): number {
    return this.#next.byteLength + this.#previous.byteLength + this.#slot.byteLength
  }

  /** Sets the deadline of `index` to `ms` from now. An earlier deadline of it is replaced. */
  add(index: number, ms: number): void {
    if (index >= this.#slot.length) this.#resize(grown(this.#slot.length, index + 1))
    if ((this.#slot[index] as number) !== 0) this.#unlink(index)
    else this.#size++
    const now = performance.now() / TICK
    let level = 0
    let unit = 1
    let tick = 0
    for (; ; level++, unit *= COARSER) {
      this.#advance(level, Math.floor(now / unit))
      const last = (this.#handled[level] as number) + SLOTS - 1
      tick = Math.ceil((now + ms / TICK) / unit)
      if (tick <= last) break
      if (level === LEVELS - 1) {
        // Beyond the reach of the wheel, which is about 24 days: the last slot.
        tick = last
        break
      }
    }
    this.#link(index, level * SLOTS + (tick % SLOTS))
    if (!this.#running) this.#schedule(tick * unit)
  }

  /** Whether `index` has a deadline. */
  has(index: number): boolean {
    return (this.#slot[index] as number) > 0
  }

  /** Returns the time, in ms, until the deadline of `index`, at least 1; 0 if it has none. */
  left(index: number): number {
    const at = (this.#slot[index] ?? 0) - 1
    if (at < 0) return 0
    const level = Math.floor(at / SLOTS)
    const first = (this.#handled[level] as number) + 1
    const tick = first + (((((at % SLOTS) - first) % SLOTS) + SLOTS) % SLOTS)
    return Math.max(1, tick * COARSER ** level * TICK - performance.now())
  }

  /** Removes the deadline of `index`, if it has one. */
  remove(index: number): void {
    if (!((this.#slot[index] as number) > 0)) return
    this.#unlink(index)
    if (--this.#size === 0) this.#stop()
  }

  /** Removes all deadlines. */
  clear(): void {
    this.#heads.fill(-1)
    this.#slot.fill(0)
    this.#size = 0
    this.#stop()
  }

  /** Shrinks the arrays. @param end no index from here on has a deadline */
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
   * Marks the ticks up to `current` as handled, as far as their slots are empty. The slots can then be used for later
   * ticks. A slot must never hold deadlines of two ticks, so the deadlines of a level are at most 63 ticks after its
   * last handled tick.
   */
  #advance(level: number, current: number): void {
    if (this.#running) return
    const handled = this.#handled[level] as number
    const last = Math.min(current, handled + SLOTS - 1)
    for (let tick = handled + 1; tick <= last; tick++) {
      if (this.#heads[level * SLOTS + (tick % SLOTS)] !== -1) return
      this.#handled[level] = tick
    }
    if (current > handled) this.#handled[level] = current
  }

  #schedule(tick: number): void {
    if (tick >= this.#timerTick || this.#immediate !== undefined) return
    clearTimeout(this.#timer)
    this.#timerTick = tick
    // setTimeout takes at most 2^31 - 1 ms. If that is too early, the timer is set again.
    const ms = Math.min(tick * TICK - performance.now(), 2 ** 31 - 1)
    this.#timer = outside(() => setTimeout(this.#run, roundedDown(Math.max(1, Math.ceil(ms)))))
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
      finished = runBatch(this.#handleDue)
    } finally {
      this.#running = false
      // Runs also if a callback threw, because other deadlines are still due.
      if (this.#size > 0) {
        if (finished) this.#schedule(this.#nextTick())
        else this.#immediate ??= outside(() => setImmediate(this.#run))
      }
      this.#afterBatch?.()
    }
  }

  /** Handles due deadlines. @returns false if its time was over before all were handled */
  readonly #handleDue = (): boolean => {
    const start = performance.now()
    let left = CLOCK_INTERVAL
    for (let level = 0, unit = 1; level < LEVELS; level++, unit *= COARSER) {
      const current = Math.floor(start / TICK / unit)
      const last = Math.min(current, (this.#handled[level] as number) + SLOTS - 1)
      for (let tick = (this.#handled[level] as number) + 1; tick <= last; tick++) {
        const slot = level * SLOTS + (tick % SLOTS)
        for (let index = this.#heads[slot] as number; index !== -1; index = this.#heads[slot] as number) {
          if (left-- === 0) {
            if (performance.now() - start > TURN) return false
            left = CLOCK_INTERVAL
          }
          this.#unlink(index)
          this.#size--
          this.#onDue(index)
        }
        this.#handled[level] = tick
      }
      if (current > last) this.#handled[level] = current
    }
    return true
  }

  /** Returns the tick of the next slot that is not empty. */
  #nextTick(): number {
    let next = Number.POSITIVE_INFINITY
    for (let level = 0, unit = 1; level < LEVELS; level++, unit *= COARSER) {
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

/**
 * Rounds a time (ms) down to one of eight values between two powers of two. A wheel that is too early sets its timer
 * again. Node keeps a list for each different time of an unref'd timer until the time is over, also if the timer is
 * cleared: without this, thousands of lists.
 */
function roundedDown(ms: number): number {
  return ms < SHORT ? ms : ms - (ms % 2 ** (Math.floor(Math.log2(ms)) - 3))
}

/** Times below this (ms) are not rounded. */
const SHORT = 64

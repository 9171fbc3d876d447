/**
 * Notices anonymous memory far above what the program needs, whatever the cause: worker threads, thread pools, large
 * buffers, the queue of a slow client. Needs no fall of the load, so it also serves a program that is always busy.
 *
 * Only a release can tell whether memory is still in use. So this class learns from each release what the program
 * usually holds, and asks for a release when memory has settled far above that.
 */

/** Memory is far above another figure if it exceeds it by this share ... */
const FAR_SHARE = 0.5
/** ... and by this many bytes more: V8's young generation alone may take 48 MB. */
const FAR_LEAST = 16_000_000
/** Memory has settled when it has not grown for this many ms. What grows is in use. */
const SETTLED = 3000
/** A rise by at most this share is no growth. */
const STEADY_SHARE = 0.05
/** Memory that is held again within this many ms after a release is what the program needs at its present load. */
const NEEDED_WITHIN = 60_000
/** The program needs less than before if it has held less for one to two of these periods, ms. */
const PERIOD = 300_000
/**
 * Milliseconds between a release and a probe: a release without any sign that memory has become free. Each probe that
 * returns little, or nothing for long, doubles the time.
 */
const SHORTEST_PROBE = 60_000
const LONGEST_PROBE = 600_000

/** Follows anonymous memory. All methods take the time as `performance.now()` has it, and make no object. */
export class Excess {
  /** The most that the program has needed so far at its present load, bytes. */
  #usual: number
  #lowest: number
  /** The level from which growth is counted, and when memory last grew. */
  #level: number
  #grewAt: number
  /** The most anonymous memory since the last release, bytes. */
  #highest: number
  /** The most anonymous memory in the present and in the last {@link PERIOD}, bytes. */
  #periodHighest: number
  #lastPeriodHighest: number
  #periodEnd: number
  /** Anonymous memory after the last release, and the most in the periods before it, bytes. */
  #held = 0
  #highestBefore = 0
  /** Until when memory that comes back is needed; 0 if there is nothing to learn. */
  #learnsUntil = 0
  /** Whether the last release returned much. */
  #returnedMuch = false
  #probeInterval = SHORTEST_PROBE
  #probeAt: number

  constructor(now: number, anonymous: number) {
    this.#usual = anonymous
    this.#lowest = anonymous
    this.#level = anonymous
    this.#grewAt = now
    this.#highest = anonymous
    this.#periodHighest = anonymous
    this.#lastPeriodHighest = anonymous
    this.#periodEnd = now + PERIOD
    this.#probeAt = now + SHORTEST_PROBE
  }

  /** The least anonymous memory ever, bytes. */
  get lowest(): number {
    return this.#lowest
  }

  /** Notes the anonymous memory. Call this about once a second. */
  add(now: number, anonymous: number): void {
    if (anonymous > (1 + STEADY_SHARE) * this.#level) {
      this.#level = anonymous
      this.#grewAt = now
    }
    this.#lowest = Math.min(this.#lowest, anonymous)
    this.#highest = Math.max(this.#highest, anonymous)
    this.#learn(now, anonymous)
    this.#forget(now, anonymous)
  }

  /** Learns what the program needs from what it holds again soon after a release. */
  #learn(now: number, anonymous: number): void {
    if (this.#learnsUntil === 0) return
    if (now < this.#learnsUntil) {
      this.#usual = Math.max(this.#usual, Math.min(anonymous, this.#highestBefore))
      return
    }
    this.#learnsUntil = 0
    // At least half of the returned memory has stayed away: the release was worth it.
    const isAway = this.#highest < (this.#held + this.#highestBefore) / 2
    if (this.#returnedMuch && isAway) this.#probeInterval = SHORTEST_PROBE
  }

  /** Learns that the program needs less than before. */
  #forget(now: number, anonymous: number): void {
    this.#periodHighest = Math.max(this.#periodHighest, anonymous)
    if (now < this.#periodEnd) return
    this.#usual = Math.min(this.#usual, Math.max(this.#periodHighest, this.#lastPeriodHighest))
    this.#lastPeriodHighest = this.#periodHighest
    this.#periodHighest = anonymous
    this.#periodEnd = now + PERIOD
  }

  /**
   * Whether a release may return much: memory has settled far above what the program usually holds, or far above its
   * lowest and the time of a probe has come.
   */
  isDue(now: number, anonymous: number): boolean {
    if (now - this.#grewAt < SETTLED) return false
    return isFar(anonymous, this.#usual) || (now >= this.#probeAt && isFar(anonymous, this.#lowest))
  }

  /**
   * Notes that a release which was due would have paused the program for too long. The next try is made when memory is
   * far above what it is now, or when the time of a probe has come.
   */
  onTooLong(now: number, anonymous: number): void {
    this.#usual = anonymous
    this.#plan(now)
  }

  /**
   * Starts again after a release.
   *
   * @param held anonymous memory that it left, bytes
   * @param much bytes from which on it returned much
   */
  onReleased(now: number, held: number, much: number): void {
    this.#held = held
    this.#highestBefore = Math.max(this.#periodHighest, this.#lastPeriodHighest)
    this.#returnedMuch = this.#highestBefore - held >= much
    this.#learnsUntil = now + NEEDED_WITHIN
    this.#usual = held
    this.#level = held
    this.#highest = held
    this.#grewAt = now
    this.#periodHighest = held
    this.#lastPeriodHighest = held
    this.#periodEnd = now + PERIOD
    this.#plan(now)
  }

  #plan(now: number): void {
    this.#probeAt = now + this.#probeInterval
    this.#probeInterval = Math.min(2 * this.#probeInterval, LONGEST_PROBE)
  }
}

function isFar(anonymous: number, above: number): boolean {
  return anonymous >= (1 + FAR_SHARE) * above + FAR_LEAST
}

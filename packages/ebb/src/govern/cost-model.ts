/**
 * What a give-back costs in this program, and whether one may be had now: a budget of time, patience after acts that brought
 * little, and a guess of the pause. One for the thread, whoever decides, so that two who see the same spike
 * act once.
 */
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import { onReleased, type Release, type ReleaseOptions, releaseUnheld } from '../memory/release.js'

/** No two acts within this many ms. */
const APART = 1000
/** Patience (ms) does not grow beyond this. */
const LONGEST_PATIENCE = 600_000
/** What is needed again within so many ms has cost more than the act. */
const STRAIGHT_BACK = 30_000
/**
 * Its pages are faulted in, and the young generation has to grow once more. For a byte, ms. (`net` with 10,000 connections on Node 20 and 26: 17 to 38 ms for
 * 30 to 48 MB.)
 */
const BACK_MS = 0.8e-6
/**
 * And what V8 had optimised for classes of which no object was left is compiled anew. For a byte of machine code, ms. (Express on Node 26: 470 KB
 * less in the code space after an act, and 350 ms of TurboFan in the next spike; on Node 20 80 KB, on 22 none.)
 */
const CODE_MS = 0.75e-3
/** That space is counted by pages in part: so much less (bytes) means nothing. */
const CODE_PAGE = 256 * 1024
/** That keeps the next act away for no longer (ms): a spike that is rarer is given back each time. */
const LONGEST_FOR_BACK = 30_000
/** Memory has grown again: by this factor. */
const GROWN = 1.5
/** After an act that failed (ms). */
const FAILED = 60_000

/**
 * The guess, before anything is learned, for an empty heap and for each MB that lives (ms).
 *
 * At once, V8 marks what lives, at 1 to 5 ms for each MB, and does so twice at least in one act. (`LowMemoryNotification` with 10, 50, 200
 * and 1,000 MB of small objects on two shared cores: 48, 200, 950 and 3,600 ms on Node 20, half of that on 26; with 15 to 30 MB of
 * Express, Fastify and aedes: 15 to 60.) In steps, the program is stopped for the compaction alone. (6, 48 and 150 MB of small objects on
 * Node 20, 22, 24 and 26: 5 to 9, 13 to 41, 30 to 80 ms.)
 */
const AT_ONCE = { empty: 10, perMb: 1.5 }
const IN_STEPS = { empty: 5, perMb: 0.5 }
/** What is learned lies between. */
const LEAST_FACTOR = 0.25
const MOST_FACTOR = 3
/** What was allocated since V8's last collection is mostly garbage: this share of it is taken to live. */
const SURVIVING = 0.25
/** How fast a guess of which nothing was learned is doubted, when it keeps an act away: by this factor a minute, down to that. */
const DOUBT = 0.5
const LEAST_DOUBTED = 0.5
/** That what lived has gone with the crowd is a guess: nothing is risked for it that would take longer than so many times the limit. */
const RISK = 1.25

export class Price {
  /** On the clock of `performance.now()`: no act before, though memory be short. */
  earliest = 0
  /** After a spike none before this: the last one has come too dear. At or after {@link earliest}. */
  earliestAfterSpike = 0
  /** Anonymous memory after the last act; 0: none yet. */
  floor = 0
  /** How long an act that brought little keeps the next away (ms), for those who ask {@link isPatient}. */
  #patience = APART
  #patientUntil = 0
  /** Of the last act: when it was, what it took of the thread, what it returned, and whether that came straight back. */
  #actedAt = 0
  #cpuMs = 0
  #returned = 0
  #codeLost = 0
  #cameBack = false
  #budget = 1
  /** Acts collect in steps; not where V8 cannot be brought to it. */
  #inSteps = true
  /** How much longer an act takes than guessed. */
  #factor = 1
  #learned = false
  #doubted = 0
  /** Heap in use after the last act. */
  #floorHeap = getHeapStatistics().used_heap_size
  /** Heap in use after V8's last own collection, and the load at that time. */
  #heap = this.#floorHeap
  #crowdThen = 0
  #busyThen = 0
  /** The load at the last look. */
  #crowd = 0
  #busy = 0
  #sentinel: WeakRef<object> | undefined

  /**
   * To be called now and then: notices that V8 has collected its old generation. Only such a collection clears a `WeakRef`, so this
   * costs nothing while there is none.
   *
   * @param crowd what the heap grows with: descriptors, or clients
   * @param busy and what it is busy with: the share of a core
   */
  notice(crowd: number, busy = 1): void {
    if (this.#sentinel?.deref() === undefined) {
      this.#sentinel = new WeakRef({})
      this.#heap = getHeapStatistics().used_heap_size
      // It was at some time since the last look.
      this.#crowdThen = Math.max(crowd, this.#crowd)
      this.#busyThen = Math.max(busy, this.#busy)
    }
    this.#crowd = crowd
    this.#busy = busy
  }

  /** What the program holds now, in anonymous bytes: what was given back may have come back. */
  holds(held: number): void {
    if (this.#cameBack || this.#returned === 0 || held < this.floor + this.#returned / 2) return
    this.#cameBack = true
    if (performance.now() - this.#actedAt >= STRAIGHT_BACK) return
    const cost = this.#cpuMs + BACK_MS * this.#returned + CODE_MS * this.#codeLost
    this.earliestAfterSpike = Math.max(this.earliest, this.#actedAt + Math.min(cost / this.#budget, LONGEST_FOR_BACK))
  }

  /** The pause (ms) that an act would probably cause now, with the load of the last {@link notice}. */
  pause(): number {
    const used = getHeapStatistics().used_heap_size
    const base = Math.min(this.#floorHeap, this.#heap)
    const grown = SURVIVING * Math.max(0, used - this.#heap)
    // What lived when V8 last looked has gone with the crowd that it was for.
    const share = Math.min(shareOf(this.#crowd, this.#crowdThen), shareOf(this.#busy, this.#busyThen))
    return this.#factor * guess(Math.min(used, base + share * (this.#heap - base + grown)), this.#inSteps)
  }

  /** The pause (ms) if what lived when V8 last looked still does. */
  longestPause(): number {
    const used = getHeapStatistics().used_heap_size
    return this.#factor * guess(Math.min(used, this.#heap + SURVIVING * Math.max(0, used - this.#heap)), this.#inSteps)
  }

  /** Whether an act stops the program for no longer than `maxPause` (ms). One that does is taken for left undone. */
  isShort(now: number, maxPause: number): boolean {
    if (this.pause() <= maxPause && this.longestPause() <= RISK * maxPause) return true
    // Nothing was learned, and would ever be: the guess itself may be wrong.
    if (!this.#learned) {
      if (this.#doubted > 0) {
        this.#factor = Math.max(LEAST_DOUBTED, this.#factor * DOUBT ** ((now - this.#doubted) / 60_000))
      }
      this.#doubted = now
    }
    return false
  }

  /** The last acts brought little: the next one waits, unless memory has grown by half since then. */
  isPatient(now: number, held: number): boolean {
    return now < this.#patientUntil && held < GROWN * this.floor
  }

  /**
   * One act, and what it teaches.
   *
   * @param budget the share of time that acts may take
   * @param worth an act that brings less (bytes) doubles the patience
   * @param how as `release()` is told; in steps, if not told otherwise
   * @returns undefined when it failed, which is said as a warning
   */
  async act(budget: number, worth: number, how: ReleaseOptions = {}): Promise<Release | undefined> {
    // Until the price is known nobody else starts another.
    this.#notBefore(Number.POSITIVE_INFINITY)
    const codeBefore = codeInUse()
    let done: Release
    try {
      done = await releaseUnheld({ inSteps: true, ...how })
    } catch (error) {
      this.#notBefore(performance.now() + FAILED)
      process.emitWarning(`giving memory back failed: ${(error as Error).message}`, { code: 'EBB_RELEASE_FAILED' })
      return undefined
    }
    this.#codeLost = Math.max(0, codeBefore - codeInUse() - CODE_PAGE)
    if (how.inSteps ?? true) this.#inSteps = done.inSteps
    this.#budget = budget
    this.#patience = this.#returned < worth ? Math.min(2 * this.#patience, LONGEST_PATIENCE) : APART
    this.#patientUntil = this.#actedAt + this.#patience
    this.#notBefore(this.#actedAt + Math.max(done.cpuMs / budget, APART))
    return done
  }

  #notBefore(time: number): void {
    this.earliest = time
    this.earliestAfterSpike = time
  }

  /** After every act, whoever asked for it. */
  collected(done: Release): void {
    this.floor = done.afterTrim
    this.#actedAt = performance.now()
    this.#returned = Math.max(0, done.before - done.afterTrim)
    // Nobody knows what there was before; act() does.
    this.#codeLost = 0
    this.#cameBack = false
    this.#cpuMs = done.cpuMs
    this.#floorHeap = getHeapStatistics().used_heap_size
    this.#heap = this.#floorHeap
    this.#crowdThen = this.#crowd
    this.#busyThen = this.#busy
    this.#sentinel = new WeakRef({})
    this.#learn(done)
  }

  /** The pause of an act that left this heap. */
  #learn({ pauseMs, cpuMs, inSteps }: Release): void {
    // A thread that waited for a core was not stopped by the act. Half of the pause it may have waited for those who help it.
    const pause = Math.min(pauseMs, 2 * cpuMs)
    const factor = Math.min(Math.max(pause / guess(this.#floorHeap, inSteps), LEAST_FACTOR), MOST_FACTOR)
    // Dearer than thought is believed at once, cheaper slowly; but what was never more than a guess is given up at once.
    this.#factor = this.#learned ? Math.max(factor, 0.7 * this.#factor + 0.3 * factor) : factor
    this.#learned = true
  }
}

function guess(live: number, inSteps: boolean): number {
  const { empty, perMb } = inSteps ? IN_STEPS : AT_ONCE
  return empty + (perMb * live) / 1e6
}

/** Machine code that V8 made for this program, bytes. */
function codeInUse(): number {
  const spaces = getHeapSpaceStatistics().filter(({ space_name }) => space_name.startsWith('code_'))
  return spaces.reduce((sum, { space_used_size }) => sum + space_used_size, 0)
}

function shareOf(now: number, then: number): number {
  return now < then ? now / then : 1
}

// Found by its symbol: a program may have two copies of this library, and has one heap.
const KEY = Symbol.for('ebb.price.4')
const shared = globalThis as { [KEY]?: Price }

export function price(): Price {
  if (shared[KEY] === undefined) {
    const made = new Price()
    shared[KEY] = made
    onReleased((done) => made.collected(done))
  }
  return shared[KEY]
}

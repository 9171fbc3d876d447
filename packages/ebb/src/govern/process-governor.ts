/**
 * When any program gives back: after a spike of whatever it does, when the box asks, when a person asks; never at a bad price.
 *
 * Once a second it reads three figures: anonymous memory, open descriptors, time on a core. A spike is over when descriptors have
 * fallen below half of their highest since the last act, or when the time on a core has and stays there for a while (a program that
 * waits for its clients has a lull now and then); and when anonymous memory is well above the least that the program has lived on.
 * Then it waits until the fall has ended, and acts, if {@link Price} agrees.
 */
import { channel } from 'node:diagnostics_channel'
import { constants } from 'node:os'
import { prepareHiddenClasses, RetainedHandles } from '../memory/hidden-classes.js'
import { onReleased, type Release } from '../memory/release.js'
import { tuneAllocator, watchFaults } from '../memory/thresholds.js'
import { CgroupLimit } from '../proc/cgroup.js'
import { invalidArgument } from '../sys/errors.js'
import { type Price, price } from './cost-model.js'
import { Load } from './load.js'
import { metrics } from './metrics.js'
import { PressureWatch, pressureSource } from './pressure.js'

/** All optional; `ebb/auto` reads each from the environment: see the table in docs/governor.md. */
export interface GovernOptions {
  /** The share of its time that the program may spend in give-backs, over 0 and up to 1. Default: 0.01. */
  budget?: number
  /** No act that would stop the event loop for longer (ms), unless the box is short of memory. Default: 50. */
  maxPause?: number
  /** Less than this is not worth an act (bytes). Default: 1,000,000, and at least a fifth of what the program lives on. */
  worth?: number
  /** How often it looks (ms), from 100 on. Default: 1000. */
  every?: number
  /** Act when the kernel, or systemd, says that memory is short. Default: true. */
  pressure?: boolean
  /** Act earlier when the memory cgroup is filled to this share of its limit, from 0 to 1; 1: never. Default: 0.9. */
  limit?: number
  /** Act when this signal comes, whatever the price. Default: none. */
  signal?: NodeJS.Signals
  /** Have worker threads collect, too. Default: true. */
  workers?: boolean
  /** Say each act in one line on standard error. Default: false. */
  log?: boolean
}

/** Why an act was done. */
export type Reason = 'spike' | 'limit' | 'pressure' | 'signal' | 'asked'

/** What `diagnostics_channel` carries on `ebb:release`. */
export interface ReleaseMessage extends Release {
  reason: Reason
}

/** Counts are from the start; bytes and ms. */
export interface GovernStats {
  /** Acts, by reason. `asked`: by `release()`, or another governor. */
  acts: Record<Reason, number>
  /** Given back in all. */
  returned: number
  /** Time of all acts, and the longest pause of one. */
  ms: number
  longestPause: number
  /** Acts that were worth it and left undone: they would have stopped the program for longer than `maxPause`. */
  tooLong: number
  last: ReleaseMessage | undefined
  anonymous: number
  /** The pause of an act now, if what lived when V8 last collected still does. */
  expectedPause: number
  /** What pressure is watched by; undefined: nothing. */
  watching: string | undefined
}

export interface Governing {
  stats(): GovernStats
  /** {@link GovernStats} as OpenMetrics text without the closing `# EOF`, so that it can stand before another's (`prom-client`'s). */
  metrics(): string
  /** Stops watching and acting. */
  stop(): void
}

/** A fall that goes on is looked at again after this many ms, for this long at most. */
const LOOK = 100
const LONGEST_WAIT = 800
/** A fall from fewer descriptors, or from less of a core, is none. */
const LEAST_DESCRIPTORS = 50
const LEAST_BUSY = 0.05
/** The time on a core has to stay low for so long (ms). */
const LULL = 4000
/** Of what the program lives on, this share at least is to be gained. */
const WORTH_SHARE = 0.2
/** Under pressure, each governor of a box waits for a random part of this (ms): they do not all act at once. */
const SPREAD = 1000

const released = channel('ebb:release')

// One for the thread, also with two copies of the library.
const KEY = Symbol.for('ebb.governing.1')
const shared = globalThis as { [KEY]?: Governing | undefined }

/**
 * Gives memory back by itself from now on. Does not hold the process open.
 *
 * ```ts
 * const governing = govern({ maxPause: 20, signal: 'SIGUSR2' })
 * ```
 *
 * A second call returns the first one's, whatever its options, until that is stopped.
 *
 * @throws TypeError for options that cannot be
 */
export function govern(options: GovernOptions = {}): Governing {
  const checked = check(options)
  shared[KEY] ??= new Government(checked)
  return shared[KEY]
}

type Checked = Required<Omit<GovernOptions, 'signal'>> & { signal: NodeJS.Signals | undefined }

/** No program is told of these. */
const UNCAUGHT = new Set<string>(['SIGKILL', 'SIGSTOP'])

function check(options: GovernOptions): Checked {
  const { budget = 0.01, maxPause = 50, worth = 1_000_000, every = 1000, limit = 0.9, signal } = options
  const { pressure = true, workers = true, log = false } = options
  if (!(budget > 0 && budget <= 1)) {
    throw invalidArgument(`budget must be a share of time over 0 and up to 1, not ${budget}`)
  }
  if (!(maxPause > 0)) throw invalidArgument(`maxPause must be milliseconds over 0, not ${maxPause}`)
  if (!(worth >= 0)) throw invalidArgument(`worth must be bytes from 0 on, not ${worth}`)
  if (!(every >= 100 && every < 2 ** 31)) throw invalidArgument(`every must be milliseconds from 100 on, not ${every}`)
  if (!(limit >= 0 && limit <= 1)) throw invalidArgument(`limit must be a share from 0 to 1, not ${limit}`)
  if (signal !== undefined && !(signal in constants.signals && !UNCAUGHT.has(signal))) {
    throw invalidArgument(`signal must be one that a program can catch, such as SIGUSR2, not ${String(signal)}`)
  }
  return { budget, maxPause, worth, every, limit, signal, pressure, workers, log }
}

class Government implements Governing {
  readonly #options: Checked
  readonly #load: Load
  readonly #handles = new RetainedHandles()
  readonly #price: Price = price()
  readonly #cgroup: CgroupLimit
  readonly #pressure: PressureWatch | undefined
  readonly #watching: string | undefined
  readonly #timer: NodeJS.Timeout
  readonly #stopListening: () => void
  /** Looks again, sooner than the timer does. */
  #soon: NodeJS.Timeout | undefined
  /** Acts for the box. */
  #call: NodeJS.Timeout | undefined
  #stopped = false
  #onSignal: (() => void) | undefined

  // Since the last act.
  #mostDescriptors = 0
  #mostBusy = 0
  /** The least that the program has lived on. */
  #least: number
  /** The descriptors that were open at the last act. */
  #floorDescriptors = 0
  /** The least anonymous memory ever. */
  #lowest: number
  #busy = 0
  /** Since when the time on a core has been low; 0: it is not. */
  #lullStart = 0
  /** The descriptors that were open then. */
  #lullDescriptors = 0
  #lastDescriptors = 0
  #fallStart = 0

  /** Why an act of our own is under way. */
  #reason: Reason | undefined
  readonly #acts: Record<Reason, number> = { spike: 0, limit: 0, pressure: 0, signal: 0, asked: 0 }
  #returned = 0
  #ms = 0
  #longestPause = 0
  #tooLong = 0
  #last: ReleaseMessage | undefined

  constructor(options: Checked) {
    this.#options = options
    this.#cgroup = new CgroupLimit()
    const source = options.pressure ? pressureSource(process.env, this.#cgroup.pressure) : undefined
    this.#load = new Load()
    tuneAllocator({ timer: false })
    prepareHiddenClasses()
    this.#least = this.#load.anonymous
    this.#lowest = this.#least
    if (source !== undefined) {
      try {
        this.#pressure = new PressureWatch(source, () => this.#askedByBox())
        this.#watching = source.path
      } catch (error) {
        process.emitWarning(`memory pressure is not watched (${source.from}): ${(error as Error).message}`, {
          code: 'EBB_NO_PRESSURE'
        })
      }
    }
    if (options.signal !== undefined) {
      this.#onSignal = () => void this.#act('signal')
      process.on(options.signal, this.#onSignal)
    }
    this.#stopListening = onReleased((done) => this.#collected(done))
    this.#timer = setInterval(this.#look, options.every)
    this.#timer.unref()
  }

  readonly #look = (): void => {
    const load = this.#load
    const before = load.descriptors
    load.read()
    load.readBusy()
    // Smoothed, since one second is not like the other.
    this.#busy = 0.5 * this.#busy + 0.5 * load.busy
    this.#mostBusy = Math.max(this.#mostBusy, this.#busy)
    this.#watchLull()
    watchFaults()
    if (load.descriptors >= LEAST_DESCRIPTORS) this.#handles.onCrowd(load.descriptors)
    else this.#handles.onNoCrowd()
    this.#price.notice(load.descriptors, this.#busy)
    this.#price.holds(load.anonymous)
    this.#mostDescriptors = Math.max(this.#mostDescriptors, load.descriptors)
    this.#least = Math.min(this.#least, load.anonymous)
    this.#lowest = Math.min(this.#lowest, load.anonymous)
    if (this.#reason !== undefined || this.#soon !== undefined) return
    if (this.#options.limit < 1 && this.#cgroup.used(this.#options.limit) >= this.#options.limit) {
      if (this.#isWorth()) this.#actIfPriced('limit')
    } else if (this.#fallen() && this.#isWorth()) {
      // One that ended before is not waited for again: what keeps an act away must not cost a second look each time.
      if (load.descriptors >= before) {
        this.#actIfPriced('spike')
        return
      }
      this.#fallStart = performance.now()
      this.#lastDescriptors = load.descriptors
      this.#lookSoon()
    }
  }

  #lookSoon(): void {
    this.#soon = setTimeout(this.#lookAgain, LOOK)
    this.#soon.unref()
  }

  /** The fall is over, or it goes on. */
  readonly #lookAgain = (): void => {
    this.#soon = undefined
    const load = this.#load
    load.read()
    const falling = load.descriptors < this.#lastDescriptors
    this.#lastDescriptors = load.descriptors
    if (!this.#fallen()) return
    if (falling && performance.now() - this.#fallStart < LONGEST_WAIT) this.#lookSoon()
    else this.#actIfPriced('spike')
  }

  #watchLull(): void {
    const { descriptors } = this.#load
    if (this.#mostBusy < LEAST_BUSY || this.#busy >= this.#mostBusy / 2) {
      this.#lullStart = 0
    } else if (this.#lullStart === 0 || descriptors > 2 * this.#lullDescriptors + LEAST_DESCRIPTORS) {
      // A crowd that has just come keeps what it brought, however little there is to do with it.
      this.#lullStart = performance.now()
      this.#lullDescriptors = descriptors
    }
  }

  #fallen(): boolean {
    const { descriptors } = this.#load
    return (
      (this.#mostDescriptors >= LEAST_DESCRIPTORS && descriptors < this.#mostDescriptors / 2) ||
      (this.#lullStart > 0 && performance.now() - this.#lullStart >= LULL)
    )
  }

  #isWorth(): boolean {
    const { anonymous, descriptors } = this.#load
    // Those have gone who held what the last act left: it is garbage now, though no more is held than then.
    const left = this.#floorDescriptors >= LEAST_DESCRIPTORS && descriptors < this.#floorDescriptors / 2
    return anonymous - (left ? this.#lowest : this.#least) >= this.#worthOver(this.#least)
  }

  /** So much more than what the program lives on is worth an act (bytes). */
  #worthOver(least: number): number {
    return Math.max(this.#options.worth, WORTH_SHARE * least)
  }

  #actIfPriced(reason: Reason): void {
    const now = performance.now()
    const earliest = reason === 'spike' ? this.#price.earliestAfterSpike : this.#price.earliest
    if (now < earliest || this.#price.isPatient(now, this.#load.anonymous)) return
    if (this.#price.isShort(now, this.#options.maxPause)) void this.#act(reason)
    else this.#tooLong++
  }

  #askedByBox(): void {
    if (this.#call !== undefined || this.#reason !== undefined) return
    this.#call = setTimeout(() => {
      this.#call = undefined
      this.#load.read()
      // A pause that is too long is better than to be killed; but not again and again.
      if (performance.now() >= this.#price.earliest) void this.#act('pressure')
    }, Math.random() * SPREAD)
    this.#call.unref()
  }

  async #act(reason: Reason): Promise<void> {
    if (this.#reason !== undefined) return
    this.#reason = reason
    const { budget, worth, workers } = this.#options
    try {
      // A person who asks is given all that there is.
      const inSteps = reason !== 'signal'
      await this.#price.act(budget, worth, { workers, inSteps, enough: this.#lowest + this.#worthOver(this.#lowest) })
    } finally {
      this.#reason = undefined
    }
  }

  /** After an act, by whomever. */
  #collected(done: Release): void {
    const reason = this.#reason ?? 'asked'
    this.#handles.drop()
    this.#load.read()
    // The act's own time is no load.
    this.#load.readBusy()
    this.#mostDescriptors = this.#load.descriptors
    this.#floorDescriptors = this.#load.descriptors
    this.#mostBusy = this.#busy
    this.#lullStart = 0
    this.#least = done.afterTrim || this.#load.anonymous
    this.#acts[reason]++
    this.#returned += Math.max(0, done.before - done.afterTrim)
    this.#ms += done.ms
    this.#longestPause = Math.max(this.#longestPause, done.pauseMs)
    const message: ReleaseMessage = { ...done, reason }
    this.#last = message
    if (this.#options.log) process.stderr.write(`${describe(message)}\n`)
    if (released.hasSubscribers) released.publish(message)
  }

  stats(): GovernStats {
    if (!this.#stopped) this.#load.read()
    return {
      acts: { ...this.#acts },
      returned: this.#returned,
      ms: this.#ms,
      longestPause: this.#longestPause,
      tooLong: this.#tooLong,
      last: this.#last,
      anonymous: this.#load.anonymous,
      expectedPause: this.#price.longestPause(),
      watching: this.#watching
    }
  }

  metrics(): string {
    return metrics(this.stats())
  }

  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#handles.drop()
    clearInterval(this.#timer)
    clearTimeout(this.#soon)
    clearTimeout(this.#call)
    this.#stopListening()
    this.#pressure?.close()
    this.#cgroup.close()
    this.#load.close()
    if (this.#options.signal !== undefined && this.#onSignal) process.off(this.#options.signal, this.#onSignal)
    shared[KEY] = undefined
  }
}

function describe({ reason, before, afterTrim, pauseMs, ms }: ReleaseMessage): string {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1)
  return `ebb: gave back ${mb(before - afterTrim)} MB (${mb(before)} -> ${mb(afterTrim)}) in ${ms.toFixed(0)} ms, longest pause ${pauseMs.toFixed(0)} ms: ${reason}`
}

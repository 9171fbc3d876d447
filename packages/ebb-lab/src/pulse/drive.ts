/** `drive()` opens and closes the connections of a crowd so that it follows a shape over time. */
import { addCauses, type Causes, total } from './causes.js'
import { Churn } from './churn.js'
import type { Arrivals, Crowd } from './crowd.js'
import type { Opened } from './opened.js'
import { pause } from './pause.js'
import { addLatencies, addResult, emptyReport, type PulseEvent, type PulseReport, pulseOnce } from './pulse.js'
import {
  endOf,
  type Level,
  type LevelShape,
  levelsOf,
  type PulseShape,
  type Shape,
  spreadOf,
  timedPulses
} from './shapes.js'
import { addTraffic } from './traffic.js'

/** Milliseconds between two checks for connections that the server has closed, while a level stays the same. */
const RECHECK = 1000

/** The crowd has reached a level, as far as it could. */
export interface LevelStep {
  event: 'level'
  /** Number of connections that the shape asked for. */
  connections: number
  /** Number of connections that are open. */
  open: number
  /** Result of opening connections, or null if none had to be opened. */
  opened: Opened | null
  /** Connections that the server closed first since the last step, by cause. */
  lost: Causes
}

/** A step of the run. */
export type DriveEvent = PulseEvent | LevelStep

/** When and how a crowd follows its shape. */
export interface DriveOptions {
  /** Start of the run, a value of `performance.now()`. */
  start: number
  /** End of the run, in milliseconds after its start. */
  until: number
  /** Maximum connects per second. Default: as fast as the server answers. */
  rate?: number
  /** Connections per second that leave and are replaced. Default: 0. */
  churn?: number
  /** Ends the run; all connections are closed. */
  signal?: AbortSignal
  /** Called at each step. */
  onEvent?: (event: DriveEvent) => void
}

/**
 * Makes the connections of a shape, and then closes them and disposes of the crowd.
 *
 * The run ends early, with `stopped: 'nobody answers'`, when no connection could be opened and none is left.
 */
export async function drive(crowd: Crowd, shape: Shape, options: DriveOptions): Promise<PulseReport> {
  const report = emptyReport()
  try {
    if (shape.shape === 'pulse') await drivePulses(crowd, shape, report, options)
    else await new LevelDriver(crowd, report, shape, options).follow()
    const traffic = await crowd.takeTraffic()
    addTraffic(report.traffic, traffic)
    addCauses(report.unanswered, traffic.unanswered)
  } finally {
    await crowd.close()
    await crowd.dispose()
  }
  if (options.signal?.aborted) report.stopped = 'signal'
  addLatencies(report, crowd.latencies)
  return report
}

async function drivePulses(crowd: Crowd, shape: PulseShape, report: PulseReport, options: DriveOptions): Promise<void> {
  const { start, until, churn, signal, onEvent = () => {} } = options
  for (const pulse of timedPulses(shape, until)) {
    await pause(Math.max(0, start + pulse.at - performance.now()), signal)
    if (signal?.aborted) return
    const opened = await pulseOnce(crowd, pulse, report, signal, onEvent, churn)
    if (opened.connected === 0 && pulse.n > 0 && !signal?.aborted) {
      report.stopped = 'nobody answers'
      return
    }
  }
}

/** Keeps the number of open connections at the level of a shape. */
class LevelDriver {
  readonly #crowd: Crowd
  readonly #report: PulseReport
  readonly #shape: LevelShape
  readonly #options: DriveOptions
  /** Number of connections that are open. */
  #open = 0
  #churn: Churn | undefined

  constructor(crowd: Crowd, report: PulseReport, shape: LevelShape, options: DriveOptions) {
    this.#crowd = crowd
    this.#report = report
    this.#shape = shape
    this.#options = options
  }

  async follow(): Promise<void> {
    const { start, until, signal } = this.#options
    // A shape without end holds its last level.
    const lastEnd = until === Number.POSITIVE_INFINITY && endOf(this.#shape) === until ? until : 0
    const levels = levelsOf(this.#shape, until)
    /** Time of the first level that was skipped. */
    let skippedAt: number | undefined
    let next = levels.next()
    while (!next.done) {
      const level = next.value
      next = levels.next()
      // If the server is slow, skips the levels that have passed: only the newest level that is due counts.
      if (!next.done && start + next.value.at <= performance.now()) {
        skippedAt ??= level.at
        continue
      }
      await pause(Math.max(0, start + level.at - performance.now()), signal)
      if (signal?.aborted) return
      const arrivals = (n: number): Arrivals => this.#arrivals(n, level, skippedAt)
      const reached = await this.#hold(level.connections, next.done ? lastEnd : start + next.value.at, arrivals)
      if (signal?.aborted) return
      if (!reached) {
        this.#report.stopped = 'nobody answers'
        return
      }
      skippedAt = undefined
    }
  }

  /**
   * Returns how the `n` connections arrive that a level lacks: evenly, from the first level that was skipped on. So
   * they are late by as much as the server has held them up.
   */
  #arrivals(n: number, level: Level, skippedAt = level.at): Arrivals {
    const { start, rate: maxRate = Number.POSITIVE_INFINITY } = this.#options
    const spread = level.at + spreadOf(this.#shape) - skippedAt
    const rate = Math.min(maxRate, spread > 0 ? (n / spread) * 1000 : Number.POSITIVE_INFINITY)
    return rate === Number.POSITIVE_INFINITY ? {} : { rate, start: start + skippedAt }
  }

  /**
   * Reaches a level and holds it until `end`. Connections that the server closes meanwhile are reported and opened
   * again, as its clients would do. Returns false if the server does not answer.
   */
  async #hold(connections: number, end: number, arrivals: (n: number) => Arrivals): Promise<boolean> {
    const { signal } = this.#options
    let reached = await this.#reach(connections, await this.#takeLost(), arrivals)
    while (reached && performance.now() + RECHECK < end) {
      await this.#wait(performance.now() + RECHECK)
      if (signal?.aborted) return true
      const lost = await this.#takeLost()
      if (total(lost) > 0) reached = await this.#reach(connections, lost)
    }
    if (reached) await this.#wait(end)
    return reached
  }

  /** Waits until a time, and replaces connections meanwhile. */
  async #wait(until: number): Promise<void> {
    const { churn = 0, signal } = this.#options
    if (churn === 0 || this.#open === 0) {
      this.#churn = undefined
      await pause(Math.max(0, until - performance.now()), signal)
      return
    }
    this.#churn ??= new Churn(churn, performance.now())
    const opened = await this.#churn.run(this.#crowd, until, signal)
    this.#open += opened.connected - opened.replaced
    addResult(this.#report, opened)
  }

  /** Opens or closes connections until `connections` are open. Returns false if the server does not answer. */
  async #reach(connections: number, lost: Causes, arrivals: (n: number) => Arrivals = () => ({})): Promise<boolean> {
    const { signal, onEvent } = this.#options
    let opened: Opened | null = null
    if (connections > this.#open) {
      const n = connections - this.#open
      opened = await this.#crowd.connect(n, signal, arrivals(n))
      this.#open += opened.connected
      addResult(this.#report, opened)
    } else if (connections < this.#open) {
      await this.#crowd.shrink(this.#open - connections)
      this.#open = connections
    }
    onEvent?.({ event: 'level', connections, open: this.#open, opened, lost })
    return opened?.connected !== 0 || this.#open > 0 || signal?.aborted === true
  }

  async #takeLost(): Promise<Causes> {
    const lost = await this.#crowd.takeAllLost()
    this.#open -= total(lost)
    addCauses(this.#report.lost, lost)
    return lost
  }
}

/**
 * A worker slot of a `Supervisor`: it holds one server process, and starts the next one when that process has ended.
 */
import { type ChildProcess, type ForkOptions, fork } from 'node:child_process'
import { codeOf, LabError } from '../units/errors.js'
import type { Mode, ServerEvents, ServerOptions } from './server.js'
import type { Count } from './totals.js'

/** The order to listen, sent to a server process that is ready. `settle`: release the memory of starting up first. */
export type ListenOrder = ServerOptions & { settle: boolean }

export type Released = Parameters<ServerEvents['released']>[0]

/** A message of a server process: `ready`, then `failed` or `listening`, then the other three any number of times. */
export type WorkerReport =
  | { report: 'ready' }
  | { report: 'failed'; code: string | undefined; message: string }
  | { report: 'listening' }
  | { report: 'count'; count: Count }
  | { report: 'released'; released: Released }
  | { report: 'warned'; code: string; message: string }

/** How a server process ended. */
export interface WorkerExit {
  /** Process id; 0 if the process could not be started. */
  pid: number
  exitCode: number | null
  signal: NodeJS.Signals | null
  /** The error that kept the process from starting or from listening. */
  failure: Error | undefined
}

/** Callbacks of a {@link WorkerSlot}. */
export interface WorkerSlotEvents {
  reported(slot: WorkerSlot, report: WorkerReport): void
  /** The slot is empty. The callback decides whether to call {@link WorkerSlot.restart}. */
  ended(slot: WorkerSlot, exit: WorkerExit): void
}

/** First delay before a restart, ms. The delay doubles with every restart. */
const FIRST_BACKOFF = 100
/** Longest delay before a restart, ms. */
const LONGEST_BACKOFF = 30_000
/** A process that has listened for this long, ms, resets the backoff. */
const STABLE_AFTER = 10_000

/**
 * Returns how a server process is started. In mode `park`, V8 gets one thread in place of four, and glibc's malloc one
 * arena for all threads. What the user has set for the supervisor counts. Mode `net` is Node as it is.
 */
function launchOptions(mode: Mode): ForkOptions {
  // Only one process can listen on the debugger's port.
  const execArgv = process.execArgv.filter((flag) => !flag.startsWith('--inspect'))
  if (mode === 'net') return { execArgv }
  return { execArgv: ['--v8-pool-size=1', ...execArgv], env: { MALLOC_ARENA_MAX: '1', ...process.env } }
}

export class WorkerSlot {
  /** Whether the process waits for the order to listen. */
  ready = false
  /** `performance.now()` at which the process began to listen; undefined if it does not. */
  listeningSince: number | undefined

  readonly #mode: Mode
  readonly #events: WorkerSlotEvents
  #child: ChildProcess | undefined
  #restartTimer: NodeJS.Timeout | undefined
  #backoff = FIRST_BACKOFF
  #failure: Error | undefined
  #lastSignal: NodeJS.Signals | null = null

  constructor(mode: Mode, events: WorkerSlotEvents) {
    this.#mode = mode
    this.#events = events
  }

  /** Process id of the server process; 0 if there is none. */
  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Whether a server process runs, or a restart is due. */
  get occupied(): boolean {
    return this.#child !== undefined || this.#restartTimer !== undefined
  }

  /** Starts a server process. A failure to start is reported by `ended`, never thrown. */
  start(): void {
    this.#restartTimer = undefined
    this.#failure = undefined
    let child: ChildProcess
    try {
      child = fork(new URL('./serve-child.cjs', import.meta.url), launchOptions(this.#mode))
    } catch (error) {
      // Reported later, as every other failure is.
      setImmediate(() => this.#onStartFailed(error as Error))
      return
    }
    this.#child = child
    child.on('message', (report: WorkerReport) => this.#onReport(report))
    child.on('error', (error) => {
      if (child.pid === undefined) this.#onStartFailed(error)
    })
    child.on('exit', (exitCode, signal) => this.#onExit({ pid: child.pid as number, exitCode, signal }))
  }

  /** Starts the next server process after the backoff. Returns the backoff, ms. */
  restart(): number {
    const wait = this.#backoff
    this.#backoff = Math.min(2 * wait, LONGEST_BACKOFF)
    this.#restartTimer = setTimeout(() => this.start(), wait)
    return wait
  }

  /** Orders the server process to listen, if it waits for that order. */
  listen(order: ListenOrder): void {
    if (!this.ready) return
    this.ready = false
    // If the process has just ended, sending fails and its `exit` event reports it.
    this.#child?.send(order, () => {})
  }

  /**
   * Sends a signal to the process. Cancels a pending restart if `final`, or if the same signal ended the last process.
   */
  kill(signal: NodeJS.Signals, final: boolean): void {
    // A process that failed to start has pid 0 until its `error` event, and `kill(0)` would signal our own process
    // group.
    if (this.pid !== 0) this.#child?.kill(signal)
    if (this.#restartTimer === undefined || !(final || this.#lastSignal === signal)) return
    clearTimeout(this.#restartTimer)
    this.#restartTimer = undefined
  }

  #onReport(report: WorkerReport): void {
    if (report.report === 'ready') this.ready = true
    if (report.report === 'listening') this.listeningSince = performance.now()
    if (report.report === 'failed')
      this.#failure = new LabError(report.message, report.code === undefined ? 'ERR_EBB_SERVER_ENDED' : codeOf(report))
    this.#events.reported(this, report)
  }

  #onStartFailed(cause: Error): void {
    const remedy = 'use fewer --procs, or raise the limits (ulimit -n, ulimit -u)'
    const text = `a server process cannot be started: ${cause.message}; ${remedy}`
    this.#failure = new LabError(text, codeOf(cause), (cause as NodeJS.ErrnoException).syscall, cause)
    this.#onExit({ pid: 0, exitCode: null, signal: null })
  }

  #onExit(exit: Omit<WorkerExit, 'failure'>): void {
    const { listeningSince } = this
    if (listeningSince !== undefined && performance.now() - listeningSince > STABLE_AFTER) this.#backoff = FIRST_BACKOFF
    this.#child = undefined
    this.#lastSignal = exit.signal
    this.ready = false
    this.listeningSince = undefined
    this.#events.ended(this, { ...exit, failure: this.#failure })
  }
}

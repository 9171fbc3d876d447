/**
 * `Supervisor`: runs several server processes on one port, restarts those that end, and reports them as one server.
 *
 * The kernel distributes connections among the processes (`SO_REUSEPORT`). The supervisor itself only reserves the
 * port. A server process that ends therefore loses its own connections and no others.
 */
import { release } from 'ebb/memory'
import { codeOf, LabError } from '../units/errors.js'
import { addressOf } from './address.js'
import { SERVE_DEFAULTS, type Served, type ServeOptions } from './options.js'
import { type HeldPort, holdPort } from './shared-port.js'
import { Totals } from './totals.js'
import { type Released, type WorkerExit, type WorkerReport, WorkerSlot } from './worker-slot.js'

/** Options of {@link Supervisor}. */
export interface SuperviseOptions extends ServeOptions {
  /** Number of server processes. */
  procs: number
}

/** Time for a server process to end after SIGTERM or SIGINT, ms. After that it is killed. */
const GRACE = 5000
/** Releases of several server processes within this time, ms, follow the same spike and become one event. */
const RELEASE_WINDOW = 250

/** Signals that end all server processes for good. */
const ENDING = new Set<NodeJS.Signals>(['SIGTERM', 'SIGINT'])

/**
 * Starts, watches and ends the server processes that share a port.
 *
 * ```ts
 * const supervisor = new Supervisor({ port: 3033, procs: 4 })
 * await supervisor.start()
 * process.on('SIGTERM', () => supervisor.pass('SIGTERM'))
 * await supervisor.ended
 * ```
 */
export class Supervisor implements Served {
  /** IP address that the servers listen on; the `host` of the options until {@link start} has resolved it. */
  host: string
  /** TCP port that the servers listen on; the `port` of the options until {@link start} has bound it. */
  port: number
  /**
   * Settles when no server process is left and none will be started. It resolves with the signal that ended the last
   * process if {@link pass} passed that signal on and it is neither SIGTERM nor SIGINT, else with null. It rejects with
   * the error that kept the servers from listening.
   */
  readonly ended: Promise<NodeJS.Signals | null>

  #resolve: (signal: NodeJS.Signals | null) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  readonly #options: Required<SuperviseOptions>
  readonly #totals: Totals<WorkerSlot>
  readonly #slots: readonly WorkerSlot[]
  readonly #passed = new Set<NodeJS.Signals>()
  #state: 'starting' | 'serving' | 'ending' | 'ended' = 'starting'
  #heldPort: HeldPort | undefined
  #failure: Error | undefined
  #onAllListen = () => {}
  #releases = 0
  #released: Released | undefined
  #releaseTimer: NodeJS.Timeout | undefined

  constructor(options: SuperviseOptions) {
    this.#options = { ...SERVE_DEFAULTS, ...options }
    this.host = this.#options.host
    this.port = this.#options.port
    this.#totals = new Totals(this.#options.every)
    const events = {
      reported: (slot: WorkerSlot, report: WorkerReport) => this.#onReport(slot, report),
      ended: (slot: WorkerSlot, exit: WorkerExit) => this.#onExit(slot, exit)
    }
    this.#slots = Array.from({ length: this.#options.procs }, () => new WorkerSlot(this.#options.mode, events))
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // A caller may await `ended` later; until then a rejection is not "unhandled".
    this.ended.catch(() => {})
  }

  /** Clients of all server processes, by their last reports. */
  get clients(): number {
    return this.#totals.clients
  }

  /**
   * Starts the server processes. Resolves when all of them listen, or when a signal or {@link close} ended them before.
   *
   * @throws SystemError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ... if the port cannot be bound; the error of
   *   `dns.lookup` (`ENOTFOUND`, `EAI_AGAIN`) if `host` cannot be resolved; LabError (`ERR_EBB_SERVER_ENDED`, or an
   *   errno such as `EMFILE`) if a server process cannot be started or ends before it listens
   */
  async start(): Promise<void> {
    const { mode, procs, onEvent } = this.#options
    this.host = await addressOf(this.host)
    if (this.#isOver()) return
    this.#heldPort = holdPort(this.host, this.port)
    this.port = this.#heldPort.port
    const allListen = new Promise<void>((resolve) => {
      this.#onAllListen = resolve
    })
    for (const slot of this.#slots) slot.start()
    await Promise.race([allListen, this.ended])
    // The supervisor releases the memory of starting up, as the server processes do.
    if (!this.#isOver()) await release()
    if (this.#isOver()) return
    this.#state = 'serving'
    onEvent({ event: 'listening', mode, host: this.host, port: this.port, pid: process.pid, procs })
    this.#emitTotals()
    // Servers may release memory, and have clients, before this process comes to say that they listen.
    if (this.#releaseTimer === undefined) this.#emitRelease()
  }

  /**
   * Passes a signal on to every server process. SIGTERM and SIGINT end them for good: a process that is still running 5
   * s later, or at the second such signal, is killed. A process that ends of any
   * other passed signal is not restarted.
   */
  pass(signal: NodeJS.Signals): void {
    if (this.#state === 'ended') return
    this.#passed.add(signal)
    if (!ENDING.has(signal)) {
      for (const slot of this.#slots) slot.kill(signal, false)
    } else if (this.#state === 'ending') {
      this.#endAll('SIGKILL')
    } else {
      setTimeout(() => this.#endAll('SIGKILL'), GRACE).unref()
      this.#endAll(signal)
    }
    this.#settleIfEmpty(signal)
  }

  /** Ends all server processes. Rejects like {@link ended}. */
  async close(): Promise<void> {
    if (!this.#isOver()) this.pass('SIGTERM')
    await this.ended
  }

  #endAll(signal: NodeJS.Signals): void {
    this.#state = 'ending'
    for (const slot of this.#slots) slot.kill(signal, true)
  }

  /** A method, not a comparison: the compiler does not see that `await` may change the state. */
  #isOver(): boolean {
    return this.#state === 'ending' || this.#state === 'ended'
  }

  #onReport(slot: WorkerSlot, report: WorkerReport): void {
    const { onEvent } = this.#options
    switch (report.report) {
      case 'ready':
        if (this.#state === 'serving') this.#listen(slot)
        // At the start, all processes begin to listen at once, so that a client that reaches one could reach all.
        else if (this.#slots.every(({ ready, listeningSince }) => ready || listeningSince !== undefined)) {
          for (const each of this.#slots) this.#listen(each)
        }
        break
      case 'listening':
        if (this.#state === 'serving') onEvent({ event: 'started', pid: slot.pid })
        else if (this.#slots.every(({ listeningSince }) => listeningSince !== undefined)) this.#onAllListen()
        break
      case 'count':
        if (this.#totals.count(slot, report.count) && this.#state !== 'starting') this.#emitTotals()
        break
      case 'released':
        this.#addRelease(report.released)
        break
      case 'warned':
        onEvent({ event: 'warning', code: report.code, text: `server ${slot.pid}: ${report.message}` })
    }
  }

  #listen(slot: WorkerSlot): void {
    const { mode, backlog } = this.#options
    // Mode `net` is the comparison with plain node:net, which releases nothing.
    slot.listen({ mode, host: this.host, port: this.port, backlog, reusePort: true, settle: mode === 'park' })
  }

  #onExit(slot: WorkerSlot, exit: WorkerExit): void {
    const { signal } = exit
    const clients = this.#totals.clientsOf(slot)
    const changed = this.#totals.end(slot)
    if (signal === null || !this.#passed.has(signal)) {
      if (this.#state === 'starting') this.#onExitAtStart(slot, exit)
      else if (this.#state === 'serving') this.#onExitWhileServing(slot, exit, clients)
    }
    if (changed) this.#emitTotals()
    this.#settleIfEmpty(signal)
  }

  /** Restarts a process that was killed before it listened. A process that ended by itself would end again. */
  #onExitAtStart(slot: WorkerSlot, { exitCode, signal, failure }: WorkerExit): void {
    if (signal !== null) slot.restart()
    else if (failure !== undefined) this.#fail(failure)
    else {
      const text = `a server process ended before it listened (exit code ${exitCode}): see what it printed above`
      this.#fail(new LabError(text, 'ERR_EBB_SERVER_ENDED'))
    }
  }

  /** Restarts the process, unless it could not listen and no other process does. */
  #onExitWhileServing(slot: WorkerSlot, { pid, exitCode, signal, failure }: WorkerExit, clients: number): void {
    const { onEvent } = this.#options
    if (failure !== undefined && !this.#slots.some(({ listeningSince }) => listeningSince !== undefined)) {
      this.#fail(failure)
      return
    }
    if (failure !== undefined) onEvent({ event: 'warning', code: codeOf(failure), text: failure.message })
    onEvent({ event: 'ended', pid, exitCode, signal, clients, wait: slot.restart() })
  }

  /** Ends all processes and rejects, because no server process can listen. */
  #fail(error: Error): void {
    this.#failure = error
    this.#endAll('SIGKILL')
  }

  #settleIfEmpty(signal: NodeJS.Signals | null): void {
    if (this.#state === 'ended' || this.#slots.some(({ occupied }) => occupied)) return
    this.#state = 'ended'
    this.#emitRelease()
    this.#heldPort?.close()
    const endedBySignal = signal !== null && this.#passed.has(signal) && !ENDING.has(signal)
    if (this.#failure !== undefined) this.#reject(this.#failure)
    else this.#resolve(endedBySignal ? signal : null)
  }

  #emitTotals(): void {
    this.#options.onEvent({ event: 'cycle', ...this.#totals.sum() })
  }

  /** Merges releases that happen at the same time: their memory is added up, and the longest times are kept. */
  #addRelease(released: Released): void {
    const sum = this.#released
    if (sum === undefined) {
      this.#released = { ...released }
      this.#releaseTimer = setTimeout(() => this.#emitRelease(), RELEASE_WINDOW)
      return
    }
    sum.before += released.before
    sum.after += released.after
    sum.ms = Math.max(sum.ms, released.ms)
    sum.pauseMs = Math.max(sum.pauseMs, released.pauseMs)
  }

  #emitRelease(): void {
    clearTimeout(this.#releaseTimer)
    this.#releaseTimer = undefined
    if (this.#released === undefined || this.#state === 'starting') return
    this.#options.onEvent({ event: 'release', release: ++this.#releases, ...this.#released })
    this.#released = undefined
  }
}

/**
 * One of the `--procs` processes of `ebb run`: the process that serves, its successor while there is one, and earlier
 * processes that have handed over and are ending.
 */
import { ProcessTree } from '../proc/process-tree.js'
import type { ErrorCode } from '../sys/error-codes.js'
import { Backoff } from './backoff.js'
import { MemoryFloor } from './memory-floor.js'
import type { RunOptions } from './options.js'
import { type Exit, ServerProcess } from './server-process.js'

/** What a slot needs of the supervisor, and what it reports. */
export interface SlotEvents {
  /** Returns the environment of a process, the path of the socket for its notifications, and descriptors for it. */
  prepare(slot: Slot): { environment: NodeJS.ProcessEnv; notifyPath: string; descriptors: readonly number[] }
  /** A process was started. */
  started(process: ServerProcess): void
  /** A process has ended. */
  ended(process: ServerProcess): void
  /** The slot's first process, or the first since a crash, serves. */
  ready(slot: Slot): void
  /** The slot is empty and starts no other process. */
  empty(slot: Slot): void
  /** The slot has restarted its process too often, or the command cannot be run. */
  exhausted(exit: Exit): void
  /** The memory of the process never fell below `maxMemory` within the window. */
  heavy(slot: Slot, floor: number): void
  /** Prints a line. */
  log(text: string, code?: ErrorCode): void
}

/** Doublings of the time between takeovers that have not brought the memory below the limit. */
const MOST_VAIN_TAKEOVERS = 8

/**
 * How long (ms) after the end of a successor the process before it may still report that it has handed over: it was
 * blocked until then.
 */
const LATE_REPORT = 5000

/** Runs one process after the other. */
export class Slot {
  /** From 1 on. */
  readonly number: number
  /** How the last process of the slot ended; undefined while none has. */
  lastExit: Exit | undefined
  readonly #options: RunOptions
  readonly #events: SlotEvents
  readonly #backoff = new Backoff()
  readonly #floor: MemoryFloor
  #current: ServerProcess | undefined
  #successor: ServerProcess | undefined
  /** Processes that have handed over. */
  readonly #former = new Set<ServerProcess>()
  #isEnding = false
  /** Whether a process of this slot has run at all: if not, the command is wrong. */
  #hasRun = false
  /** Whether the process that is ending is to be started again at once. */
  #isRestartAsked = false
  /** The last successor that ended before it was ready. */
  #lost: { process: ServerProcess; exit: Exit; at: number } | undefined
  /** Whether the successor is killed because it was not ready in time. */
  #isLate = false
  #restartTimer: NodeJS.Timeout | undefined
  #successorTimer: NodeJS.Timeout | undefined
  #memoryTimer: NodeJS.Timeout | undefined
  /** Takeovers in a row that have not brought the memory below the limit, and windows until the next one. */
  #vainTakeovers = 0
  #windowsToSkip = 0
  /** Settles the promise of {@link replace}. */
  #onReplaced: ((done: boolean) => void) | undefined

  constructor(number: number, options: RunOptions, events: SlotEvents) {
    this.number = number
    this.#options = options
    this.#events = events
    this.#floor = new MemoryFloor(options.memoryWindow)
  }

  /** Whether its process serves. */
  get isReady(): boolean {
    // Without a handover, nothing says when a program is ready.
    return (this.#current?.pid ?? 0) !== 0 && (this.#current?.isReady === true || !this.#options.handover)
  }

  /** Whether it has no process and starts none. */
  get isOver(): boolean {
    return this.#isEnding && this.processes.length === 0
  }

  /** All of its processes that run. */
  get processes(): ServerProcess[] {
    return [this.#current, this.#successor, ...this.#former].filter((process) => process !== undefined)
  }

  /** Starts the process. */
  start(): void {
    if (this.#isEnding) return
    this.#current = this.#launch()
    if ((this.#current?.pid ?? 0) !== 0) this.#events.log(`started process ${this.#current?.pid}`)
    if (this.#current !== undefined && this.isReady) this.#events.ready(this)
    if (this.#options.maxMemory !== undefined) {
      this.#memoryTimer ??= setInterval(() => this.#measure(), this.#floor.every)
    }
  }

  /**
   * Starts a successor. Resolves with true when it has taken over, and with false if it has ended before, or has not
   * been ready in time. A process that is not ready yet has nothing to hand over and is restarted.
   */
  replace(): Promise<boolean> {
    const current = this.#current
    // Between two restarts, a fresh process is about to start anyway.
    if (this.#isEnding || current === undefined) return Promise.resolve(true)
    if (!current.isReady) {
      const { pid } = current
      this.#events.log(
        `process ${pid} is not ready, so it is restarted: a process is ready when handover() has resolved`
      )
      this.#isRestartAsked = true
      current.end('SIGTERM', this.#options.killAfter)
      return Promise.resolve(true)
    }
    return new Promise((resolve) => {
      this.#onReplaced = resolve
      this.#successor = this.#launch()
      if (this.#successor === undefined) {
        this.#settle(false)
        return
      }
      this.#events.log(`process ${this.#successor.pid} is to take over from process ${current.pid}`)
      this.#successorTimer = setTimeout(() => this.#onLate(), this.#options.readyTimeout)
    })
  }

  /** Passes a signal on to the processes. */
  pass(signal: NodeJS.Signals): void {
    for (const process of this.processes) process.signal(signal)
  }

  /** Starts no more processes. The one that serves goes on. */
  retire(): void {
    this.#isEnding = true
    clearTimeout(this.#restartTimer)
    clearInterval(this.#memoryTimer)
    // A successor that has nothing yet need not be waited for.
    if (this.#current?.hasHandedOver === false) this.#successor?.kill()
  }

  /** Ends all processes for good. */
  end(signal: NodeJS.Signals): void {
    this.retire()
    for (const process of this.processes) process.end(signal, this.#options.killAfter)
    this.#tellIfEmpty()
  }

  /** Kills all processes. */
  kill(): void {
    for (const process of this.processes) process.kill()
  }

  #launch(): ServerProcess | undefined {
    try {
      const { environment, notifyPath, descriptors } = this.#events.prepare(this)
      const process = new ServerProcess(this.#options.command, environment, notifyPath, descriptors, {
        ready: (ready) => this.#onReady(ready),
        handedOver: (former) => this.#onHandedOver(former),
        stopping: (stopping) => this.#onStopping(stopping),
        ended: (ended, exit) => this.#onEnd(ended, exit),
        killed: ({ pid }) =>
          this.#events.log(`process ${pid} did not end within ${seconds(this.#options.killAfter)}: killing it`)
      })
      if (process.pid !== 0) {
        this.#hasRun = true
        this.#events.started(process)
      }
      return process
    } catch (error) {
      // No descriptor is left, or the folder of the sockets is gone.
      const exit = { code: null, signal: null, error: error as NodeJS.ErrnoException }
      if (this.#current === undefined) queueMicrotask(() => this.#restart(exit, 0))
      else this.#events.log(`the successor cannot be started: ${(error as Error).message}`, 'ERR_EBB_RUN_SUCCESSOR')
      return undefined
    }
  }

  #onReady(process: ServerProcess): void {
    if (process === this.#successor) this.#promote(process)
    else if (process === this.#current && this.#options.handover) {
      this.#logReady(process)
      this.#events.ready(this)
    }
  }

  /** The successor serves from now on. The process before it gets time for the connections that are still awake. */
  #promote(successor: ServerProcess): void {
    const former = this.#current
    this.#current = successor
    this.#successor = undefined
    this.#floor.clear()
    if (former !== undefined) {
      this.#events.log(
        `process ${successor.pid} has taken over from process ${former.pid} in ${seconds(successor.age)}`
      )
      this.#dismiss(former)
    } else this.#logReady(successor)
    this.#settle(true)
    this.#events.ready(this)
  }

  #logReady({ pid, age }: ServerProcess): void {
    this.#events.log(`process ${pid} is ready after ${seconds(age)}`)
  }

  /** Ends a process that has handed over, when the connections that are still awake have had their time. */
  #dismiss(former: ServerProcess): void {
    this.#former.add(former)
    if (former.isStopping) former.end('SIGTERM', this.#options.killAfter)
    else setTimeout(() => former.end('SIGTERM', this.#options.killAfter), this.#options.grace).unref()
  }

  #onHandedOver(process: ServerProcess): void {
    if (process !== this.#current || this.#successor !== undefined || this.#isEnding) return
    // With a fixed `--dir`, it may have handed over to a process of another `ebb run`.
    if (this.#lost !== undefined && performance.now() - this.#lost.at < LATE_REPORT) this.#replaceLost(this.#lost)
  }

  /** Starts a process in place of a successor that has ended with the servers. */
  #replaceLost({ process, exit }: { process: ServerProcess; exit: Exit }): void {
    const former = this.#current
    this.#current = undefined
    this.#lost = undefined
    this.#floor.clear()
    if (former !== undefined) this.#dismiss(former)
    this.#restart(exit, process.age, process.pid)
  }

  #onStopping(process: ServerProcess): void {
    // With a fixed `--dir`, the process may have handed over to one of another `ebb run`.
    if (process === this.#successor || (process === this.#current && this.#successor !== undefined)) return
    process.end('SIGTERM', this.#options.killAfter)
  }

  #onLate(): void {
    this.#isLate = true
    const { readyTimeout } = this.#options
    const text = `process ${this.#successor?.pid} was not ready within ${seconds(readyTimeout)} and is killed: its program must call handover()`
    this.#events.log(`${text}; ${this.#whoServes()}`, 'ERR_EBB_RUN_SUCCESSOR')
    this.#successor?.kill()
  }

  #onEnd(process: ServerProcess, exit: Exit): void {
    this.#events.ended(process)
    if (this.#former.delete(process)) {
      if (!this.#isEnding) this.#events.log(`process ${process.pid} has ended after its handover`)
    } else if (process === this.#successor) this.#onSuccessorEnd(process, exit)
    else if (process === this.#current) this.#onCurrentEnd(process, exit)
    this.#tellIfEmpty()
  }

  #onSuccessorEnd(process: ServerProcess, exit: Exit): void {
    this.#successor = undefined
    if (!this.#isEnding && !this.#isLate) {
      const text = `process ${process.pid} ${howEnded(exit)} before it was ready`
      this.#events.log(`${text}; ${this.#whoServes()}`, 'ERR_EBB_RUN_SUCCESSOR')
    }
    this.#isLate = false
    this.#lost = { process, exit, at: performance.now() }
    if (!this.#isEnding && this.#current?.hasHandedOver !== false) this.#replaceLost(this.#lost)
    this.#settle(false)
  }

  #onCurrentEnd(process: ServerProcess, exit: Exit): void {
    this.#current = undefined
    this.lastExit = process.isStopping && exit.signal === 'SIGTERM' ? { code: 0, signal: null } : exit
    this.#floor.clear()
    if (this.#isEnding) return
    if (this.#successor !== undefined && process.hasHandedOver) {
      // Its successor has the servers, and is about to be ready.
      this.#events.log(`process ${process.pid} has ended after its handover`)
    } else if (this.#successor !== undefined) {
      const text = `process ${process.pid} ${howEnded(exit)} before it had handed over`
      this.#events.log(`${text}; process ${this.#successor.pid} takes its place`)
      this.#current = this.#successor
      this.#successor = undefined
      this.#settle(true)
    } else if (this.#isRestartAsked) {
      this.#isRestartAsked = false
      this.start()
    } else if (exit.code === 0 || process.isStopping) {
      this.#events.log(`process ${process.pid} ${howEnded(exit)} and is not restarted`)
      this.#isEnding = true
      clearInterval(this.#memoryTimer)
    } else this.#restart(exit, process.age, process.pid)
  }

  #restart(exit: Exit, ran: number, pid = 0): void {
    if (this.#isEnding) return
    const who = pid === 0 ? 'a process' : `process ${pid}`
    const after = ran >= 1 ? ` after ${seconds(ran)}` : ''
    const delay = this.#backoff.next(ran)
    if (this.#backoff.restarts > this.#options.maxRestarts || !this.#hasRun) {
      if (this.#hasRun) this.#events.log(`${who} ${howEnded(exit)}${after}`)
      this.#isEnding = true
      this.#events.exhausted(exit)
      return
    }
    const when = delay === 0 ? 'at once' : `in ${seconds(delay)}`
    this.#events.log(`${who} ${howEnded(exit)}${after}; restarting ${when}`)
    this.#restartTimer = setTimeout(() => this.start(), delay)
  }

  #settle(done: boolean): void {
    clearTimeout(this.#successorTimer)
    this.#onReplaced?.(done)
    this.#onReplaced = undefined
  }

  #whoServes(): string {
    const { pid = 0, hasHandedOver = true } = this.#current ?? {}
    return hasHandedOver ? 'no process serves' : `process ${pid} serves on`
  }

  #tellIfEmpty(): void {
    if (this.isOver) this.#events.empty(this)
  }

  /** Reads the memory of the process and its descendants: the command may be a shell or npm. */
  #measure(): void {
    const { maxMemory = Number.POSITIVE_INFINITY } = this.#options
    if (this.#current === undefined || this.#successor !== undefined) return
    try {
      const floor = this.#floor.add(memoryOf(this.#current.pid))
      if (floor !== undefined) this.#onFloor(floor, maxMemory)
    } catch {
      // It is ending, which is reported elsewhere.
    }
  }

  /** Asks for a takeover. If a fresh process needs as much memory, the next takeover comes later and later. */
  #onFloor(floor: number, maxMemory: number): void {
    if (floor < maxMemory) {
      this.#vainTakeovers = 0
      this.#windowsToSkip = 0
      return
    }
    this.#floor.clear()
    if (this.#windowsToSkip-- > 0) return
    this.#vainTakeovers = Math.min(this.#vainTakeovers + 1, MOST_VAIN_TAKEOVERS)
    this.#windowsToSkip = 2 ** this.#vainTakeovers - 1
    this.#events.heavy(this, floor)
  }
}

/** Formats a time for people. */
export function seconds(ms: number): string {
  return `${Number((ms / 1000).toPrecision(ms < 1000 ? 1 : 3))} s`
}

/** Says how a process ended, as the end of a sentence. */
function howEnded({ code, signal, error }: Exit): string {
  if (error !== undefined) return `could not be started (${error.message})`
  return signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`
}

/**
 * Returns the anonymous memory of a process and of those that it started, swapped or not, in bytes.
 *
 * @throws {ProcessError} if it has ended
 */
function memoryOf(pid: number): number {
  const tree = new ProcessTree(pid)
  try {
    const { anonymous, swapped } = tree.status()
    return anonymous + swapped
  } finally {
    tree.close()
  }
}

/** One process that `ebb run` has started. */
import { type ChildProcess, spawn } from 'node:child_process'
import { HANDED_OVER, NotifySocket } from '../sys/notify.js'
import { hasGroup, signalGroup, signalProcess } from './signals.js'

/** How a process ended. Exactly one of the fields is set. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  /** The process could not be started. */
  error?: NodeJS.ErrnoException | undefined
}

/** What a process reports, and when it ends. */
export interface ProcessEvents {
  /** It serves: it has sent `READY=1`. Called once. */
  ready(process: ServerProcess): void
  /** Its successor has its servers. Called once. */
  handedOver(process: ServerProcess): void
  /** It has handed over everything, or is ending: it has sent `STOPPING=1`. Called once. */
  stopping(process: ServerProcess): void
  /** It has ended, or could not be started. Called once, and last. */
  ended(process: ServerProcess, exit: Exit): void
  /** It was killed because it had not ended in time. */
  killed(process: ServerProcess): void
}

/** A process, in a process group of its own, with a socket for its notifications. */
export class ServerProcess {
  /** Process id; 0 if it could not be started. */
  readonly pid: number
  /** `performance.now()` at its start. */
  readonly startedAt = performance.now()
  /** Whether it has sent `READY=1`. */
  isReady = false
  /** Whether its successor has its servers. */
  hasHandedOver = false
  /** Whether it has sent `STOPPING=1`. */
  isStopping = false
  /** Whether it has ended. */
  hasEnded = false
  readonly #child: ChildProcess
  readonly #notifications: NotifySocket
  readonly #events: ProcessEvents
  #killTimer: NodeJS.Timeout | undefined

  /**
   * Starts the process.
   *
   * @param notifyPath path of the socket for its notifications
   * @param descriptors of this process that the new one gets, with the same numbers: 3 and following
   * @throws {SystemError} if that socket cannot be made
   */
  constructor(
    command: readonly string[],
    environment: NodeJS.ProcessEnv,
    notifyPath: string,
    descriptors: readonly number[],
    events: ProcessEvents
  ) {
    this.#events = events
    this.#notifications = new NotifySocket(notifyPath, (fields) => this.#onNotification(fields))
    const [program = '', ...args] = command
    // A group of its own: Ctrl-C in a terminal reaches `ebb run` alone, which passes it on once.
    this.#child = spawn(program, args, {
      env: { ...environment, NOTIFY_SOCKET: notifyPath },
      stdio: ['inherit', 'inherit', 'inherit', ...descriptors],
      detached: true
    })
    this.pid = this.#child.pid ?? 0
    this.#child.on('error', (error) => {
      if (this.pid === 0) this.#onEnd({ code: null, signal: null, error })
    })
    this.#child.on('exit', (code, signal) => this.#onEnd({ code, signal }))
  }

  /** Time since its start, ms. */
  get age(): number {
    return performance.now() - this.startedAt
  }

  /** Sends a signal to the process, not to its children. */
  signal(signal: NodeJS.Signals): void {
    if (!this.hasEnded) signalProcess(this.pid, signal)
  }

  /** Sends a signal that ends the process, and kills its group if it still runs after `killAfter` ms. */
  end(signal: NodeJS.Signals, killAfter: number): void {
    if (this.hasEnded) return
    this.signal(signal)
    this.#killTimer ??= setTimeout(() => {
      this.#events.killed(this)
      this.kill()
    }, killAfter)
  }

  /** Kills the process and its group. */
  kill(): void {
    if (!this.hasEnded) signalGroup(this.pid, 'SIGKILL')
  }

  #onNotification(fields: Map<string, string>): void {
    if (fields.get('READY') === '1' && !this.isReady) {
      this.isReady = true
      this.#events.ready(this)
    }
    if (fields.get(HANDED_OVER) === '1' && !this.hasHandedOver) {
      this.hasHandedOver = true
      this.#events.handedOver(this)
    }
    if (fields.get('STOPPING') === '1' && !this.isStopping) {
      this.isStopping = true
      this.#events.stopping(this)
    }
  }

  #onEnd(exit: Exit): void {
    if (this.hasEnded) return
    this.hasEnded = true
    clearTimeout(this.#killTimer)
    // What it sent last is read before its end is reported.
    this.#notifications.drain()
    this.#notifications.close()
    // A shell or npm may leave the server that it started: it would hold the port.
    if (hasGroup(this.pid)) signalGroup(this.pid, 'SIGTERM')
    this.#events.ended(this, exit)
  }
}

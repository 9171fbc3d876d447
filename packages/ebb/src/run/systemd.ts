/** Reports the state of `ebb run` to systemd, or to another supervisor that has set `NOTIFY_SOCKET`. */
import { E } from '../sys/constants.js'
import type { ErrorCode } from '../sys/error-codes.js'
import { errorName } from '../sys/errors.js'
import { notify, notifyPath } from '../sys/notify.js'

/** Time before a notification is sent again that the service manager has not had room for, ms. */
const RETRY = 50

/** First descriptor that systemd passes: see sd_listen_fds(3). */
const FIRST_PASSED = 3
/** More descriptors than any unit passes. */
const MOST_PASSED = 1024

/**
 * Returns the descriptors that systemd has passed to this process, such as the sockets of a socket unit. Each process
 * of `ebb run` gets them with the same numbers.
 */
export function passedDescriptors({ LISTEN_FDS: count, LISTEN_PID: pid }: NodeJS.ProcessEnv): number[] {
  const length = Number(count)
  // A parent of this process may have had descriptors of its own.
  if (Number(pid) !== process.pid || !Number.isSafeInteger(length) || length < 1 || length > MOST_PASSED) return []
  return Array.from({ length }, (_, index) => FIRST_PASSED + index)
}

/** Sends notifications in order. Does nothing without `NOTIFY_SOCKET`. */
export class SystemdReporter {
  readonly #socket: string | undefined
  readonly #log: (text: string, code: ErrorCode) => void
  readonly #waiting: string[] = []
  #timer: NodeJS.Timeout | undefined
  #watchdog: NodeJS.Timeout | undefined
  #hasFailed = false

  /** @param environment of this process: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID` */
  constructor(environment: NodeJS.ProcessEnv, log: (text: string, code: ErrorCode) => void) {
    this.#log = log
    const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = environment
    if (socket === undefined || socket === '') return
    if (notifyPath(socket) === undefined) this.#fail(`NOTIFY_SOCKET=${socket} is not a Unix socket`)
    else this.#socket = socket
    const watchdog = Number(usec) / 1000
    if (watchdog > 0 && (pid === undefined || pid === '' || Number(pid) === process.pid)) {
      // Half of the time, as sd_watchdog_enabled(3) recommends.
      this.#watchdog = setInterval(() => this.send('WATCHDOG=1'), watchdog / 2)
      this.#watchdog.unref()
    }
  }

  /** All processes serve: at the start, and after a reload. */
  ready(): void {
    this.send(`READY=1\nMAINPID=${process.pid}`)
  }

  /** Successors are about to take over. */
  reloading(): void {
    // systemd drops a READY=1 that is older than the reload that it waits for.
    this.send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`)
  }

  /** The processes are ending. */
  stopping(): void {
    this.send('STOPPING=1')
  }

  /** Sets the text that `systemctl status` shows. */
  status(text: string): void {
    this.send(`STATUS=${text.replaceAll('\n', ' ')}`)
  }

  /** Sends lines `NAME=value`. */
  send(state: string): void {
    if (this.#socket === undefined) return
    this.#waiting.push(state)
    this.#flush()
  }

  /** Stops sending. */
  close(): void {
    clearInterval(this.#watchdog)
    clearTimeout(this.#timer)
  }

  #flush(): void {
    clearTimeout(this.#timer)
    while (this.#waiting.length > 0) {
      const errno = notify(this.#waiting[0] as string, this.#socket)
      if (errno === E.EAGAIN) {
        this.#timer = setTimeout(() => this.#flush(), RETRY)
        return
      }
      this.#waiting.shift()
      if (errno !== 0) this.#fail(`${this.#socket} does not take notifications (${errorName(errno)})`)
    }
  }

  #fail(text: string): void {
    if (!this.#hasFailed) this.#log(`systemd is not told of the state: ${text}`, 'ERR_EBB_RUN_NOTIFY')
    this.#hasFailed = true
  }
}

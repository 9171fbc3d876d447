/** Reports the state of `ebb run` to systemd, or to another supervisor that has set `NOTIFY_SOCKET`. */
import { setTimeout as wait } from 'node:timers/promises'
import { E } from '../sys/constants.js'
import type { ErrorCode } from '../sys/error-codes.js'
import { errorName, systemError } from '../sys/errors.js'
import { notify, notifyPath } from '../sys/notify.js'

/** How long this process waits at its end until systemd has read its notifications, ms. */
const PATIENCE = 2000
/** Time before a notification is sent again that the service manager has not had room for, ms. */
const RETRY = 50

/** First descriptor that systemd passes: see sd_listen_fds(3). */
const FIRST_PASSED = 3
/** More descriptors than any unit passes. */
const MOST_PASSED = 1024

/** A descriptor that systemd has passed to this process. */
export interface Passed {
  fd: number
  /** Its name in `LISTEN_FDNAMES`; empty if it has none. */
  name: string
}

/** Returns what systemd has passed to this process: sockets of a socket unit, and what it has stored. */
export function passedDescriptors({ LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES = '' }: NodeJS.ProcessEnv): Passed[] {
  const length = Number(LISTEN_FDS)
  // A parent of this process may have had descriptors of its own.
  if (Number(LISTEN_PID) !== process.pid || !Number.isSafeInteger(length) || length < 1 || length > MOST_PASSED)
    return []
  const names = LISTEN_FDNAMES.split(':')
  return Array.from({ length }, (_, index) => ({ fd: FIRST_PASSED + index, name: names[index] ?? '' }))
}

/** Sends notifications in order. Does nothing without `NOTIFY_SOCKET`. */
export class SystemdReporter {
  readonly #socket: string | undefined
  readonly #log: (text: string, code: ErrorCode) => void
  readonly #waiting: { state: string; descriptors: readonly number[] }[] = []
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

  /** Whether there is a service manager. */
  get isThere(): boolean {
    return this.#socket !== undefined
  }

  /**
   * Has systemd keep a duplicate of a descriptor over a restart of the service. The descriptor must stay open until
   * {@link flushed}.
   */
  store(name: string, fd: number): void {
    // Without FDPOLL=0, systemd would drop a socket whose other end is closed.
    this.send(`FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`, [fd])
  }

  /** Has systemd close all stored descriptors with a name. */
  removeStored(name: string): void {
    this.send(`FDSTOREREMOVE=1\nFDNAME=${name}`)
  }

  /** Sends lines `NAME=value`, with descriptors. */
  send(state: string, descriptors: readonly number[] = []): void {
    if (this.#socket === undefined) return
    this.#waiting.push({ state, descriptors })
    this.#flush()
  }

  /** Resolves when systemd has got all notifications; rejects if it does not read them for too long. */
  async flushed(): Promise<void> {
    const deadline = performance.now() + PATIENCE
    while (this.#waiting.length > 0) {
      if (performance.now() >= deadline) throw systemError('sendmsg', E.ETIMEDOUT, this.#socket)
      await wait(RETRY)
    }
  }

  /** Stops sending. */
  close(): void {
    clearInterval(this.#watchdog)
    clearTimeout(this.#timer)
  }

  #flush(): void {
    clearTimeout(this.#timer)
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const errno = notify(next.state, this.#socket, next.descriptors)
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

/** What recording one server and recording a box have in common: the clock, the sinks, and the wait for an exit. */
import { KernelMemory } from 'ebb/memory'
import type { Exit } from '../process/launch.js'
import { messageOf } from '../units/errors.js'

/** Where the lines of a recording go. */
export interface Sink<Line> {
  write(line: Line): void
  close(): void
}

/** Time for a caller to report how a process ended, once the process is seen to have ended, ms. */
const EXIT_TIMEOUT = 2000

/** The clock of a recording and the sinks that its lines go to. Times never fall from one line to the next. */
export class Session<Line extends { t: number }> {
  readonly #sinks: readonly Sink<Line>[]
  readonly #onFailure: (error: unknown) => void
  readonly #start = performance.now()
  #lastTime = 0
  #fixedTime: number | undefined
  #isEnded = false

  /** @param onFailure called with the error of a sink; is to end the session */
  constructor(sinks: readonly Sink<Line>[], onFailure: (error: unknown) => void) {
    this.#sinks = sinks
    this.#onFailure = onFailure
  }

  /** Whether {@link end} was called: nothing more is written. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  /** The time of the last line, ms. */
  get lastTime(): number {
    return this.#lastTime
  }

  /** Returns the milliseconds since the session began, by a monotonic clock. */
  now(): number {
    // Thousandths are finer than anything that is timed here, and take half the space in the file.
    return Math.round((performance.now() - this.#start) * 1000) / 1000
  }

  /** Returns the time for a line that is written now: the present, but not before the last line. */
  time(): number {
    this.#lastTime = this.#fixedTime ?? Math.max(this.#lastTime, this.now())
    return this.#lastTime
  }

  /** Calls a function with the present time. All lines that are written within the call get this time. */
  atOneTime<T>(call: (t: number) => T): T {
    const before = this.#fixedTime
    this.#fixedTime = undefined
    this.#fixedTime = this.time()
    try {
      return call(this.#fixedTime)
    } finally {
      this.#fixedTime = before
    }
  }

  /** Writes a line to every sink. Returns false if the session has ended or a sink failed. */
  write(line: Line): boolean {
    if (this.#isEnded) return false
    try {
      for (const sink of this.#sinks) sink.write(line)
    } catch (error) {
      this.#onFailure(error)
      return false
    }
    return true
  }

  /** Ends the session: nothing more is written. Does not close the sinks. */
  end(): void {
    this.#isEnded = true
  }
}

/** Waits up to 2 s for a process that was seen to have ended to report how. Resolves with null if it is not known. */
export async function exitReport(exited: Promise<Exit | null>): Promise<Exit | null> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, EXIT_TIMEOUT, null)
  })
  const exit = await Promise.race([exited, timeout])
  clearTimeout(timer)
  return exit
}

/**
 * Opens the counters of socket memory in the kernel. Returns null if they cannot be read.
 *
 * @param pid a process of the network namespace to look at; default: this process's own
 * @param onError called with the reason
 */
export function openKernelMemory(pid?: number, onError = (_: string) => {}): KernelMemory | null {
  try {
    return new KernelMemory(pid)
  } catch (error) {
    onError(messageOf(error))
    return null
  }
}

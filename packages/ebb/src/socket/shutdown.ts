/** A graceful end of a server: what it waits for, and for how long. */
import { checkObject } from '../sys/arguments.js'
import { milliseconds } from '../sys/duration.js'
import { invalidArgument, shown } from '../sys/errors.js'
import { batchSoon } from '../sys/node/callback-scope.js'
import { warnOfUnknown } from '../sys/unknown.js'

/** Options of `shutdown()`. */
export interface ShutdownOptions {
  /**
   * How long open connections may go on: milliseconds, or a string with a unit (`'500ms'`, `'10s'`, `'1m'`). 0: they
   * are closed at once. Default: `'10s'`.
   */
  grace?: number | string
  /** Ends the grace when it aborts, for example at a second SIGTERM. Default: none. */
  signal?: AbortSignal
}

/** What happened to the connections of a server that was shut down. `finished`, `idle` and `cut` add up to all. */
export interface ShutdownReport {
  /** Connections that waited in the accept queue, and were taken from it. */
  drained: number
  /** Connections that ended within the grace, by either side. */
  finished: number
  /** Connections that were closed when the grace was over, with nothing in progress on them. */
  idle: number
  /** Connections that were closed when the grace was over, in the middle of something. */
  cut: number
  /** Milliseconds from the call to the last connection's end. */
  ms: number
}

/** The server that is shut down. */
export interface ShutdownHost {
  /** Number of open connections. */
  readonly clients: number
  /** Takes the connections of the accept queue, and stops listening. @returns how many were taken */
  stop(): number
  /** Returns a promise that resolves when the server is closed and has no connections. */
  closed(): Promise<void>
  /** Closes all connections. */
  closeAll(): Pick<ShutdownReport, 'idle' | 'cut'>
}

/** Names of the options of `shutdown()`. */
const OPTIONS = Object.keys({ grace: 0, signal: 0 } satisfies Record<keyof ShutdownOptions, 0>)
/** Default of `grace`, in ms. */
const GRACE = 10_000

/**
 * Shuts a server down. Must be called once for each server that listens: the caller keeps the promise.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid; then the server goes on
 */
export function shutDown(host: ShutdownHost, options: ShutdownOptions = {}): Promise<ShutdownReport> {
  checkObject(options, 'options of shutdown()')
  warnOfUnknown(options, OPTIONS, 'shutdown()')
  const { grace = GRACE, signal } = options
  const ms = grace === 0 ? 0 : milliseconds(grace, 'grace')
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidArgument(`signal must be an AbortSignal, not ${shown(signal)}`)
  }
  return wait(host, ms, signal)
}

async function wait(host: ShutdownHost, grace: number, signal: AbortSignal | undefined): Promise<ShutdownReport> {
  const start = performance.now()
  // Before the server stops, because it may have closed in the same turn.
  const drained = host.stop()
  const closed = host.closed()
  const clients = host.clients
  let ended = { idle: 0, cut: 0 }
  const over = new Grace(grace, signal)
  if (await Promise.race([closed.then(() => false), over.promise])) ended = await closeAll(host)
  over.cancel()
  await closed
  const ms = Math.round(performance.now() - start)
  return { drained, finished: clients - ended.idle - ended.cut, ...ended, ms }
}

/** Closes all connections in a callback of its own, so that the listeners of each run with their ticks. */
function closeAll(host: ShutdownHost): Promise<Pick<ShutdownReport, 'idle' | 'cut'>> {
  return new Promise((resolve) => {
    batchSoon(() => resolve(host.closeAll()))
  })
}

/** The time that connections have. It does not keep the process running: the connections do. */
class Grace {
  /** Resolves to true when the time is over, or the signal aborts. */
  readonly promise: Promise<true>
  readonly #signal: AbortSignal | undefined
  #timer: NodeJS.Timeout | undefined
  #onAbort = (): void => {}

  constructor(ms: number, signal: AbortSignal | undefined) {
    this.#signal = signal
    this.promise = new Promise((resolve) => {
      this.#onAbort = () => resolve(true)
      if (ms === 0 || signal?.aborted) resolve(true)
      // setTimeout takes at most 2^31 - 1 ms.
      else this.#timer = setTimeout(this.#onAbort, Math.min(ms, 2 ** 31 - 1)).unref()
      signal?.addEventListener('abort', this.#onAbort, { once: true })
    })
  }

  cancel(): void {
    clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }
}

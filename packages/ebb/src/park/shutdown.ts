/** `shutdown()` of a parked server. */
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { type ShutdownHost, type ShutdownOptions, type ShutdownReport, shutDown } from '../socket/shutdown.js'
import { countIdle, endAfterResponses } from './node/http.js'
import { type ServerInternals, sessionsOf } from './node/server.js'
import type { Parking } from './parking.js'
import { isHttp, isHttp2 } from './protocol/kind.js'

/** Turns of the event loop within which the sockets of a closed server emit `close`. */
const CLOSE_TURNS = 3

/** Shuts a parked server down: see {@link Parked.shutdown}. */
export class ParkedShutdown implements ShutdownHost {
  readonly #server: ServerInternals
  readonly #parking: Parking
  readonly #isHttp: boolean
  readonly #sessions: ReturnType<typeof sessionsOf>
  /** The promise of a shutdown that goes on. */
  #current: Promise<ShutdownReport> | undefined
  #closed: Promise<void> = Promise.resolve()

  constructor(server: ServerInternals, parking: Parking) {
    this.#server = server
    this.#parking = parking
    this.#isHttp = isHttp(server)
    this.#sessions = isHttp2(server) ? sessionsOf(server) : new Set()
  }

  /** @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid */
  start(options?: ShutdownOptions): Promise<ShutdownReport> {
    this.#current ??= shutDown(this, options).finally(() => {
      this.#current = undefined
    })
    return this.#current
  }

  get clients(): number {
    return this.#parking.clients
  }

  stop(): number {
    const server = this.#server
    const wasOpen = server.listening || this.clients > 0
    this.#closed = wasOpen ? this.#close() : Promise.resolve()
    if (this.#isHttp) void this.#closed.then(endAfterResponses(server))
    this.#parking.upgrades.goAway()
    if (!server.listening) return 0
    const drained = this.#parking.drain()
    // Idle connections stay open for the grace, because a request may be under way on each.
    this.#parking.keepsIdle = true
    try {
      server.close()
    } finally {
      this.#parking.keepsIdle = false
    }
    for (const session of this.#sessions) session.close()
    return drained
  }

  /** Waits until the server is closed, and its sockets have emitted `close`: they may do so a little later. */
  async #close(): Promise<void> {
    await once(this.#server, 'close')
    for (let turns = 0; turns < CLOSE_TURNS && this.clients > 0; turns++) await setImmediate()
  }

  closed(): Promise<void> {
    return this.#closed
  }

  closeAll(): Pick<ShutdownReport, 'idle' | 'cut'> {
    return this.#parking.access.closeAll(this.#isHttp ? countIdle(this.#server) : 0)
  }
}

/** `serve()`: the server of the experiment. It accepts connections, drops what they send and reports its memory. */
import { runtimeView } from 'ebb/listen'
import { addressOf } from './address.js'
import type { ServeEvent } from './log.js'
import { SERVE_DEFAULTS, type Served, type ServeOptions } from './options.js'
import { startServer } from './server.js'

/**
 * Starts a server that accepts connections, reads and drops what they send, and emits events about its clients and its
 * memory. Resolves when it listens.
 *
 * @throws SystemError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ... if it cannot listen; the error of `dns.lookup`
 *   (`ENOTFOUND`, `EAI_AGAIN`) if `host` cannot be resolved
 */
export async function serve(options: ServeOptions = {}): Promise<Served> {
  const { mode, host, port, backlog, every, onEvent } = { ...SERVE_DEFAULTS, ...options }
  const address = await addressOf(host)
  const clients = new ClientCounter(every, onEvent)
  let releases = 0
  const server = await startServer(
    { mode, host: address, port, backlog, reusePort: false },
    {
      joined: clients.joined,
      left: clients.left,
      released: (release) => onEvent({ event: 'release', release: ++releases, ...release }),
      warned: (error) => onEvent({ event: 'warning', code: error.code, text: error.message })
    }
  )
  onEvent({ event: 'listening', mode, host: server.host, port: server.port, pid: process.pid })
  clients.emit()
  return {
    host: server.host,
    port: server.port,
    get clients() {
      return clients.count
    },
    close: server.close
  }
}

/** Counts clients and emits a `cycle` event at every multiple of `every`. */
class ClientCounter {
  count = 0
  #cycle = 0
  readonly #every: number
  readonly #onEvent: (event: ServeEvent) => void

  constructor(every: number, onEvent: (event: ServeEvent) => void) {
    this.#every = every
    this.#onEvent = onEvent
  }

  readonly joined = (): void => {
    this.count++
    if (this.count % this.#every === 0) this.emit()
  }

  readonly left = (): void => {
    this.count--
    if (this.count === 0) this.#cycle++
    if (this.count % this.#every === 0) this.emit()
  }

  emit(): void {
    this.#onEvent({ event: 'cycle', cycle: this.#cycle, clients: this.count, ...runtimeView() })
  }
}

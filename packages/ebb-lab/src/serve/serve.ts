/** `serve()`: the server of the experiment, which accepts connections, reads and drops what they send, and tells what it holds. */
import { runtimeView } from 'ebb/listen'
import { addressOf } from './address.js'
import type { ServeEvent } from './log.js'
import { SERVE_DEFAULTS, type Served, type ServeOptions } from './options.js'
import { startServer } from './server.js'

/** @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, ...; the error of `dns.lookup` for a name that is not known */
export async function serve(options: ServeOptions = {}): Promise<Served> {
  const { mode, host, port, backlog, every, onEvent } = { ...SERVE_DEFAULTS, ...options }
  const address = await addressOf(host)
  const crowd = new Crowd(every, onEvent)
  let releases = 0
  const server = await startServer(
    { mode, host: address, port, backlog, reusePort: false },
    {
      joined: crowd.joined,
      left: crowd.left,
      released: (release) => onEvent({ event: 'release', release: ++releases, ...release }),
      warned: (error) => onEvent({ event: 'warning', code: error.code, text: error.message })
    }
  )
  onEvent({ event: 'listening', mode, host: server.host, port: server.port, pid: process.pid })
  crowd.tell()
  return {
    host: server.host,
    port: server.port,
    get clients() {
      return crowd.clients
    },
    close: server.close
  }
}

/** Counts clients, and tells of every multiple. */
class Crowd {
  clients = 0
  #cycle = 0
  readonly #every: number
  readonly #onEvent: (event: ServeEvent) => void

  constructor(every: number, onEvent: (event: ServeEvent) => void) {
    this.#every = every
    this.#onEvent = onEvent
  }

  readonly joined = (): void => {
    this.clients++
    if (this.clients % this.#every === 0) this.tell()
  }

  readonly left = (): void => {
    this.clients--
    if (this.clients === 0) this.#cycle++
    if (this.clients % this.#every === 0) this.tell()
  }

  tell(): void {
    this.#onEvent({ event: 'cycle', cycle: this.#cycle, clients: this.clients, ...runtimeView() })
  }
}

/** `serve()`: the server of the experiment, which accepts connections, reads and drops what they send, and tells what it holds. */
import { lookup } from 'node:dns/promises'
import { createServer, isIP } from 'node:net'
import { listen, type SystemError } from 'ebb'
import { type RuntimeView, runtimeView } from 'ebb/memory'
import { formatAddress } from 'ebb/sys'

export interface ServeOptions {
  /** `park`: connections are bare descriptors in epoll. `net`: a plain `node:net` server, for comparison. Default: `park`. */
  mode?: 'park' | 'net'
  /** An address or a name; default: 127.0.0.1. */
  host?: string
  /** 0: a free one. Default: 3033. */
  port?: number
  /** Default: 4096. */
  backlog?: number
  /** A line whenever the number of clients reaches a multiple of this. Default: 500. */
  every?: number
  /** Told of what a line of the log says. */
  onEvent?: (event: ServeEvent) => void
}

export type ServeEvent =
  | { event: 'listening'; mode: 'park' | 'net'; host: string; port: number; pid: number }
  /** `cycle`: how often the number of clients has come back to 0. */
  | ({ event: 'cycle'; cycle: number; clients: number } & RuntimeView)
  /** Memory was given back: anonymous memory before and after, bytes; ms. */
  | { event: 'release'; release: number; before: number; after: number; ms: number; pauseMs: number }
  /** Accepting pauses: out of descriptors, or of memory. */
  | { event: 'warning'; code: string; text: string }

/** A server that runs. */
export interface Served {
  host: string
  port: number
  readonly clients: number
  /** Stops accepting and closes every connection. */
  close(): Promise<void>
}

/** @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, ...; the error of `dns.lookup` for a name that is not known */
export async function serve(options: ServeOptions = {}): Promise<Served> {
  const { mode = 'park', host = '127.0.0.1', port = 3033, backlog = 4096, every = 500, onEvent = () => {} } = options
  const address = isIP(host) === 0 ? (await lookup(host)).address : host
  const crowd = new Crowd(every, onEvent)
  const start = mode === 'park' ? park : net
  const served = await start(address, port, backlog, crowd, onEvent)
  onEvent({ event: 'listening', mode, host: served.host, port: served.port, pid: process.pid })
  crowd.tell()
  return served
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

type Start = (
  host: string,
  port: number,
  backlog: number,
  crowd: Crowd,
  onEvent: (event: ServeEvent) => void
) => Promise<Served>

const park: Start = async (host, port, backlog, crowd, onEvent) => {
  let releases = 0
  const listener = listen(
    {
      host,
      port,
      backlog,
      giveBack: {
        onRelease: ({ before, afterTrim, ms, pauseMs }) =>
          onEvent({ event: 'release', release: ++releases, before, after: afterTrim, ms, pauseMs })
      }
    },
    {
      open: crowd.joined,
      close: crowd.left,
      error: (error) => onEvent({ event: 'warning', code: error.code, text: error.message })
    }
  )
  const { address } = listener
  if ('path' in address) throw new Error('a TCP listener has a port')
  return {
    host: address.address,
    port: address.port,
    get clients() {
      return crowd.clients
    },
    close: () => {
      const closed = listener.close()
      listener.closeConnections()
      return closed
    }
  }
}

/** As the documentation of `node:net` has it, and no more: what a user's server would do. */
const net: Start = async (host, port, backlog, crowd, onEvent) => {
  const server = createServer((socket) => {
    crowd.joined()
    socket.resume()
    // A reset by the peer; `close` follows.
    socket.on('error', () => {})
    socket.on('close', crowd.left)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog }, resolve)
  })
  server.on('error', (error: SystemError) => onEvent({ event: 'warning', code: error.code, text: error.message }))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port')
  return {
    host: address.address,
    port: address.port,
    get clients() {
      return crowd.clients
    },
    // No list of the sockets is kept, it would be a part of what is measured: the process's end closes them.
    close: async () => {
      server.close()
    }
  }
}

/** An event as a line of the log, in the form that is asked for. */
export function serveLine(event: ServeEvent, form: 'text' | 'json'): string {
  if (form === 'json') return JSON.stringify(event)
  switch (event.event) {
    case 'listening':
      return `Listening on ${formatAddress(event)} (${event.mode}, pid ${event.pid})`
    case 'cycle': {
      const { system, inuse, released, objects } = event
      const memory = `System: ${system} Inuse: ${inuse} Released: ${released} Objects: ${objects ?? '-'}`
      return `Cycle #${String(event.cycle).padStart(3)}: ${event.clients} clients | ${memory}`
    }
    case 'release': {
      const { before, after, ms, pauseMs } = event
      const time = `${ms.toFixed(1)} ms (pause ${pauseMs.toFixed(1)} ms)`
      return `Release #${String(event.release).padStart(3)}: ${before} -> ${after} bytes in ${time}`
    }
    case 'warning':
      return `Warning: ${event.text}`
  }
}

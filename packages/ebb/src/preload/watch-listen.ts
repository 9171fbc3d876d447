/**
 * Learns of servers when they begin to listen, whatever way they were made: imported, required or bundled, of a class
 * of the program or of Node. Node tells on `diagnostics_channel`, so nothing of Node is replaced, and a process without
 * servers loads neither `net` nor the library.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { Server } from 'node:net'
import { isDistributor } from '../park/node/distributor.js'
import { isHttp, isHttp2, isTls } from '../park/protocol/kind.js'
import { warn } from '../sys/errors.js'
import type { Choice, Parts, PreloadOptions } from './options.js'
import type * as Servers from './servers.js'

/** Loads the module that parks servers, and calls back: at once, except in a bundle. */
export type Load = (loaded: (servers: typeof Servers) => void, failed: (error: unknown) => void) => void

/** Number of servers that have a line of their own in the log. */
const MOST_LINES = 10

/** Parks servers that begin to listen from now on. */
export function watchListening(options: PreloadOptions, load: Load): void {
  const watcher = new ListenWatcher(options, load)
  // Before the server is bound, so that its first connection is parked, too.
  subscribe('tracing:net.server.listen:asyncStart', (message) => {
    const { server, options: request } = message as { server: Server; options: { port?: unknown } }
    watcher.onListen(server, Number(request.port))
  })
  subscribe('tracing:net.server.listen:asyncEnd', (message) =>
    watcher.onListening((message as { server: Server }).server)
  )
}

class ListenWatcher {
  readonly #options: PreloadOptions
  readonly #load: Load
  readonly #chosen = new WeakSet<Server>()
  readonly #parked = new WeakMap<Server, Parts>()
  #lines = 0

  constructor(options: PreloadOptions, load: Load) {
    this.#options = options
    this.#load = load
  }

  /** @param port NaN if it is not known yet */
  onListen(server: Server, port: number): void {
    const parts = this.#partsOf(server, port)
    if (this.#chosen.has(server) || !(parts.connections || parts.webSockets)) return
    this.#chosen.add(server)
    const park = (servers: typeof Servers): void => {
      this.#parked.set(server, servers.parkServer(server, parts, this.#options))
      if (server.listening) this.#print(server)
    }
    this.#load(park, (error) => {
      warn('EBB_UNSUPPORTED', `ebb/park leaves servers as they are: ${(error as Error).message}`)
    })
  }

  onListening(server: Server): void {
    const address = server.address()
    // Only now is the port of a server known that listens on port 0 or on a descriptor.
    if (typeof address === 'object' && address !== null) this.onListen(server, address.port)
    this.#print(server)
  }

  #partsOf(server: Server, port: number): Parts {
    const { http, net, webSockets } = this.#options
    if (isHttp2(server)) return { connections: false, webSockets: false }
    if (!isHttp(server)) return { connections: includes(net, port) && !isDistributor(server), webSockets: false }
    return { connections: includes(http, port), webSockets: includes(webSockets, port) && !isTls(server) }
  }

  /** Prints once what is parked of a server. */
  #print(server: Server): void {
    const parts = this.#parked.get(server)
    this.#parked.delete(server)
    if (!this.#options.log || parts === undefined || !(parts.connections || parts.webSockets)) return
    this.#lines++
    if (this.#lines <= MOST_LINES) process.stderr.write(`ebb: parking ${describe(server, parts, this.#options)}\n`)
    else if (this.#lines === MOST_LINES + 1)
      process.stderr.write('ebb: parking more servers, without a line for each\n')
  }
}

function includes(choice: Choice, port: number): boolean {
  return typeof choice === 'boolean' ? choice : choice.has(port)
}

/** Says what is parked, such as `HTTP connections and WebSockets of 127.0.0.1:3000, idle 1000 ms`. */
function describe(server: Server, { connections, webSockets }: Parts, { idle }: PreloadOptions): string {
  const kind = isTls(server)
    ? 'TLS connections until their handshake'
    : isHttp(server)
      ? 'HTTP connections'
      : 'TCP connections until their first byte'
  const what = [connections ? kind : '', webSockets ? 'WebSockets' : ''].filter((part) => part !== '').join(' and ')
  const address = server.address()
  const place = address === null || typeof address === 'string' ? address : hostAndPort(address)
  const time = isHttp(server) && !isTls(server) ? `, idle ${idle} ms` : ''
  return `${what} of ${place}${time}`
}

function hostAndPort({ address, port }: { address: string; port: number }): string {
  return `${address.includes(':') ? `[${address}]` : address}:${port}`
}

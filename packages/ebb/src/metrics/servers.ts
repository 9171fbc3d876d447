/** Metrics of servers and their connections. */
import { Server } from 'node:net'
import type { Metric, Point, Reading } from '../govern/open-metrics.js'
import type { Listener } from '../listen/listen.js'
import { EpollListener } from '../listen/listener.js'
import type { Parked } from '../park/park.js'
import type { Parking } from '../park/parking.js'
import { knownParking } from '../park/parking-of.js'
import { protocolName } from '../park/protocol/kind.js'
import type { ParkStats } from '../park/stats.js'
import { invalidArgument, shown } from '../sys/errors.js'
import { httpServerOf } from '../websocket/ws/internals.js'
import type { WebSocketServerLike } from '../websocket/ws/park-web-sockets.js'

/** What `hibernate()` returns. */
export interface HubOfServer {
  /** Its HTTP server. */
  readonly server: Server
  /** Sends a message to all of its connections. */
  broadcast(data: string | Uint8Array): Promise<number>
}

/**
 * A server of `park()`, `ebb/net`, `listen()` or `ebb/park`, the result of `hibernate()`, or a `WebSocketServer` of the
 * package `ws`, for its HTTP server.
 */
export type AnyServer = Server | Listener | HubOfServer | WebSocketServerLike

/** One server, a list of servers, or an object with a name for each. */
export type MeteredServers = AnyServer | readonly AnyServer[] | Readonly<Record<string, AnyServer>>

const LABELS = ['server', 'protocol']

const CONNECTIONS = {
  name: 'ebb.connections',
  kind: 'updown',
  unit: '{connection}',
  help: 'Open connections, by state: parked, awake, or open (of listen()).',
  labels: [...LABELS, 'state']
} as const satisfies Metric

const ACCEPTED = {
  name: 'ebb.connection.accepted',
  kind: 'counter',
  unit: '{connection}',
  help: 'Connections that the server has taken, also from another process.',
  labels: LABELS
} as const satisfies Metric

const DROPPED = {
  name: 'ebb.connection.dropped',
  kind: 'counter',
  unit: '{connection}',
  help: 'Connections refused at maxConnections, or by the block list.',
  labels: LABELS
} as const satisfies Metric

const WOKEN = {
  name: 'ebb.connection.woken',
  kind: 'counter',
  unit: '{connection}',
  help: 'Wakes, including the first of each connection.',
  labels: LABELS
} as const satisfies Metric

const PARKED = {
  name: 'ebb.connection.parked',
  kind: 'counter',
  unit: '{connection}',
  help: 'Connections parked again after a wake.',
  labels: LABELS
} as const satisfies Metric

const CLOSED = {
  name: 'ebb.connection.closed',
  kind: 'counter',
  unit: '{connection}',
  help: 'Closed connections, by cause.',
  labels: [...LABELS, 'cause']
} as const satisfies Metric

const MEMORY = {
  name: 'ebb.connection.memory',
  kind: 'updown',
  unit: 'By',
  help: 'Memory outside the kernel for connections, without the sockets of awake connections.',
  labels: LABELS
} as const satisfies Metric

/** The figures of one server. */
interface Figures {
  server: string
  protocol: string
  connections: { protocol: string; state: 'parked' | 'awake' | 'open'; value: number }[]
  accepted: number
  /** Undefined for a server of `listen()`. */
  parking?: Pick<ParkStats, 'dropped' | 'woken' | 'parkedAgain' | 'closed'> & { memory: number }
}

/** Reads the figures of one server. */
type Source = () => Figures

/** Reads the figures of all servers. */
export class ServersReader {
  readonly #sources: Source[]

  /** @throws {TypeError} `ERR_INVALID_ARG_VALUE` for what is no server */
  constructor(servers: MeteredServers) {
    this.#sources = namedServers(servers).map(([name, server]) => sourceOf(name, server))
  }

  read(): Reading[] {
    const all = this.#sources.map((source) => source())
    const parked = all.flatMap(({ parking, server, protocol }) =>
      parking === undefined ? [] : [{ labels: { server, protocol }, ...parking }]
    )
    const points = (figure: 'dropped' | 'woken' | 'parkedAgain' | 'memory'): Point[] =>
      parked.map(({ labels, [figure]: value }) => ({ labels, value }))
    return [
      {
        metric: CONNECTIONS,
        points: all.flatMap(({ server, connections }) =>
          connections.map(({ protocol, state, value }) => ({ labels: { server, protocol, state }, value }))
        )
      },
      {
        metric: ACCEPTED,
        points: all.map(({ server, protocol, accepted }) => ({ labels: { server, protocol }, value: accepted }))
      },
      { metric: DROPPED, points: points('dropped') },
      { metric: WOKEN, points: points('woken') },
      { metric: PARKED, points: points('parkedAgain') },
      {
        metric: CLOSED,
        points: parked.flatMap(({ labels, closed }) =>
          Object.entries(closed).map(([cause, value]) => ({ labels: { ...labels, cause }, value }))
        )
      },
      { metric: MEMORY, points: points('memory') }
    ]
  }
}

function sourceOf(name: string, server: AnyServer): Source {
  if (server instanceof EpollListener) {
    return () => ({
      server: name,
      protocol: 'tcp',
      connections: [{ protocol: 'tcp', state: 'open', value: server.clients }],
      accepted: server.accepted
    })
  }
  const node = nodeServer(name, server)
  return new ParkedSource(name, node).read
}

/** Returns the server of Node behind what is called a server. */
function nodeServer(name: string, server: AnyServer): Server {
  if (server instanceof Server) return server
  if ('server' in server && server.server instanceof Server) return server.server
  const http = isOfWebSockets(server) ? httpServerOf(server) : undefined
  if (http !== undefined) return http
  const remedy = isOfWebSockets(server) ? '; give its HTTP server, because it has none of its own' : ''
  throw invalidArgument(`server ${name} of metrics() must be a server, not ${shown(server)}${remedy}`)
}

/** A server whose connections are parked, or whose WebSockets are. */
class ParkedSource {
  readonly #name: string
  readonly #server: Server & Partial<Parked>
  /** The parkings that hold its connections: a later call of `park()` makes another one. */
  readonly #parkings = new Set<Parking>()

  constructor(name: string, server: Server) {
    this.#name = name
    this.#server = server
  }

  readonly read = (): Figures => {
    const present = knownParking(this.#server)
    if (present !== undefined) this.#parkings.add(present)
    const protocol = protocolName(this.#server)
    const sum: Figures = {
      server: this.#name,
      protocol,
      connections: [],
      accepted: 0,
      parking: { ...noConnections(), memory: 0 }
    }
    const [own, web] = [
      { parked: 0, awake: 0 },
      { parked: 0, awake: 0 }
    ]
    for (const parking of this.#parkings) {
      const stats = parking.stats()
      const upgraded = parking.upgraded()
      add(sum, stats, parking.bytes)
      own.parked += stats.parked - upgraded.parked
      own.awake += stats.awake - upgraded.awake
      web.parked += upgraded.parked
      web.awake += upgraded.awake
    }
    // Where connections cannot be parked, the server alone knows them.
    if (this.#parkings.size === 0 && this.#server.stats !== undefined) {
      const stats = this.#server.stats()
      add(sum, stats, 0)
      own.awake += stats.awake
    }
    for (const [name, { parked, awake }] of [[protocol, own] as const, ['websocket', web] as const]) {
      if (name === 'websocket' && protocol !== 'http') continue
      sum.connections.push({ protocol: name, state: 'parked', value: parked })
      sum.connections.push({ protocol: name, state: 'awake', value: awake })
    }
    return sum
  }
}

function noConnections(): Pick<ParkStats, 'dropped' | 'woken' | 'parkedAgain' | 'closed'> {
  const closed = { peer: 0, reset: 0, timeout: 0, server: 0, socket: 0, proxy: 0, slow: 0 }
  return { dropped: 0, woken: 0, parkedAgain: 0, closed }
}

function add(sum: Figures, stats: ParkStats, memory: number): void {
  const { parking } = sum
  sum.accepted += stats.accepted
  if (parking === undefined) return
  parking.dropped += stats.dropped
  parking.woken += stats.woken
  parking.parkedAgain += stats.parkedAgain
  parking.memory += memory
  for (const [cause, count] of Object.entries(stats.closed)) parking.closed[cause as keyof ParkStats['closed']] += count
}

/** Returns the servers with their names: numbers, unless they have others. */
function namedServers(servers: MeteredServers): [name: string, server: AnyServer][] {
  if (typeof servers !== 'object' || servers === null) {
    throw invalidArgument(
      `servers of metrics() must be a server, or a list or an object of servers, not ${shown(servers)}`
    )
  }
  const list = isServer(servers) ? [servers] : servers
  const named = Object.entries(list as Record<string, AnyServer>)
  for (const [name, server] of named) {
    if (typeof server === 'object' && server !== null && isServer(server)) continue
    throw invalidArgument(`server ${name} of metrics() must be a server, not ${shown(server)}`)
  }
  return named
}

function isServer(value: object): value is AnyServer {
  if (value instanceof EpollListener || value instanceof Server || isOfWebSockets(value)) return true
  return 'server' in value && 'broadcast' in value && typeof value.broadcast === 'function'
}

function isOfWebSockets(value: object): value is WebSocketServerLike {
  return 'handleUpgrade' in value && typeof value.handleUpgrade === 'function'
}

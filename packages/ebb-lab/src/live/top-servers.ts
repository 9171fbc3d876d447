/** The servers that the page of `ebb top` draws: their curves, and which of them have a place in the charts. */
import { SERVERS } from '../report/charts/palette.js'
import { mb } from '../report/charts/parts.js'
import type { LineType } from '../report/charts/picture.js'
import type { Listen, ServerSample } from '../top/sample.js'
import { clean, fit } from '../units/text.js'
import { GrowingCurve } from './growing-curve.js'

/** What the charts draw of a server. */
export interface Curves {
  anonymous: GrowingCurve
  clients: GrowingCurve
  /** What its releases returned, in all. */
  released: GrowingCurve
  /** Memory pressure of its own cgroup, in %. */
  pressure: GrowingCurve
}

/** A server that was seen. */
interface Seen {
  id: string
  pid: number
  /** Name with the first address: `node server.js :3033`. */
  name: string
  curves: Curves
  isRunning: boolean
}

/** A server with a place in the charts. */
export interface Drawn {
  /** Differs from the names of all others. */
  name: string
  color: string
  type: LineType
  curves: Curves
}

/** Kinds of lines. With each, all colours can be used once. */
const LINES: readonly LineType[] = ['solid', 'dashed']
/** Servers in the charts: more curves cannot be told apart. */
export const MOST_DRAWN = SERVERS.length * LINES.length
/** A server takes the place of another only if its peak is higher by this factor, so that curves stay. */
const HIGHER = 1.5
/** Columns of a server's name. */
const NAME_COLUMNS = 40

/** Keeps the curves of servers. Those with the highest memory are drawn, and those that run before those that ended. */
export class TopServers {
  readonly #seen = new Map<string, Seen>()
  /** Ids of the servers that are drawn, by their place, which decides how they look. */
  #places: (string | undefined)[] = []

  /** Takes a sample of all servers. `seconds` is the time since the first sample. */
  add(seconds: number, servers: readonly ServerSample[]): void {
    const present = new Set<string>()
    for (const server of servers) {
      present.add(server.id)
      const { anonymous, clients, released, pressure } = this.#of(server).curves
      anonymous.add(seconds, mb(server.anonymous))
      clients.add(seconds, server.clients)
      released.add(seconds, server.inside === null ? null : mb(server.inside.released))
      pressure.add(seconds, server.pressure === null ? null : server.pressure * 100)
    }
    for (const seen of this.#seen.values()) seen.isRunning = present.has(seen.id)
    this.#choose()
  }

  /** Returns the servers that are drawn, in the order of their places. */
  get drawn(): Drawn[] {
    const names = new Map<string, number>()
    for (const id of this.#places) {
      const name = this.#seen.get(id ?? '')?.name ?? ''
      names.set(name, (names.get(name) ?? 0) + 1)
    }
    return this.#places.flatMap((id, place) => {
      const seen = this.#seen.get(id ?? '')
      if (seen === undefined) return []
      const { name, pid, curves } = seen
      const unique = names.get(name) === 1 ? name : `${name} (${pid})`
      const color = SERVERS[place % SERVERS.length]?.[0] ?? ''
      return { name: unique, color, type: LINES[Math.floor(place / SERVERS.length)] ?? 'solid', curves }
    })
  }

  #of(server: ServerSample): Seen {
    const { id, pid } = server
    const known = this.#seen.get(id)
    if (known !== undefined) return known
    const curves = {
      anonymous: new GrowingCurve(),
      clients: new GrowingCurve(),
      released: new GrowingCurve(),
      pressure: new GrowingCurve()
    }
    const seen = { id, pid, name: shortName(server), curves, isRunning: true }
    this.#seen.set(id, seen)
    return seen
  }

  /** Gives the places to the servers of the highest rank, and forgets servers that have ended without a place. */
  #choose(): void {
    const placed = new Set(this.#places)
    const rank = ({ id, curves, isRunning }: Seen): number =>
      (isRunning ? 1e12 : 1) + curves.anonymous.peak * (placed.has(id) ? HIGHER : 1)
    const ranked = [...this.#seen.values()].sort((a, b) => rank(b) - rank(a)).slice(0, MOST_DRAWN)
    const chosen = new Set(ranked.map(({ id }) => id))
    this.#places = Array.from({ length: MOST_DRAWN }, (_, place) => {
      const id = this.#places[place]
      return id !== undefined && chosen.has(id) ? id : undefined
    })
    for (const { id } of ranked) {
      if (placed.has(id)) continue
      this.#places[this.#places.indexOf(undefined)] = id
    }
    for (const { id, isRunning } of this.#seen.values()) if (!isRunning && !chosen.has(id)) this.#seen.delete(id)
  }
}

/** Returns a server's name with its first address: `node server.js :3033`. */
export function shortName({ name, listens: [first] }: { name: string; listens: readonly Listen[] }): string {
  const address = first === undefined ? '' : first.type === 'tcp' ? ` :${first.port}` : ` ${first.path}`
  // The address tells servers of one program apart, so the name is what is cut.
  const end = fit(clean(address), NAME_COLUMNS / 2)
  return `${fit(clean(name), NAME_COLUMNS - end.length)}${end}`
}

/** A crowd that shares its connections out over several servers. */
import { addCauses, type Causes } from './causes.js'
import type { ClientOptions } from './client-options.js'
import { type Arrivals, type Crowd, crowdCapacity, processesFor } from './crowd.js'
import { Latencies } from './latencies.js'
import { addOpened, emptyOpened, type Opened } from './opened.js'
import { addTraffic, emptyTraffic, type Traffic } from './traffic.js'

/** Maximum number of servers of a run. */
export const MAX_TARGETS = 16

/** The connections to one server. */
interface Part {
  /** The server, for people. */
  target: string
  crowd: Crowd
  /** Number of connections that it holds, as far as it is known. */
  held: number
}

/** Makes a crowd with so many processes; `apart`: these are child processes, even if it is one. */
type MakeCrowd = (options: ClientOptions, processes: number, apart: boolean) => Promise<Crowd>

/**
 * Makes a crowd of up to `most` connections, shared out evenly over the servers of `clients`. With one server, returns
 * the crowd of that server.
 *
 * @param clients options for each server. Their rate is that of all servers together
 * @param processes maximum number of processes for each server. Default: as many as the descriptor limit requires
 */
export async function crowdOfAll(
  clients: readonly [string, ClientOptions][],
  most: number,
  make: MakeCrowd,
  processes?: number
): Promise<Crowd> {
  const each = Math.ceil(most / clients.length)
  // Several crowds of this process would share its descriptors.
  const apart = clients.length > 1 && most > crowdCapacity(1)
  const parts: Part[] = []
  try {
    for (const [index, [target, options]] of clients.entries()) {
      const server = { index, of: clients.length }
      const client = { ...options, rate: options.rate / clients.length, server }
      parts.push({ target, crowd: await make(client, processes ?? processesFor(each), apart), held: 0 })
    }
  } catch (error) {
    await Promise.all(parts.map(({ crowd }) => crowd.dispose()))
    throw error
  }
  const [only] = parts
  return parts.length === 1 && only !== undefined ? only.crowd : new SharedCrowd(parts)
}

/** Connections to several servers. The number of connections to each differs by 1 at most. */
class SharedCrowd implements Crowd {
  readonly latencies = new Latencies()
  readonly #parts: readonly Part[]
  /** Part that gets the next connection that is left over, so that the first part does not get them all. */
  #next = 0

  constructor(parts: readonly Part[]) {
    this.#parts = parts
  }

  get open(): number {
    return this.#parts.reduce((sum, { crowd }) => sum + crowd.open, 0)
  }

  get failed(): number {
    return this.#parts.reduce((sum, { crowd }) => sum + crowd.failed, 0)
  }

  async connect(n: number, signal?: AbortSignal, arrivals: Arrivals = {}): Promise<Opened> {
    const { rate, ...rest } = arrivals
    const shares = this.#shares(n)
    const sum = emptyOpened()
    const results = await Promise.all(
      this.#parts.map(async (part, i) => {
        const share = shares[i] as number
        if (share === 0) return emptyOpened()
        const own = rate === undefined ? rest : { ...rest, rate: (rate * share) / n }
        const opened = await part.crowd.connect(share, signal, own)
        part.held += opened.connected - opened.replaced
        return opened
      })
    )
    for (const [i, opened] of results.entries()) {
      const { target } = this.#parts[i] as Part
      addOpened(sum, { ...opened, targets: [{ target, connected: opened.connected, failed: opened.failed }] })
    }
    this.#takeLatencies()
    return sum
  }

  async close(): Promise<void> {
    await Promise.all(this.#parts.map(({ crowd }) => crowd.close()))
    for (const part of this.#parts) part.held = 0
  }

  async shrink(n: number): Promise<void> {
    // What remains is shared out evenly. A part that holds less than its share keeps all, so the emptiest is first.
    let remaining = Math.max(0, this.#parts.reduce((sum, { held }) => sum + held, 0) - n)
    const parts = this.#parts.toSorted((a, b) => a.held - b.held)
    await Promise.all(
      parts.map(async (part, i) => {
        const kept = Math.min(part.held, Math.floor(remaining / (parts.length - i)))
        remaining -= kept
        const share = part.held - kept
        part.held = kept
        if (share > 0) await part.crowd.shrink(share)
      })
    )
  }

  async takeTraffic(): Promise<Traffic> {
    const sum = emptyTraffic()
    for (const traffic of await Promise.all(this.#parts.map(({ crowd }) => crowd.takeTraffic())))
      addTraffic(sum, traffic)
    this.#takeLatencies()
    return sum
  }

  takeLost(): Promise<Causes> {
    return this.#lost((crowd) => crowd.takeLost())
  }

  takeAllLost(): Promise<Causes> {
    return this.#lost((crowd) => crowd.takeAllLost())
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#parts.map(({ crowd }) => crowd.dispose()))
  }

  async #lost(take: (crowd: Crowd) => Promise<Causes>): Promise<Causes> {
    const sum: Causes = {}
    await Promise.all(
      this.#parts.map(async (part) => {
        const lost = await take(part.crowd)
        part.held = Math.max(0, part.held - Object.values(lost).reduce((all, by) => all + by, 0))
        addCauses(sum, lost)
      })
    )
    return sum
  }

  #shares(n: number): number[] {
    const { length } = this.#parts
    const left = n % length
    const shares = this.#parts.map(
      (_, i) => Math.floor(n / length) + ((i - this.#next + length) % length < left ? 1 : 0)
    )
    this.#next = (this.#next + left) % length
    return shares
  }

  #takeLatencies(): void {
    for (const { crowd } of this.#parts) {
      this.latencies.merge(crowd.latencies.encoded())
      crowd.latencies.reset()
    }
  }
}

/** Crowds that this machine holds, in this process or in others. */
import type { Causes } from './causes.js'
import { Client } from './client.js'
import type { ClientOptions } from './client-options.js'
import type { Arrivals, Crowd } from './crowd.js'
import { ForkedCrowd } from './forked-crowd.js'
import type { Latencies } from './latencies.js'
import type { Opened } from './opened.js'
import type { Traffic } from './traffic.js'

/**
 * Makes a crowd.
 *
 * @param processes number of processes that hold the connections
 * @param apart whether a single process is to be a child process. By default, 1 stands for this process
 */
export async function crowdOf(options: ClientOptions, processes: number, apart = false): Promise<Crowd> {
  if (processes === 1 && !apart) return new LocalCrowd(options)
  const crowd = new ForkedCrowd(options, processes)
  await crowd.ready
  return crowd
}

/** A crowd that this process holds. */
class LocalCrowd implements Crowd {
  readonly #client: Client

  constructor(options: ClientOptions) {
    this.#client = new Client(options)
  }

  get latencies(): Latencies {
    return this.#client.latencies
  }

  get open(): number {
    return this.#client.open
  }

  get failed(): number {
    return this.#client.failed
  }

  async takeTraffic(): Promise<Traffic> {
    return this.#client.takeTraffic()
  }

  connect(n: number, signal?: AbortSignal, arrivals?: Arrivals): Promise<Opened> {
    return this.#client.connect(n, signal, arrivals)
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  shrink(n: number): Promise<void> {
    return this.#client.close(n)
  }

  takeLost(): Promise<Causes> {
    return this.#client.takeLost()
  }

  takeAllLost(): Promise<Causes> {
    return this.takeLost()
  }

  async dispose(): Promise<void> {
    this.#client.dispose()
  }
}

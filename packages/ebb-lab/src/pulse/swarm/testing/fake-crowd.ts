/** A crowd without sockets, for tests of messages. */
import type { Causes } from '../../causes.js'
import type { Crowd } from '../../crowd.js'
import { Latencies } from '../../latencies.js'
import { emptyOpened, type Opened } from '../../opened.js'
import { pause } from '../../pause.js'
import { emptyTraffic, type Traffic } from '../../traffic.js'

/** Every connect succeeds after `ms` milliseconds. */
export class FakeCrowd implements Crowd {
  readonly latencies = new Latencies()
  open = 0
  readonly failed = 0
  readonly #ms: number

  constructor(ms = 0) {
    this.#ms = ms
  }

  async connect(n: number, signal?: AbortSignal): Promise<Opened> {
    await pause(this.#ms, signal)
    if (signal?.aborted) return { ...emptyOpened(), abandoned: n }
    this.open += n
    for (let i = 0; i < n; i++) this.latencies.connects.record(0, 0, 1 + i / 1000)
    return { ...emptyOpened(), connected: n, ms: this.#ms }
  }

  async close(): Promise<void> {
    this.open = 0
  }

  async shrink(n: number): Promise<void> {
    this.open -= n
  }

  async takeTraffic(): Promise<Traffic> {
    return emptyTraffic()
  }

  async takeLost(): Promise<Causes> {
    return {}
  }

  async takeAllLost(): Promise<Causes> {
    return {}
  }

  async dispose(): Promise<void> {}
}

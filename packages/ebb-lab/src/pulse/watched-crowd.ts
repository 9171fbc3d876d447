/** A crowd that tells regularly how it is, for people and for monitoring. */
import { addCauses, type Causes, total } from './causes.js'
import type { Arrivals, Crowd } from './crowd.js'
import type { Quantiles } from './histogram.js'
import type { Latencies, Latency } from './latencies.js'
import { addOpened, emptyOpened, type Opened } from './opened.js'
import type { Traffic } from './traffic.js'

/** How a run is at one time. Times are milliseconds. Counts are those since the beginning of the run. */
export interface RunStats {
  /** Time since the beginning of the run. */
  t: number
  /** Number of connections that are open now. */
  open: number
  /** Number of connections that were opened. Agents of a swarm report theirs when all of a pulse are open. */
  connected: number
  /** Number of connects that failed, those in progress included. */
  failed: number
  /** Number of connections that the server closed first. */
  lost: number
  /** Number of answers that did not come or were wrong. */
  unanswered: number
  /** Number of connects that began more than 10 ms after their time. */
  late: number
  /** Number of connections that left and were replaced. */
  replaced: number
  /** Connects per second since the last statistics. */
  rate: number
  /** Quantiles of the connect times, corrected; null before the first connection. */
  latency: Quantiles | null
  /** Quantiles of the times to answers, corrected; null before the first answer. */
  answers: Quantiles | null
  /** What failed, was lost and was not answered, by cause, without the connects in progress. */
  causes: { failed: Causes; lost: Causes; unanswered: Causes }
}

/** Milliseconds between two statistics. */
const INTERVAL = 1000

/** Does what a crowd does, and counts. Calls back every second, and once more before it is disposed of. */
export class WatchedCrowd implements Crowd {
  readonly gone?: AbortSignal
  readonly #crowd: Crowd
  readonly #onStats: (stats: RunStats, latencies: Latencies) => void
  readonly #begin = performance.now()
  readonly #timer: NodeJS.Timeout
  readonly #opened = emptyOpened()
  readonly #lost: Causes = {}
  #isConnecting = false
  /** Time and number of connections of the last statistics. */
  #last = { t: 0, connected: 0 }

  constructor(crowd: Crowd, onStats: (stats: RunStats, latencies: Latencies) => void) {
    this.#crowd = crowd
    this.#onStats = onStats
    if (crowd.gone !== undefined) this.gone = crowd.gone
    this.#timer = setInterval(() => this.#report(), INTERVAL)
  }

  get latencies(): Latencies {
    return this.#crowd.latencies
  }

  get open(): number {
    return this.#crowd.open
  }

  get failed(): number {
    return this.#crowd.failed
  }

  async connect(n: number, signal?: AbortSignal, arrivals?: Arrivals): Promise<Opened> {
    this.#isConnecting = true
    try {
      const opened = await this.#crowd.connect(n, signal, arrivals)
      addOpened(this.#opened, opened)
      return opened
    } finally {
      this.#isConnecting = false
    }
  }

  close(): Promise<void> {
    return this.#crowd.close()
  }

  shrink(n: number): Promise<void> {
    return this.#crowd.shrink(n)
  }

  async takeTraffic(): Promise<Traffic> {
    const traffic = await this.#crowd.takeTraffic()
    addCauses(this.#opened.unanswered, traffic.unanswered)
    return traffic
  }

  async takeLost(): Promise<Causes> {
    return this.#addLost(await this.#crowd.takeLost())
  }

  async takeAllLost(): Promise<Causes> {
    return this.#addLost(await this.#crowd.takeAllLost())
  }

  async dispose(): Promise<void> {
    clearInterval(this.#timer)
    this.#report()
    await this.#crowd.dispose()
  }

  #addLost(lost: Causes): Causes {
    addCauses(this.#lost, lost)
    return lost
  }

  #report(): void {
    const t = performance.now() - this.#begin
    const { failed, unanswered, late, replaced } = this.#opened
    const { connects, answers } = this.latencies
    const connected = connects.corrected.count
    const rate = t > this.#last.t ? ((connected - this.#last.connected) / (t - this.#last.t)) * 1000 : 0
    this.#last = { t, connected }
    this.#onStats(
      {
        t,
        open: this.open,
        connected,
        failed: total(failed) + (this.#isConnecting ? this.failed : 0),
        lost: total(this.#lost),
        unanswered: total(unanswered),
        late,
        replaced,
        rate,
        latency: quantilesOf(connects),
        answers: quantilesOf(answers),
        causes: { failed: { ...failed }, lost: { ...this.#lost }, unanswered: { ...unanswered } }
      },
      this.latencies
    )
  }
}

function quantilesOf({ corrected }: Latency): Quantiles | null {
  return corrected.count === 0 ? null : corrected.quantiles()
}

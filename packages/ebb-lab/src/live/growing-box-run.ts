/** A run of a box that grows while a page shows it, with a bounded number of samples: what is old is thinned out. */
import type { BoxRun } from '../record/box/recording.js'
import type { RecordingEvent, Sample } from '../record/recording.js'
import { thin } from '../report/charts/thin.js'

/** Samples of all servers that were taken at one time. */
interface Tick {
  t: number
  /** By the server's place in the run; undefined if it was not sampled. */
  samples: (Sample | undefined)[]
  /** Anonymous memory of all servers, bytes. */
  sum: number
}

/** Ticks that are kept. The chart of a box draws 500 points of each curve, and thins out more. */
const MOST_TICKS = 480
/** Servers whose own lows and highs are kept. For more, those of the sum are. */
const MOST_THINNED = 8

/** Follows a run whose recording grows. */
export class GrowingBoxRun {
  readonly #source: BoxRun
  #ticks: Tick[] = []
  /** How many samples and events of each server were taken over. */
  readonly #taken: { samples: number; events: number }[] = []
  readonly #events: RecordingEvent[][] = []

  constructor(source: BoxRun) {
    this.#source = source
  }

  /** Time of the last tick, ms since the run began. */
  get last(): number {
    return this.#ticks.at(-1)?.t ?? 0
  }

  /** Anonymous memory of all servers at the last tick, bytes. */
  get sum(): number {
    return this.#ticks.at(-1)?.sum ?? 0
  }

  /** Takes over what has been recorded since the last time. */
  update(): void {
    const fresh = new Map<number, Tick>()
    for (const [i, { recording }] of this.#source.servers.entries()) {
      if (recording === null) continue
      this.#taken[i] ??= { samples: 0, events: 0 }
      this.#events[i] ??= []
      const taken = this.#taken[i]
      for (const sample of recording.samples.slice(taken.samples)) {
        const tick = fresh.get(sample.t) ?? { t: sample.t, samples: [], sum: 0 }
        tick.samples[i] = sample
        tick.sum += sample.anonymous
        fresh.set(sample.t, tick)
      }
      for (const event of recording.events.slice(taken.events)) if (isDrawn(event)) this.#events[i].push(event)
      taken.samples = recording.samples.length
      taken.events = recording.events.length
    }
    for (const tick of [...fresh.values()].sort((a, b) => a.t - b.t)) {
      this.#ticks.push(tick)
      if (this.#ticks.length >= MOST_TICKS) this.#thin()
    }
  }

  /** The run as far as it is kept. */
  get run(): BoxRun {
    const servers = this.#source.servers.map((server, i) => {
      const { recording } = server
      if (recording === null) return server
      const samples = this.#ticks.flatMap((tick) => tick.samples[i] ?? [])
      return { ...server, recording: { ...recording, samples, events: this.#events[i] ?? [] } }
    })
    return { ...this.#source, servers }
  }

  #thin(): void {
    const own = this.#source.servers
      .slice(0, MOST_THINNED)
      .map((_, i) => (tick: Tick) => tick.samples[i]?.anonymous ?? null)
    this.#ticks = thin(this.#ticks, MOST_TICKS / 2, [({ sum }: Tick) => sum, ...own], ({ t }) => t)
  }
}

/** Whether a chart of a box draws an event. */
function isDrawn({ event }: RecordingEvent): boolean {
  return event === 'pulse' || event === 'connected' || event === 'closing' || event === 'closed' || event === 'end'
}

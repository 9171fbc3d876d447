/** A recording that grows while a page shows it, in bounded memory: what is old is thinned out. */
import type { Header, Recording, RecordingEvent, Sample } from '../record/recording.js'
import { MOST_POINTS } from '../report/charts/parts.js'
import { thin } from '../report/charts/thin.js'

const SAMPLE_FIGURES = [(sample: Sample) => sample.anonymous, (sample: Sample) => sample.resident]

/** An event with the runtime's view of memory. */
type View = Extract<RecordingEvent, { event: 'cycle' | 'runtime' }>

const VIEW_FIGURES: ((view: View) => number)[] = [
  (view) => view.system,
  (view) => view.inuse,
  (view) => view.released,
  (view) => (view.event === 'cycle' ? view.clients : 0)
]

/**
 * Keeps what charts draw. Between two thinnings, points are only added, so a page needs only those. A chart does not
 * thin them again, because there are never more than it draws.
 */
export class GrowingRecording {
  readonly header: Header
  #samples: Sample[] = []
  #views: View[] = []
  #others: RecordingEvent[] = []
  /** The most anonymous memory so far, bytes. */
  peak = 0
  /** CPU time per second of the last sample, from 0 on; 1 is one core. */
  load: number | null = null

  constructor(header: Header) {
    this.header = header
  }

  /** The last sample. */
  get last(): Sample | undefined {
    return this.#samples.at(-1)
  }

  /** The recording as far as it is kept. */
  get recording(): Recording {
    const events = [...this.#others, ...this.#views].sort((a, b) => a.t - b.t)
    return { header: this.header, samples: this.#samples, events, complete: false, notes: [] }
  }

  addSample(sample: Sample): void {
    const { last } = this
    if (last !== undefined && sample.t > last.t) this.load = Math.max(0, sample.cpu - last.cpu) / (sample.t - last.t)
    this.peak = Math.max(this.peak, sample.anonymous)
    this.#samples.push(sample)
    if (this.#samples.length < MOST_POINTS) return
    this.#samples = thin(this.#samples, MOST_POINTS / 2, SAMPLE_FIGURES, ({ t }) => t)
  }

  /** Adds an event if charts draw it. */
  addEvent(event: RecordingEvent): void {
    switch (event.event) {
      case 'cycle':
      case 'runtime':
        this.#views.push(event)
        if (this.#views.length >= MOST_POINTS) {
          this.#views = thin(this.#views, MOST_POINTS / 2, VIEW_FIGURES, ({ t }) => t)
        }
        break
      case 'pulse':
      case 'connected':
      case 'closing':
      case 'closed':
        this.#others.push(event)
    }
  }
}

/** Follows an experiment for its live page. */
import type { ExperimentEvent } from '../experiment/experiment.js'
import type { Recording } from '../record/recording.js'
import { ServerRuns } from './server-runs.js'

/** The live page of `ebb bench`. */
export class ExperimentRuns extends ServerRuns {
  /** The recordings of all runs that have ended. */
  readonly recordings: Recording[] = []
  #recording: Recording | undefined
  /** Number of events of the recording that were added. */
  #added = 0

  /** Takes an event of the experiment. */
  onEvent(event: ExperimentEvent): void {
    if (event.event === 'start') {
      this.#recording = event.recording
      this.#added = 0
      this.begin(event.recording.header, event.pulses)
    } else if (event.event === 'sample') this.addSample(event.sample)
    const events = this.#recording?.events ?? []
    for (const added of events.slice(this.#added)) this.addEvent(added)
    this.#added = events.length
    if (event.event === 'end' && this.#recording !== undefined) {
      this.end(this.#recording)
      this.recordings.push(this.#recording)
      this.#recording = undefined
    }
  }
}

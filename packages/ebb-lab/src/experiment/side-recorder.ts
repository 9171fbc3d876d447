/** Records the server beside an agent, for a co-ordinator that is elsewhere. */
import type { SideRecorder, SideRecording } from '../pulse/swarm/agent-options.js'
import { record } from '../record/record.js'
import type { Recorder } from '../record/recorder.js'
import type { Line } from '../record/recording.js'
import { toLines } from '../record/write.js'

/** What listens on a port of this machine. Every run has a recording of its own. */
export function sideRecorder(port: number): SideRecorder {
  return { port, start: async () => new Tail(await record({ port })) }
}

/** The end of a recording that has not been asked for yet, and what has no answer yet that it arrived. */
class Tail implements SideRecording {
  readonly #recorder: Recorder
  /** Lines from number `#first` on. */
  #lines: { line: Line; bytes: number }[] = []
  #first = 0
  #ended = false

  constructor(recorder: Recorder) {
    this.#recorder = recorder
    const ended = (): void => {
      this.#ended = true
    }
    recorder.done.then(ended, ended)
  }

  get header(): unknown {
    return this.#recorder.recording.header
  }

  now(): number {
    return this.#recorder.now()
  }

  take(first: number, bytes: number): { lines: unknown[]; ended: boolean } {
    const ended = this.#ended
    this.#drain()
    this.#lines.splice(0, first - this.#first)
    this.#first = first
    let room = bytes
    const fitting = this.#lines.findIndex(({ bytes }) => {
      room -= bytes
      return room < 0
    })
    const lines = fitting === -1 ? this.#lines : this.#lines.slice(0, fitting)
    return { lines: lines.map(({ line }) => line), ended: ended && fitting === -1 }
  }

  stop(): void {
    void this.#recorder.stop().catch(() => {})
  }

  /** A recording may be longer than memory: nothing is kept twice, and nothing that has arrived. */
  #drain(): void {
    const { recording } = this.#recorder
    for (const line of toLines(recording)) {
      if (line.type !== 'header') this.#lines.push({ line, bytes: JSON.stringify(line).length + 1 })
    }
    recording.samples.length = 0
    recording.events.length = 0
  }
}

/** Lets an agent record the server on its machine, for a coordinator on another machine. */
import type { SideRecorder, SideRecording } from '../pulse/swarm/agent-options.js'
import { record } from '../record/record.js'
import type { Recorder } from '../record/recorder.js'
import type { Line } from '../record/recording.js'
import { toLines } from '../record/write.js'

/**
 * Returns a recorder of the server that listens on a TCP port of this machine. Each `start()` begins a new recording.
 */
export function sideRecorder(port: number): SideRecorder {
  return { port, start: async () => new LineBuffer(await record({ port })) }
}

/** Buffers the lines of a recording until the coordinator has acknowledged them. */
class LineBuffer implements SideRecording {
  readonly #recorder: Recorder
  /** Unacknowledged lines; the first has the number `#first`. */
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

  /**
   * Returns lines from number `first` on, at most `bytes` long. Asking for `first` acknowledges the lines before it.
   */
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

  /** Moves new lines out of the recording. A long recording may not fit in memory, so no line is kept twice. */
  #drain(): void {
    const { recording } = this.#recorder
    for (const line of toLines(recording)) {
      if (line.type !== 'header') this.#lines.push({ line, bytes: JSON.stringify(line).length + 1 })
    }
    recording.samples.length = 0
    recording.events.length = 0
  }
}

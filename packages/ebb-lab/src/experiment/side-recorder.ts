/** Lets an agent record the server on its machine, for a coordinator on another machine. */
import { describe } from '../process/describe.js'
import { start } from '../process/target.js'
import type { SideRecorder, SideRecording, SideRecordingOptions } from '../pulse/swarm/agent-options.js'
import { record } from '../record/record.js'
import { Recorder } from '../record/recorder.js'
import type { Line } from '../record/recording.js'
import { toLines } from '../record/write.js'
import { RecordError } from '../units/errors.js'
import { lackOfRunning } from './capacity.js'

/**
 * Returns a recorder of the server on a TCP port of this machine. Each `start()` begins a new recording.
 *
 * @param command program and arguments that start the server for each recording. `{port}` in them, and the variable
 *   `PORT`, are the port. Default: the server that listens on the port is recorded
 */
export function sideRecorder(port: number, command?: readonly string[]): SideRecorder {
  const begin = (options: SideRecordingOptions): Promise<Recorder> =>
    command === undefined ? recordRunning(port, options) : recordFresh(port, command, options)
  return {
    port,
    startsServer: command !== undefined,
    start: async (options) => new LineBuffer(await begin(options))
  }
}

/** Records the server that listens on the port. */
async function recordRunning(port: number, { connections }: SideRecordingOptions): Promise<Recorder> {
  const recorder = await record({ port })
  try {
    checkDescriptors(recorder.pid, port, connections)
  } catch (error) {
    await recorder.stop().catch(() => {})
    throw error
  }
  return recorder
}

/** Starts the server and records it. The server ends with the recording. */
async function recordFresh(
  port: number,
  command: readonly string[],
  { connections, signal }: SideRecordingOptions
): Promise<Recorder> {
  const { pid, launched } = await start(command, { port, fixed: true, signal, hasTree: false })
  try {
    checkDescriptors(pid, port, connections)
    return new Recorder(pid, await describe(pid), {}, launched ?? undefined)
  } catch (error) {
    await launched?.stop()
    throw error
  }
}

/** @throws RecordError (`EMFILE`) if a server may not have descriptors for that many connections */
function checkDescriptors(pid: number, port: number, connections: number): void {
  const lack = lackOfRunning(`the server on port ${port}`, connections, pid)
  if (lack !== undefined) throw new RecordError(lack, 'EMFILE')
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

  async stop(): Promise<void> {
    await this.#recorder.stop()
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

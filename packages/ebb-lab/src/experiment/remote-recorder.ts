/** A recording of a server that is elsewhere: an agent beside it samples, and what happens to the swarm is marked here. */
import { EventEmitter } from 'node:events'
import type { Coordinator } from '../pulse/swarm/coordinator.js'
import type { Member } from '../pulse/swarm/member.js'
import type { Mark } from '../record/lines.js'
import {
  eventSchema,
  type Header,
  headerSchema,
  type Line,
  type Recording,
  type RecordingEvent,
  type Sample,
  sampleSchema
} from '../record/recording.js'
import type { Sink } from '../record/session.js'
import { MemorySink, RecordingWriter } from '../record/write.js'
import { RecordError } from '../units/errors.js'

export interface RemoteOptions {
  /** The port of the server: the agent beside it was started with `--record-port`. */
  port: number
  name: string
  role: 'main' | 'control'
  /** A file to write to, which is replaced. */
  out?: string
}

/** From one request for new lines to the next, ms. */
const EVERY = 250
/** For the last sample to come when the recording is stopped, ms. */
const LAST = 2000

/** As `Recorder`, as far as an experiment uses it. Its times are those of the agent's recorder. */
export class RemoteRecorder extends EventEmitter<{ sample: [Sample]; event: [RecordingEvent] }> {
  readonly pid: number
  readonly recording: Recording
  readonly done: Promise<Recording>

  readonly #coordinator: Coordinator
  readonly #member: Member
  readonly #sinks: Sink<Line>[]
  /** The agent's clock when its recording began. */
  readonly #began: number
  /** What happened here and is later than the last line that came. */
  #marks: RecordingEvent[] = []
  #lines = 0
  #lastTime = 0
  /** The time of a stop, by the recording. */
  #stopAt = Number.POSITIVE_INFINITY
  #stopBy = Number.POSITIVE_INFINITY
  #wake: () => void = () => {}
  #ended = false

  private constructor(coordinator: Coordinator, member: Member, began: number, header: Header, out?: string) {
    super()
    this.#coordinator = coordinator
    this.#member = member
    this.#began = began
    this.pid = header.pid
    const memory = new MemorySink(header)
    this.recording = memory.recording
    this.#sinks = out === undefined ? [memory] : [memory, new RecordingWriter(out)]
    for (const sink of this.#sinks) sink.write(header)
    this.done = this.#run()
    // Told to whoever waits for it, which may come later than the failure.
    this.done.catch(() => {})
  }

  /** @throws SwarmError where no agent records that port; RecordError when it cannot, or `out` cannot be written */
  static async start(coordinator: Coordinator, { port, name, role, out }: RemoteOptions): Promise<RemoteRecorder> {
    const member = coordinator.recorderOf(port)
    const answer = await coordinator.ask(member, { order: 'record' })
    if (answer?.answer !== 'recording') {
      const why = answer?.answer === 'refused' ? answer.reason : (member.why ?? 'it does not answer')
      throw new RecordError(`the agent ${member.name} does not record: ${why}`, 'EREMOTE')
    }
    const header = headerSchema.safeParse(answer.header)
    if (!header.success) {
      throw new RecordError(
        `the agent ${member.name} sends no header of a recording: use the same ebb there`,
        'EREMOTE'
      )
    }
    return new RemoteRecorder(coordinator, member, answer.at - answer.t, { ...header.data, name, role }, out)
  }

  /** The recording's present time, ms: as well as the agent's clock is known here. */
  now(): number {
    const { offset = 0 } = this.#member.clock.best ?? {}
    return Math.max(0, Math.round((performance.now() + offset - this.#began) * 1000) / 1000)
  }

  /** Adds an event with the present time. False when the recording has ended. */
  mark(mark: Mark): boolean {
    if (this.#ended) return false
    this.#marks.push({ type: 'event', t: this.now(), ...mark } as RecordingEvent)
    return true
  }

  /** Ends the recording when all up to now has come. As {@link done}; may be called again. */
  stop(): Promise<Recording> {
    if (this.#stopAt === Number.POSITIVE_INFINITY) {
      this.#stopAt = this.now()
      this.#stopBy = performance.now() + LAST
      this.#wake()
    }
    return this.done
  }

  async #run(): Promise<Recording> {
    try {
      while (!this.#ended) {
        await this.#wait()
        await this.#fetch()
      }
      return this.recording
    } finally {
      this.#ended = true
      for (const sink of this.#sinks) sink.close()
    }
  }

  async #fetch(): Promise<void> {
    const answer = await this.#coordinator.ask(this.#member, { order: 'lines', first: this.#lines })
    if (answer?.answer !== 'lines') {
      const why = answer?.answer === 'refused' ? answer.reason : this.#member.why
      this.mark({
        event: 'note',
        text: `the agent ${this.#member.name} was lost, and nothing is recorded from here on: ${why}`
      })
      this.#end('stopped')
      return
    }
    if (answer.first === this.#lines) {
      this.#lines += answer.lines.length
      for (const line of answer.lines) this.#take(line)
    }
    if (this.#ended) return
    if (answer.ended) this.#end('exited')
    else if (this.#lastTime >= this.#stopAt || performance.now() > this.#stopBy) this.#end('stopped')
  }

  #take(value: unknown): void {
    const schema = (value as { type?: unknown } | null)?.type === 'sample' ? sampleSchema : eventSchema
    const { success, data } = schema.safeParse(value)
    if (!success) {
      this.mark({ event: 'note', text: 'a line of the recording was not understood, and is left out' })
      return
    }
    // What the recorder says of its end is said when all that happened here is written.
    if (data.type === 'event' && data.event === 'end') {
      this.#end(data.reason, data.exitCode, data.signal)
      return
    }
    this.#flush(data.t)
    this.#write(data)
  }

  /** Writes what happened here up to `t`. */
  #flush(t: number): void {
    const due = this.#marks.filter((mark) => mark.t <= t)
    this.#marks = this.#marks.filter((mark) => mark.t > t)
    for (const mark of due) this.#write(mark)
  }

  #write(line: Exclude<Line, Header>): void {
    if (this.#ended) return
    // A mark that came after a later sample: clocks agree to a fraction of a millisecond, no more.
    this.#lastTime = Math.max(this.#lastTime, line.t)
    line.t = this.#lastTime
    for (const sink of this.#sinks) sink.write(line)
    if (line.type === 'sample') this.emit('sample', line)
    else this.emit('event', line)
  }

  #end(reason: 'exited' | 'duration' | 'stopped', exitCode: number | null = null, signal: string | null = null): void {
    this.#flush(Number.POSITIVE_INFINITY)
    this.#write({ type: 'event', t: this.#lastTime, event: 'end', reason, exitCode, signal })
    this.#ended = true
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      // Once stopped, it is a matter of the last samples.
      const timer = setTimeout(resolve, this.#stopAt === Number.POSITIVE_INFINITY ? EVERY : EVERY / 5)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

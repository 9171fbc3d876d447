/**
 * Records a server on another machine: an agent there takes the samples, and this process adds the events of the
 * pulses.
 */
import { EventEmitter } from 'node:events'
import type { Coordinator } from '../pulse/swarm/coordinator.js'
import type { Member } from '../pulse/swarm/member.js'
import type { Mark } from '../record/lines.js'
import { agentLost, lineInvalid } from '../record/notes.js'
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
import { defined } from '../units/defined.js'
import { RecordError } from '../units/errors.js'
import { withResolvers } from '../units/promise.js'

/** Options of {@link RemoteRecorder.start}. */
export interface RemoteOptions {
  /** TCP port of the server. An agent must record this port. */
  port: number
  /** Name of the server in tables and pictures. */
  name: string
  role: 'main' | 'control'
  /** Which of several runs on the server this is, counted from 1. Default: the only one. */
  run?: { index: number; of: number }
  /** What the clients of the server speak. Default: bare TCP. */
  protocol?: 'http' | 'ws' | 'mqtt' | undefined
  /** Number of connections that the server is to hold. The agent refuses if the server lacks descriptors for them. */
  connections: number
  /** Stops waiting for the agent. */
  signal?: AbortSignal | undefined
  /** File to write the recording to. An existing file is replaced. */
  out?: string
}

/** Interval between requests for new lines, ms. */
const POLL_INTERVAL = 250
/** Time to wait for the last sample after a stop, ms. */
const STOP_TIMEOUT = 2000

/**
 * Records a server on another machine, with the methods of `Recorder` that an experiment uses. Times are those of the
 * agent's recorder.
 */
export class RemoteRecorder extends EventEmitter<{ sample: [Sample]; event: [RecordingEvent] }> {
  /** Process id of the server on its machine. */
  readonly pid: number
  /** The recording so far. */
  readonly recording: Recording
  /**
   * Resolves with the recording when it has ended, and with it the server that the agent had started. Rejects if the
   * file cannot be written or the server does not end.
   */
  readonly done: Promise<Recording>

  readonly #coordinator: Coordinator
  readonly #member: Member
  readonly #sinks: Sink<Line>[]
  /** Time on the agent's clock at which its recording began, ms. */
  readonly #began: number
  /** Events of this process that are later than the last line received. They are written once it has been passed. */
  #marks: RecordingEvent[] = []
  /** Number of lines received. */
  #received = 0
  /** Time of the last line written, ms. */
  #lastTime = 0
  /** Time of the recording up to which samples are awaited after a stop, ms. */
  #stopAt = Number.POSITIVE_INFINITY
  /** `performance.now()` at which waiting for these samples ends. */
  #stopDeadline = Number.POSITIVE_INFINITY
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
    // A caller may await `done` later; until then a rejection is not "unhandled".
    this.done.catch(() => {})
  }

  /**
   * Starts a recording on another machine.
   *
   * @throws SwarmError if no agent of the swarm records the port; RecordError (`EREMOTE`) if the agent cannot start or
   *   record the server, or with an errno if `out` cannot be written; the reason of `signal` if it is aborted
   */
  static async start(coordinator: Coordinator, options: RemoteOptions): Promise<RemoteRecorder> {
    const { port, name, role, run, protocol, connections, signal, out } = options
    const member = coordinator.recorderOf(port)
    // The agent may wait for half a minute until its server listens. It stops that when the coordinator frees it.
    const answer = await unlessAborted(coordinator.ask(member, { order: 'record', connections }), signal)
    if (answer?.answer !== 'recording') {
      const why = answer?.answer === 'refused' ? answer.reason : (member.why ?? 'it does not answer')
      throw new RecordError(`the agent ${member.name} does not record: ${why}`, 'EREMOTE')
    }
    const header = headerSchema.safeParse(answer.header)
    if (!header.success) {
      throw new RecordError(
        `the agent ${member.name} sends no header of a recording: install the same version of ebb on its machine`,
        'EREMOTE'
      )
    }
    const named = { ...header.data, name, role, ...defined({ run, protocol }) }
    return new RemoteRecorder(coordinator, member, answer.at - answer.t, named, out)
  }

  /** Whether the agent starts a fresh server for each recording, and is still there to do so. */
  get startsServers(): boolean {
    return this.#member.startsServer && this.#member.state === 'here'
  }

  /** Returns the present time of the recording, ms, as exactly as the agent's clock is known here. */
  now(): number {
    const { offset = 0 } = this.#member.clock.best ?? {}
    return Math.max(0, Math.round((performance.now() + offset - this.#began) * 1000) / 1000)
  }

  /** Adds an event with the present time. Returns false if the recording has ended. */
  mark(mark: Mark): boolean {
    if (this.#ended) return false
    this.#marks.push({ type: 'event', t: this.now(), ...mark } as RecordingEvent)
    return true
  }

  /** Ends the recording once all samples up to now have arrived. Returns {@link done}. May be called more than once. */
  stop(): Promise<Recording> {
    if (this.#stopAt === Number.POSITIVE_INFINITY) {
      this.#stopAt = this.now()
      this.#stopDeadline = performance.now() + STOP_TIMEOUT
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
    } finally {
      this.#ended = true
      for (const sink of this.#sinks) sink.close()
    }
    await this.#stopThere()
    return this.recording
  }

  /** Ends the recording at the agent, and the server if the agent has started it: the next run needs a fresh one. */
  async #stopThere(): Promise<void> {
    const answer = await this.#coordinator.ask(this.#member, { order: 'stop' })
    if (answer?.answer !== 'refused') return
    throw new RecordError(`the agent ${this.#member.name} cannot end the server: ${answer.reason}`, 'EREMOTE')
  }

  /** Requests new lines and writes them. */
  async #fetch(): Promise<void> {
    const answer = await this.#coordinator.ask(this.#member, { order: 'lines', first: this.#received })
    if (answer?.answer !== 'lines') {
      const why = answer?.answer === 'refused' ? answer.reason : this.#member.why
      this.mark(agentLost(this.#member.name, why))
      this.#end('stopped')
      return
    }
    if (answer.first === this.#received) {
      this.#received += answer.lines.length
      for (const line of answer.lines) this.#onLine(line)
    }
    if (this.#ended) return
    if (answer.ended) this.#end('exited')
    else if (this.#lastTime >= this.#stopAt || performance.now() > this.#stopDeadline) this.#end('stopped')
  }

  /** Writes a line of the agent, after the events of this process that came before it. */
  #onLine(value: unknown): void {
    const schema = (value as { type?: unknown } | null)?.type === 'sample' ? sampleSchema : eventSchema
    const { success, data } = schema.safeParse(value)
    if (!success) {
      this.mark(lineInvalid())
      return
    }
    // The end is written after the events of this process that are still buffered.
    if (data.type === 'event' && data.event === 'end') {
      this.#end(data.reason, data.exitCode, data.signal)
      return
    }
    this.#flush(data.t)
    this.#write(data)
  }

  /** Writes the events of this process up to the time `t`. */
  #flush(t: number): void {
    const due = this.#marks.filter((mark) => mark.t <= t)
    this.#marks = this.#marks.filter((mark) => mark.t > t)
    for (const mark of due) this.#write(mark)
  }

  #write(line: Exclude<Line, Header>): void {
    if (this.#ended) return
    // An event may arrive after a later sample, because the clocks agree only to a fraction of a millisecond.
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
      // After a stop, only the last samples are missing.
      const timer = setTimeout(resolve, this.#stopAt === Number.POSITIVE_INFINITY ? POLL_INTERVAL : POLL_INTERVAL / 5)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** Resolves as `promise` does. Rejects with the signal's reason if it is aborted first. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  const { promise: aborted, reject } = withResolvers<never>()
  const abort = (): void => reject(signal.reason)
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort)
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', abort))
}

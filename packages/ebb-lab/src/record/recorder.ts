/** Records one server: a sample at regular times, and an event for everything that happens. */
import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { type KernelMemory, ProcessError } from 'ebb/memory'
import { type Description, nameOf } from '../process/describe.js'
import { type Exit, type Launched, runningProcess } from '../process/launch.js'
import { RecordError } from '../units/errors.js'
import { type Resolvers, withResolvers } from '../units/promise.js'
import { follow } from './follow.js'
import { type Mark, parseLine } from './lines.js'
import { kernelUnreadable, type NoteMark, recorderBehind } from './notes.js'
import { Probe } from './probe.js'
import { FORMAT, type Header, type Line, type Recording, type RecordingEvent, type Sample } from './recording.js'
import { expvarUrl, type Scraper, scrape } from './scrape.js'
import { exitReport, openKernelMemory, Session, type Sink } from './session.js'
import type { LineSplitter } from './splitter.js'
import { Ticker } from './ticker.js'
import { MemorySink, RecordingWriter } from './write.js'

/** Options of a recorder. Times are in milliseconds. */
export interface RecorderOptions {
  /** Name of the server in tables and pictures. Default: its program and script, `node server.js`. */
  name?: string
  /** `control`: a fresh process that sees small pulses only. Default: `main`. */
  role?: 'main' | 'control'
  /** Which of several runs on the server this is, counted from 1. Default: the only one. */
  run?: { index: number; of: number }
  /** What the clients of the server speak. Default: not known, or bare TCP. */
  protocol?: 'http' | 'ws' | 'mqtt'
  /** Path of a file to write to. An existing file is replaced. */
  out?: string
  /**
   * Keeps samples and events in memory. Default: true without `out`, else false, so that a recording to a file can go
   * on for days without taking memory here.
   */
  keep?: boolean
  /** Sums up the process and everything that it started, for a server with workers. Default: false. */
  tree?: boolean
  /** Interval between two samples. Default: 100. */
  statusEvery?: number
  /** Minimum interval between two reads of `smaps_rollup`. Longer if a read takes long. Default: 1,000. */
  smapsEvery?: number
  /**
   * Time after which the recording stops; for a command, from the moment at which it is known which process to record.
   * Default: it stops when the process ends.
   */
  duration?: number
  /** URL of Go's expvar, polled every second: `http://127.0.0.1:6060/debug/vars`. */
  expvar?: string | URL
  /** Stops the recording, which is complete then. */
  signal?: AbortSignal
  /** How the process ended, if the caller started it. The `end` event gets it. */
  exited?: Promise<Exit>
}

type End = Extract<RecordingEvent, { event: 'end' }>

interface RecorderEvents {
  sample: [Sample]
  event: [RecordingEvent]
}

/** Default interval between two samples, ms. */
const STATUS_EVERY = 100
/** Default interval between two reads of `smaps_rollup`, ms. */
const SMAPS_EVERY = 1000

/**
 * A running recording of one server, as `record()` returns it. It goes on until the process ends, `duration` is over,
 * or {@link stop} is called. Emits `sample` and `event` for each line of the recording.
 *
 * Opens all its descriptors at the start, so it goes on if this process runs out of descriptors.
 */
export class Recorder extends EventEmitter<RecorderEvents> {
  /** The recording so far. Without `keep` it has the header and notes only. */
  readonly recording: Recording
  /**
   * Settles when the recording has ended. Rejects with a `RecordError` if it could not go on, for example because the
   * disk is full. A caller may leave it alone: its rejection never counts as unhandled.
   */
  readonly done: Promise<Recording>

  readonly #session: Session<Exclude<Line, Header>>
  readonly #periods: { every: number; smapsEvery: number }
  #pid: number
  #probe: Probe
  #kernel: KernelMemory | null
  readonly #sinks: Sink<Line>[] = []
  /** Gets lines at once, even if they are held: it can still drop them. */
  #memory: MemorySink | undefined
  readonly #options: RecorderOptions
  readonly #launched: Launched | undefined
  #exited: Promise<Exit | null> | undefined
  readonly #splitters: LineSplitter[]
  readonly #resolvers: Resolvers<Recording>
  readonly #scraper: Scraper | undefined
  readonly #ticker: Ticker
  /** Whether the last event is about to be written. */
  #isEnding = false
  /** Time from which the duration counts, ms. */
  #from = 0
  /** Whether the command, or the process that the caller watches, has ended. */
  #hasExited = false
  /** Lines that wait for {@link open}; undefined if lines are written at once. */
  #held: Exclude<Line, Header>[] | undefined
  readonly #opened = withResolvers<void>()

  /**
   * Starts to record.
   *
   * @param launched the command that was started, and that ends with the recording
   * @param isHeld whether to hold all lines back until {@link open} is called, because the process to record may change
   * @throws ProcessError if the process cannot be read
   * @throws RecordError if `out` cannot be written, or an option is invalid
   */
  constructor(
    pid: number,
    description: Description,
    options: RecorderOptions = {},
    launched?: Launched,
    isHeld = false
  ) {
    super()
    this.#pid = pid
    this.#options = options
    this.#launched = launched
    // If the caller's promise rejects, the recording says that the end of the process is not known.
    this.#exited = (launched?.exited ?? options.exited)?.catch(() => null)
    const every = period('statusEvery', options.statusEvery ?? STATUS_EVERY)
    const smapsEvery = period('smapsEvery', options.smapsEvery ?? SMAPS_EVERY)
    const duration = options.duration === undefined ? Number.POSITIVE_INFINITY : period('duration', options.duration)
    if (options.expvar !== undefined) expvarUrl(options.expvar)

    this.#periods = { every, smapsEvery }
    if (isHeld) this.#held = []
    else this.#opened.resolve()
    const header = headerOf(pid, description, options, launched !== undefined, { status: every, smaps: smapsEvery })
    const memory = new MemorySink(header)
    this.recording = memory.recording
    this.#session = new Session<Exclude<Line, Header>>(this.#sinks, (error) => this.#fail(error))
    const opened: { close(): void }[] = []
    const notes: NoteMark[] = []
    try {
      this.#probe = this.#probeOf(pid)
      opened.push(this.#probe)
      this.#kernel = openKernelMemory(pid, (reason) => notes.push(kernelUnreadable(reason)))
      if (this.#kernel) opened.push(this.#kernel)
      if (options.out !== undefined) {
        const writer = new RecordingWriter(options.out)
        opened.push(writer)
        this.#sinks.push(writer)
      }
      if (options.keep ?? options.out === undefined) this.#memory = memory
      else this.recording.notes.push(`kept in ${options.out ?? 'no file'} only: read it from there`)
      if (!isHeld) this.#begin()
      this.#scraper = options.expvar === undefined ? undefined : this.#scrape(options.expvar)
    } catch (error) {
      for (const one of opened) one.close()
      throw error
    }

    this.#resolvers = withResolvers<Recording>()
    this.done = this.#resolvers.promise
    // A caller may await `done` later; until then a rejection is not "unhandled".
    this.done.catch(() => {})

    for (const note of notes) this.mark(note)
    const outputs = launched === undefined ? [] : [launched.stdout, launched.stderr]
    this.#splitters = outputs.map((output) => follow(output, (mark) => this.mark(mark)))
    this.#ticker = new Ticker({
      every,
      ...(!isHeld && { until: duration }),
      now: () => this.now(),
      onTick: () => this.#tick(duration),
      onLate: (missed) => this.mark(recorderBehind(missed, this.now()))
    })
    void this.#exited?.then(() => this.#onExit())
    if (options.signal?.aborted) this.#onAbort()
    else options.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** The process that is recorded. */
  get pid(): number {
    return this.#pid
  }

  /** Whether the recording has ended, or is about to. */
  get isEnding(): boolean {
    return this.#isEnding || this.#session.isEnded
  }

  /** The lines that wait for {@link open}. */
  get held(): readonly Exclude<Line, Header>[] {
    return this.#held ?? []
  }

  /**
   * Resolves when it is known which process to record, and lines are written. For a command: when the command or a
   * process that it started listens, or when none of them does in time. Then {@link pid} and the header stay the same.
   */
  get opened(): Promise<void> {
    return this.#opened.promise
  }

  /**
   * Records another process instead, from now on. For a recorder whose lines are held: the samples so far are dropped.
   *
   * @throws ProcessError if the process cannot be read; the recorder then records the old process still
   */
  moveTo(pid: number, description: Description): void {
    const probe = this.#probeOf(pid)
    this.#probe.close()
    this.#kernel?.close()
    this.#probe = probe
    this.#kernel = openKernelMemory(pid)
    this.#pid = pid
    this.#from = this.now()
    const {
      role: _,
      startedAt,
      ...rest
    } = headerOf(pid, description, this.#options, this.#launched !== undefined, this.recording.header.every)
    Object.assign(this.recording.header, rest)
    this.#held = this.#held?.filter(({ type }) => type !== 'sample')
    this.recording.samples.length = 0
  }

  /** Writes the lines that were held back, after the callers of {@link opened} had their turn. */
  async open(): Promise<void> {
    if (this.#held === undefined) return
    this.#opened.resolve()
    await turn()
    const held = this.#held
    if (held === undefined || this.#session.isEnded) return
    this.#held = undefined
    const memory = this.#memory
    this.#memory = undefined
    try {
      this.#begin()
    } catch (error) {
      this.#fail(error)
    }
    for (const line of held) this.#write(line)
    if (memory !== undefined) this.#sinks.push(memory)
    if (this.#hasExited) void this.#onExit()
  }

  /** Ends the recording with an error: the process to record cannot be found. */
  async fail(error: unknown): Promise<void> {
    await this.open()
    this.#fail(error)
  }

  /** Writes the header to every sink. */
  #begin(): void {
    for (const sink of this.#sinks) sink.write(this.recording.header)
    if (this.#memory !== undefined) this.#sinks.push(this.#memory)
  }

  #probeOf(pid: number): Probe {
    const { tree = false } = this.#options
    return new Probe(pid, { tree, ...this.#periods, onNote: (note) => this.mark(note) })
  }

  /** Returns the milliseconds since the recording's `startedAt`, by a monotonic clock. */
  now(): number {
    return this.#session.now()
  }

  /** Adds an event with the present time. Returns false if the recording has ended and nothing was added. */
  mark(mark: Mark): boolean {
    return this.#write({ type: 'event', t: this.#session.time(), ...mark } as RecordingEvent)
  }

  /**
   * Adds a line that the server printed: as an event of its own if the line is a `Cycle` or `Release` line, else as
   * text. Returns false if the recording has ended.
   */
  line(text: string): boolean {
    return this.mark(parseLine(text))
  }

  /** Ends the recording, and the server if the recorder started it. Returns {@link done}. May be called again. */
  stop(): Promise<Recording> {
    this.#lastSample()
    void this.#finish('stopped')
    return this.done
  }

  readonly #onAbort = (): void => void this.stop()

  #tick(duration: number): boolean {
    if (!this.#sample()) return false
    if (this.#held !== undefined || this.now() < this.#from + duration) return true
    void this.#finish('duration')
    return false
  }

  /** Takes a sample. Returns false if it was the last: the process has ended, or the recording failed. */
  #sample(): boolean {
    try {
      return this.#write(
        this.#session.atOneTime((t) => ({ ...this.#probe.sample(t), kernel: this.#kernel?.read().total ?? null }))
      )
    } catch (error) {
      const isGone = error instanceof ProcessError && error.gone
      // While lines are held, the process to record may still change.
      if (isGone && this.#held !== undefined) return true
      if (isGone) void this.#finish('exited')
      else this.#fail(error)
      return false
    }
  }

  #lastSample(): void {
    const { isEnded, lastTime } = this.#session
    if (!this.#isEnding && !isEnded && this.now() - lastTime >= 1) this.#sample()
  }

  #scrape(url: string | URL): Scraper {
    return scrape(url, {
      onView: (view) => this.mark({ event: 'runtime', ...view }),
      onNote: (note) => this.mark(note)
    })
  }

  #write(line: Exclude<Line, Header>): boolean {
    if (this.#held !== undefined) {
      if (this.#session.isEnded) return false
      this.#held.push(line)
      this.#memory?.write(line)
      return true
    }
    if (!this.#session.write(line)) return false
    if (line.type === 'sample') this.emit('sample', line)
    else this.emit('event', line)
    return true
  }

  /** Called when the command, or the process that the caller watches, has ended. */
  async #onExit(): Promise<void> {
    this.#hasExited = true
    if (this.#held !== undefined) return
    if (this.#launched === undefined || this.#launched.pid === this.#pid || runningProcess(this.#pid) === undefined) {
      await this.#finish('exited')
    } else {
      // The command has left its server behind, so its exit code says nothing about the server.
      this.#exited = undefined
    }
  }

  async #finish(reason: End['reason']): Promise<void> {
    if (this.#isEnding || this.#session.isEnded) return
    this.#isEnding = true
    this.#stopTimers()
    await this.open()
    const exit = reason === 'exited' && this.#exited !== undefined ? await exitReport(this.#exited) : null
    for (const splitter of this.#splitters) splitter.end()
    this.mark({ event: 'end', reason, exitCode: exit?.exitCode ?? null, signal: exit?.signal ?? null })
    if (this.#session.isEnded) return
    this.#session.end()
    const problem = await this.#close()
    if (problem === undefined) this.#resolvers.resolve(this.recording)
    else this.#resolvers.reject(problem.error)
  }

  #fail(error: unknown): void {
    if (this.#session.isEnded) return
    this.#session.end()
    this.#stopTimers()
    // Of several errors, the first is the cause.
    void this.#close().then(() => this.#resolvers.reject(error))
  }

  #stopTimers(): void {
    this.#ticker.stop()
    this.#scraper?.stop()
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
  }

  /** Closes everything and stops the server. Returns the last error. */
  async #close(): Promise<{ error: unknown } | undefined> {
    let problem: { error: unknown } | undefined
    for (const one of [this.#probe, this.#kernel, ...this.#sinks]) {
      try {
        one?.close()
      } catch (error) {
        problem = { error }
      }
    }
    try {
      await this.#launched?.stop()
    } catch (error) {
      problem = { error }
    }
    return problem
  }
}

/** Returns the header of a recording that starts now. */
function headerOf(
  pid: number,
  description: Description,
  options: RecorderOptions,
  output: boolean,
  every: Header['every']
): Header {
  return {
    type: 'header',
    format: FORMAT,
    name: options.name ?? nameOf(pid, description.command),
    role: options.role ?? 'main',
    ...(options.run !== undefined && { run: options.run }),
    ...(options.protocol !== undefined && { protocol: options.protocol }),
    pid,
    ...description,
    ...(options.tree && { tree: true }),
    output,
    startedAt: new Date().toISOString(),
    every
  }
}

/** Checks an option that is a number of milliseconds, and returns it. */
function period(option: string, ms: number): number {
  if (Number.isFinite(ms) && ms > 0) return ms
  throw new RecordError(`${option} is ${ms}: give milliseconds above 0`, 'ERR_INVALID_ARG_VALUE')
}

import { EventEmitter } from 'node:events'
import { KernelMemory, ProcessError } from 'ebb/memory'
import { type Description, nameOf } from '../process/describe.js'
import type { Exit, Launched } from '../process/launch.js'
import { messageOf, RecordError } from '../units/errors.js'
import { follow } from './follow.js'
import { type Mark, parseLine } from './lines.js'
import { kernelUnreadable, type NoteMark, recorderBehind } from './notes.js'
import { Probe } from './probe.js'
import { FORMAT, type Header, type Line, type Recording, type RecordingEvent, type Sample } from './recording.js'
import { expvarUrl, type Scraper, scrape } from './scrape.js'
import type { LineSplitter } from './splitter.js'
import { Ticker } from './ticker.js'
import { MemorySink, RecordingWriter, type Sink } from './write.js'

/** Times in milliseconds. */
export interface RecorderOptions {
  /** What the server is called in tables and pictures. Default: its program and script. */
  name?: string
  /** `control`: a fresh process that sees small pulses only. Default: `main`. */
  role?: 'main' | 'control'
  /** A file to write to, which is replaced. */
  out?: string
  /** Keep samples and events in memory. Default: only without `out`, so that a file can grow for days and this process not. */
  keep?: boolean
  /** Sum up the process and all that it started: a server with workers. Default: false. */
  tree?: boolean
  /** From one sample to the next. Default: 100. */
  statusEvery?: number
  /** From one read of `smaps_rollup` to the next. Default: 1,000; more where reading it takes long. */
  smapsEvery?: number
  /** When to stop. Default: when the process ends. */
  duration?: number
  /** An address of Go's expvar to poll every second: `http://127.0.0.1:6060/debug/vars`. */
  expvar?: string | URL
  /** Stops the recording; what was recorded is complete. */
  signal?: AbortSignal
  /** How the process ended, for one that the caller started: goes into the `end` event. */
  exited?: Promise<Exit>
}

type End = Extract<RecordingEvent, { event: 'end' }>

interface RecorderEvents {
  sample: [Sample]
  event: [RecordingEvent]
}

/** For a process that is seen to have ended until whoever started it says how, ms. */
const EXIT_TIMEOUT = 2000

/**
 * Samples a process until it ends, `duration` is over, or it is stopped. Emits `sample` and `event` for every line.
 * Made by `record()`.
 *
 * All descriptors are opened at the start, so that it goes on when this process runs out of them.
 */
export class Recorder extends EventEmitter<RecorderEvents> {
  readonly pid: number
  /** What is recorded so far; only header and notes where nothing is kept in memory (see `keep`). */
  readonly recording: Recording
  /**
   * Settles when the recording has ended. Rejects with a `RecordError` when it could not go on: the disk is full, say.
   * Whoever does not wait for it is not told.
   */
  readonly done: Promise<Recording>

  readonly #probe: Probe
  readonly #kernel: KernelMemory | null
  readonly #sinks: Sink[] = []
  readonly #options: RecorderOptions
  readonly #launched: Launched | undefined
  readonly #exited: Promise<Exit | null> | undefined
  readonly #splitters: LineSplitter[] = []
  readonly #start = performance.now()
  readonly #settle: { resolve: (recording: Recording) => void; reject: (error: unknown) => void }
  #scraper: Scraper | undefined
  #state: 'recording' | 'ending' | 'ended' = 'recording'
  readonly #ticker: Ticker
  #lastTime = 0

  /** Throws `ProcessError` where the process cannot be read, `RecordError` where `out` cannot be written. */
  constructor(pid: number, description: Description, options: RecorderOptions = {}, launched?: Launched) {
    super()
    this.pid = pid
    this.#options = options
    this.#launched = launched
    // Whatever a caller's own promise does, how the process ended is then not known, and no more.
    this.#exited = (launched?.exited ?? options.exited)?.catch(() => null)
    const every = period('statusEvery', options.statusEvery ?? 100)
    const smapsEvery = period('smapsEvery', options.smapsEvery ?? 1000)
    if (options.duration !== undefined) period('duration', options.duration)
    if (options.expvar !== undefined) expvarUrl(options.expvar)

    const header: Header = {
      type: 'header',
      format: FORMAT,
      name: options.name ?? nameOf(pid, description.command),
      role: options.role ?? 'main',
      pid,
      ...description,
      ...(options.tree && { tree: true }),
      startedAt: new Date().toISOString(),
      every: { status: every, smaps: smapsEvery }
    }
    const memory = new MemorySink(header)
    this.recording = memory.recording
    const opened: { close(): void }[] = []
    const notes: NoteMark[] = []
    try {
      this.#probe = new Probe(pid, {
        tree: options.tree ?? false,
        every,
        smapsEvery,
        onNote: (note) => this.mark(note)
      })
      opened.push(this.#probe)
      this.#kernel = openKernel(pid, notes)
      if (this.#kernel) opened.push(this.#kernel)
      if (options.out !== undefined) {
        const writer = new RecordingWriter(options.out)
        opened.push(writer)
        this.#sinks.push(writer)
      }
      if (options.keep ?? options.out === undefined) this.#sinks.push(memory)
      else this.recording.notes.push(`kept in ${options.out ?? 'no file'} only: read it from there`)
      for (const sink of this.#sinks) sink.write(header)
      if (options.expvar !== undefined) this.#scraper = this.#scrape(options.expvar)
    } catch (error) {
      for (const one of opened) one.close()
      throw error
    }

    const { promise, ...settle } = withResolvers<Recording>()
    this.done = promise
    this.#settle = settle
    // Told to whoever waits for `done` or calls `stop()`, which may come later than the failure.
    this.done.catch(() => {})

    for (const note of notes) this.mark(note)
    if (launched) {
      for (const output of [launched.stdout, launched.stderr]) {
        this.#splitters.push(follow(output, (mark) => this.mark(mark)))
      }
    }
    const { duration = Number.POSITIVE_INFINITY } = options
    this.#ticker = new Ticker({
      every,
      until: duration,
      now: () => this.now(),
      onTick: () => this.#tick(duration),
      onLate: (missed) => this.mark(recorderBehind(missed))
    })
    void this.#exited?.then(() => this.#finish('exited'))
    if (options.signal?.aborted) this.#onAbort()
    else options.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Milliseconds since the recording's `startedAt`, by a monotonic clock. Never falls. */
  now(): number {
    // Thousandths are finer than anything here is timed, and half as long in the file.
    return Math.round((performance.now() - this.#start) * 1000) / 1000
  }

  /** Adds an event with the present time. False when the recording has ended and nothing was added. */
  mark(mark: Mark): boolean {
    return this.#write({ type: 'event', t: this.#time(), ...mark } as RecordingEvent)
  }

  /** Adds a line that the server printed, understood where possible. False when the recording has ended. */
  line(text: string): boolean {
    return this.mark(parseLine(text))
  }

  /** Ends the recording, and the server if the recorder started it. As {@link done}; may be called again. */
  stop(): Promise<Recording> {
    this.#lastSample()
    void this.#finish('stopped')
    return this.done
  }

  readonly #onAbort = (): void => void this.stop()

  #tick(duration: number): boolean {
    if (!this.#sampled()) return false
    if (this.now() < duration) return true
    void this.#finish('duration')
    return false
  }

  /** One sample. False when there will be no more: the process has ended, or the recording failed. */
  #sampled(): boolean {
    try {
      const sample = this.#sample()
      return this.#write(sample)
    } catch (error) {
      if (error instanceof ProcessError && error.gone) void this.#finish('exited')
      else this.#fail(error)
      return false
    }
  }

  #lastSample(): void {
    if (this.#state === 'recording' && this.now() - this.#lastTime >= 1) this.#sampled()
  }

  #sample(): Sample {
    return { ...this.#probe.sample(this.#time()), kernel: this.#kernel?.read().total ?? null }
  }

  #scrape(url: string | URL): Scraper {
    return scrape(url, {
      onView: (view) => this.mark({ event: 'runtime', ...view }),
      onNote: (note) => this.mark(note)
    })
  }

  /** The present, and never before a line that was written. */
  #time(): number {
    this.#lastTime = Math.max(this.#lastTime, this.now())
    return this.#lastTime
  }

  #write(line: Exclude<Line, Header>): boolean {
    if (this.#state === 'ended') return false
    // A sample that was interrupted by a note must not stand behind it with an earlier time.
    if (line.t < this.#lastTime) line.t = this.#lastTime
    try {
      for (const sink of this.#sinks) sink.write(line)
    } catch (error) {
      this.#fail(error)
      return false
    }
    if (line.type === 'sample') this.emit('sample', line)
    else this.emit('event', line)
    return true
  }

  async #finish(reason: End['reason']): Promise<void> {
    if (this.#state !== 'recording') return
    this.#state = 'ending'
    this.#quiet()
    const exit = reason === 'exited' ? await this.#exit() : null
    for (const splitter of this.#splitters) splitter.end()
    this.mark({ event: 'end', reason, exitCode: exit?.exitCode ?? null, signal: exit?.signal ?? null })
    if (this.#isEnded()) return
    this.#state = 'ended'
    const problem = await this.#close()
    if (problem === undefined) this.#settle.resolve(this.recording)
    else this.#settle.reject(problem.error)
  }

  #fail(error: unknown): void {
    if (this.#isEnded()) return
    this.#state = 'ended'
    this.#quiet()
    // The first failure is the one to tell.
    void this.#close().then(() => this.#settle.reject(error))
  }

  /** A method, because the state changes in calls that the compiler does not follow. */
  #isEnded(): boolean {
    return this.#state === 'ended'
  }

  #quiet(): void {
    this.#ticker.stop()
    this.#scraper?.stop()
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
  }

  /** Closes everything and stops the server; the last problem that came up is the answer. */
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

  async #exit(): Promise<Exit | null> {
    if (this.#exited === undefined) return null
    const { promise, resolve } = withResolvers<null>()
    const timer = setTimeout(resolve, EXIT_TIMEOUT, null)
    const exit = await Promise.race([this.#exited, promise])
    clearTimeout(timer)
    return exit
  }
}

function openKernel(pid: number, notes: NoteMark[]): KernelMemory | null {
  try {
    return new KernelMemory(pid)
  } catch (error) {
    notes.push(kernelUnreadable(messageOf(error)))
    return null
  }
}

function period(option: string, ms: number): number {
  if (Number.isFinite(ms) && ms > 0) return ms
  throw new RecordError(`${option} is ${ms}: give milliseconds above 0`, 'ERR_INVALID_ARG_VALUE')
}

/** `Promise.withResolvers`, which Node 20 does not have. */
function withResolvers<T>() {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

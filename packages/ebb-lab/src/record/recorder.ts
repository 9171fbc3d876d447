import { EventEmitter } from 'node:events'
import type { Readable } from 'node:stream'
import { countsDescriptorsFast, KernelMemory, ProcessError, type ProcessShares, ProcessView } from 'ebb/memory'
import { type Description, nameOf } from './describe.js'
import { messageOf, RecordError } from './errors.js'
import type { Exit, Launched } from './launch.js'
import { type Mark, parseLine } from './lines.js'
import { FORMAT, type Header, type Line, type Recording, type RecordingEvent, type Sample } from './recording.js'
import { expvarUrl, type Scraper, scrape } from './scrape.js'
import { LineSplitter } from './splitter.js'
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

/** Periods that may be missed before a recording says that the recorder fell behind. */
const TOLERATED = 3

/** The share of time that reading `smaps_rollup` may take: above it, the reads become fewer. */
const SMAPS_SHARE = 0.01

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

  readonly #view: ProcessView
  readonly #kernel: KernelMemory | null
  readonly #sinks: Sink[] = []
  readonly #options: RecorderOptions
  readonly #launched: Launched | undefined
  readonly #exited: Promise<Exit | null> | undefined
  readonly #splitters: LineSplitter[] = []
  readonly #start = performance.now()
  readonly #every: number
  readonly #smapsEvery: number
  readonly #settle: { resolve: (recording: Recording) => void; reject: (error: unknown) => void }
  #scraper: Scraper | undefined
  #state: 'recording' | 'ending' | 'ended' = 'recording'
  #timer: NodeJS.Timeout | undefined
  #lastTime = 0
  #nextSample = 0
  #nextSmaps = 0
  #descriptors: number | null = null
  #saidLate = false
  #saidSlow = false

  /** Throws `ProcessError` where the process cannot be read, `RecordError` where `out` cannot be written. */
  constructor(pid: number, description: Description, options: RecorderOptions = {}, launched?: Launched) {
    super()
    this.pid = pid
    this.#options = options
    this.#launched = launched
    // Whatever a caller's own promise does, how the process ended is then not known, and no more.
    this.#exited = (launched?.exited ?? options.exited)?.catch(() => null)
    this.#every = period('statusEvery', options.statusEvery ?? 100)
    this.#smapsEvery = period('smapsEvery', options.smapsEvery ?? 1000)
    if (options.duration !== undefined) period('duration', options.duration)
    if (options.expvar !== undefined) expvarUrl(options.expvar)

    const header: Header = {
      type: 'header',
      format: FORMAT,
      name: options.name ?? nameOf(pid, description.command),
      role: options.role ?? 'main',
      pid,
      ...description,
      startedAt: new Date().toISOString(),
      every: { status: this.#every, smaps: this.#smapsEvery }
    }
    const memory = new MemorySink(header)
    this.recording = memory.recording
    const opened: { close(): void }[] = []
    const notes: string[] = []
    try {
      this.#view = new ProcessView(pid)
      opened.push(this.#view)
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

    for (const text of notes) this.mark({ event: 'note', text })
    if (launched) {
      this.#follow(launched.stdout)
      this.#follow(launched.stderr)
    }
    void this.#exited?.then(() => this.#finish('exited'))
    if (options.signal?.aborted) this.#onAbort()
    else options.signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#timer = setTimeout(this.#tick, 0)
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

  readonly #tick = (): void => {
    if (!this.#sampled()) return
    const { duration } = this.#options
    if (duration !== undefined && this.now() >= duration) void this.#finish('duration')
    else this.#schedule()
  }

  /** Against the clock and not from the last tick, so that it does not drift. */
  #schedule(): void {
    this.#nextSample += this.#every
    const late = this.now() - this.#nextSample
    if (late > 0) {
      const missed = Math.ceil(late / this.#every)
      this.#nextSample += missed * this.#every
      if (missed > TOLERATED && !this.#saidLate) {
        this.#saidLate = true
        const text = `the recorder fell behind: ${missed} samples are missing here, and perhaps others later`
        this.mark({ event: 'note', text })
      }
    }
    const { duration = Number.POSITIVE_INFINITY } = this.#options
    const wait = Math.ceil(Math.min(this.#nextSample, duration) - this.now())
    if (this.#state === 'recording') this.#timer = setTimeout(this.#tick, Math.max(0, wait))
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
    const view = this.#view
    const t = this.#time()
    const { resident, anonymous, file, threads } = view.status()
    const cpu = view.cpu()
    let shares: ProcessShares | null = null
    const slowly = t >= this.#nextSmaps
    if (slowly) shares = this.#shares(t)
    if (slowly || countsDescriptorsFast()) this.#descriptors = view.descriptors()
    return {
      type: 'sample',
      t,
      resident,
      anonymous,
      file,
      private: shares?.private ?? null,
      proportional: shares?.proportional ?? null,
      threads,
      descriptors: this.#descriptors,
      cpu,
      kernel: this.#kernel?.read().total ?? null
    }
  }

  #shares(t: number): ProcessShares | null {
    const first = this.#nextSmaps === 0
    // CPU time and not the clock: on a busy machine a read may wait, which is no reason to read less.
    const before = process.cpuUsage()
    const shares = this.#view.smaps()
    const { user, system } = process.cpuUsage(before)
    const cost = (user + system) / 1000
    const wait = Math.max(this.#smapsEvery, cost / SMAPS_SHARE)
    if (wait > this.#smapsEvery && !this.#saidSlow) {
      this.#saidSlow = true
      const text = `reading smaps_rollup takes ${cost.toFixed(0)} ms: private and proportional are read less often`
      this.mark({ event: 'note', text })
    }
    // Half a period early, so that it falls on a sample in any case.
    this.#nextSmaps = t + wait - this.#every / 2
    if (first && shares === null) {
      const text = `private and proportional are missing: smaps_rollup of process ${this.pid} may not be read`
      this.mark({ event: 'note', text })
    }
    return shares
  }

  #scrape(url: string | URL): Scraper {
    return scrape(url, {
      onView: (view) => this.mark({ event: 'runtime', ...view }),
      onNote: (text) => this.mark({ event: 'note', text })
    })
  }

  #follow(output: Readable): void {
    const splitter = new LineSplitter(
      (mark) => this.mark(mark),
      (lines) =>
        this.mark({ event: 'note', text: `${lines} lines of the server left out: it prints too many a second` })
    )
    this.#splitters.push(splitter)
    output.on('data', (chunk: Buffer) => splitter.push(chunk))
    // Whoever waited for the server to listen has read what it said until then, put it back, and paused.
    output.resume()
    // Destroyed with the process; there is nothing to say about a pipe that `end` does not.
    output.on('error', () => {})
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
    clearTimeout(this.#timer)
    this.#scraper?.stop()
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
  }

  /** Closes everything and stops the server; the last problem that came up is the answer. */
  async #close(): Promise<{ error: unknown } | undefined> {
    let problem: { error: unknown } | undefined
    for (const one of [this.#view, this.#kernel, ...this.#sinks]) {
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

function openKernel(pid: number, notes: string[]): KernelMemory | null {
  try {
    return new KernelMemory(pid)
  } catch (error) {
    notes.push(`kernel memory is missing: ${messageOf(error)}`)
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

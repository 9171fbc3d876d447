/** Records the servers of a box, all with one sampler. */
import { EventEmitter } from 'node:events'
import os from 'node:os'
import { type KernelMemory, ProcessError } from 'ebb/memory'
import type { Description } from '../../process/describe.js'
import type { Exit, Launched } from '../../process/launch.js'
import type { Member, MemoryGroup } from '../../process/memory-group.js'
import { withResolvers } from '../../units/promise.js'
import type { DistributiveOmit } from '../../units/types.js'
import { follow } from '../follow.js'
import type { Mark } from '../lines.js'
import { type NoteMark, recorderBehind } from '../notes.js'
import { Probe } from '../probe.js'
import { exitReport, openKernelMemory, Session, type Sink } from '../session.js'
import type { LineSplitter } from '../splitter.js'
import { Ticker } from '../ticker.js'
import { RecordingWriter } from '../write.js'
import {
  BOX_FORMAT,
  BoxBuilder,
  type BoxEvent,
  type BoxHeader,
  type BoxLine,
  type BoxRecording,
  type BoxServerLine,
  type LevelEvent
} from './recording.js'
import { SharedPages } from './shared-pages.js'

/** Options of {@link BoxRecorder}. */
export interface BoxRecorderOptions {
  /** Name of the box. */
  name: string
  /**
   * Path of a file to write to. An existing file is replaced. If this process is killed, at most the line that is being
   * written is lost.
   */
  out?: string
  /** Memory for which to compute how many such servers fit, bytes. Default: not computed. */
  memory?: number
  /** Which of several runs of the box it is, counted from 1. Default: the only one. */
  run?: { index: number; of: number }
}

/** A server that listens and is to be sampled. */
export interface Listening {
  pid: number
  port: number
  description: Pick<Description, 'command' | 'runtime'>
  launched: Launched
  /** Its child group in the box's memory cgroup, if the box has one. */
  member?: Member
}

interface BoxRecorderEvents {
  /** All servers were sampled. `anonymous` is the anonymous memory of the `servers` that still run, bytes. */
  tick: [{ t: number; anonymous: number; servers: number }]
  /** A server ended by itself or was killed. `oom`: the kernel killed it for memory. */
  ended: [server: number, exit: Exit | null, oom: boolean]
  note: [server: number, note: NoteMark]
}

/** An event of a server before it has a time. */
export type BoxMark = Mark | Omit<LevelEvent, 'type' | 't' | 'server'>

/** Interval between two samples, ms. */
const EVERY = 100
/** Minimum interval between two measurements of shared file pages, ms. */
const SHARES_EVERY = 5000
/** Minimum interval between two reads of `smaps_rollup`, ms. */
const SMAPS_EVERY = 5000
/** Share of CPU time that measuring shared pages may take. Above it, they are measured less often. */
const MOST_SHARES_CPU = 0.01
/** Lines per second that are kept of one server's output. */
const MOST_LINES = 50

interface Watched {
  pid: number
  probe: Probe
  launched: Launched
  splitters: LineSplitter[]
  member: Member | undefined
  /** Whether the process has ended, but nobody has reported yet how. */
  gone: boolean
}

/**
 * Records the servers of a box. Each tick samples all servers at one time, so that their memory can be added up.
 *
 * If a line cannot be written, for example because the disk is full, {@link failed} rejects and nothing more is
 * recorded.
 */
export class BoxRecorder extends EventEmitter<BoxRecorderEvents> {
  /** Rejects with a `RecordError` if a line could not be written. Never resolves. */
  readonly failed: Promise<never>
  readonly #session: Session<Exclude<BoxLine, BoxHeader>>
  readonly #builder: BoxBuilder
  readonly #writer: RecordingWriter | undefined
  readonly #watched = new Map<number, Watched>()
  readonly #pages = new SharedPages()
  /** Null if socket memory cannot be read. Then it is null in every `machine` line. */
  readonly #kernel: KernelMemory | null
  /** Runs while a server is sampled. */
  #ticker: Ticker | undefined
  #group: MemoryGroup | undefined
  /** The run that is being recorded: its name for people, and when it began, ms. */
  #run = { name: '', t: 0 }
  #nextShares = 0
  #runs = 0
  #servers = 0

  /** @throws RecordError if `out` cannot be written */
  constructor({ name, out, memory, run }: BoxRecorderOptions) {
    super()
    const { promise, reject } = withResolvers<never>()
    this.failed = promise
    this.failed.catch(() => {})
    const header: BoxHeader = {
      type: 'box',
      format: BOX_FORMAT,
      name,
      startedAt: new Date().toISOString(),
      machine: { cpus: os.cpus().length, memory: os.totalmem(), arch: process.arch },
      kernel: `${os.type()} ${os.release()}`,
      every: { status: EVERY, smaps: SMAPS_EVERY, shares: SHARES_EVERY },
      memory: memory ?? null,
      ...(run !== undefined && { run })
    }
    this.#builder = new BoxBuilder(header)
    this.#writer = out === undefined ? undefined : new RecordingWriter(out)
    this.#writer?.write(header)
    const inMemory: Sink<Exclude<BoxLine, BoxHeader>> = { write: (line) => this.#builder.add(line), close() {} }
    const sinks = this.#writer === undefined ? [inMemory] : [this.#writer, inMemory]
    this.#session = new Session(sinks, (error) => {
      this.#end()
      reject(error)
    })
    this.#kernel = openKernelMemory()
  }

  /** The recording so far. */
  get box(): BoxRecording {
    return this.#builder.box
  }

  /** Begins a run. `limit` is that of `group`, bytes. */
  run(variant: string, role: 'main' | 'control', group?: MemoryGroup, limit?: number): void {
    this.#group = group
    const t = this.#session.time()
    this.#run = { name: role === 'main' ? variant : `${variant} (control)`, t }
    this.#write({ type: 'run', t, run: this.#runs++, variant, role, limit: limit ?? null })
  }

  /** Adds a server to the run, which is about to be started. Returns its number. */
  server(line: Omit<BoxServerLine, 'type' | 't' | 'server'>): number {
    const server = this.#servers++
    this.#write({ type: 'server', t: this.#session.time(), server, ...line })
    return server
  }

  /**
   * Begins to sample a server that listens.
   *
   * @throws ProcessError if the process has ended
   */
  listening(server: number, { pid, port, description, launched, member }: Listening): void {
    const probe = new Probe(pid, {
      every: EVERY,
      smapsEvery: SMAPS_EVERY,
      onNote: (note) => this.mark(server, note)
    })
    const { command, runtime } = description
    this.#event(server, { event: 'listening', pid, port, command, runtime })
    const onOutput = (event: Mark): void => {
      // What a server prints while it is being stopped does not belong to the run.
      if (!this.#watched.has(server)) return
      this.mark(server, event)
      if (event.event === 'note') this.emit('note', server, event)
    }
    const watched: Watched = { pid, probe, launched, splitters: [], member, gone: false }
    this.#watched.set(server, watched)
    for (const output of [launched.stdout, launched.stderr])
      watched.splitters.push(follow(output, onOutput, MOST_LINES))
    this.#ticker ??= new Ticker({
      every: EVERY,
      now: () => this.#session.now(),
      onTick: () => this.#tick(),
      onLate: (missed) => this.note(recorderBehind(missed, this.#session.now() - this.#run.t, this.#run.name))
    })
    // The server shares pages with the others, so the next tick measures the shares again.
    this.#nextShares = 0
    void launched.exited.then((exit) => this.#onEnded(server, exit))
  }

  /** Records that a server did not listen. `oom`: the kernel killed it for memory. */
  didNotListen(server: number, text: string, oom: boolean): void {
    if (oom) this.#event(server, { event: 'oom' })
    this.#event(server, { event: 'failed', text })
  }

  /** Adds an event of a server, with the present time. */
  mark(server: number, mark: BoxMark): void {
    this.#event(server, mark)
  }

  /** Adds a note about the recording as a whole. */
  note({ event: _, ...note }: NoteMark): void {
    this.#write({ type: 'note', t: this.#session.time(), ...note })
  }

  /** Ends the run. Its servers are no longer sampled and may be stopped. */
  endRun(): void {
    for (const [server, { gone }] of this.#watched) {
      // A process that has ended did not run to the end of the run, even if nobody has reported yet how it ended.
      if (gone) this.#onEnded(server, null)
      else this.#endServer(server, 'stopped', null)
    }
    this.#group = undefined
    this.#ticker?.stop()
    this.#ticker = undefined
  }

  /**
   * Ends the recording.
   *
   * @throws RecordError if the file system reports only now that it lost something
   */
  close(reason: 'done' | 'stopped'): void {
    this.endRun()
    this.#write({ type: 'end', t: this.#session.time(), reason })
    this.#end()
    this.#writer?.close()
  }

  #tick(): boolean {
    if (this.#watched.size > 0) this.#session.atOneTime((t) => this.#sampleAll(t))
    return !this.#session.isEnded
  }

  #sampleAll(t: number): void {
    const shares = t >= this.#nextShares ? this.#shares(t) : undefined
    let anonymous = 0
    for (const [server, watched] of this.#watched) {
      if (watched.gone) continue
      try {
        const sample = watched.probe.sample(t)
        const files = shares?.get(watched.pid) ?? null
        anonymous += sample.anonymous
        this.#write({ ...sample, server, share: files === null ? null : sample.anonymous + files })
      } catch (error) {
        if (!(error instanceof ProcessError)) throw error
        watched.gone = true
        // The command that was started reports how it ended, unless it is a shell or npm that lives on.
        void exitReport(watched.launched.exited).then((exit) => this.#onEnded(server, exit))
      }
    }
    const kernel = this.#kernel?.read().total ?? null
    this.#write({ type: 'machine', t, kernel, group: this.#group?.used() ?? null })
    this.emit('tick', { t, anonymous, servers: this.#watched.size })
  }

  #shares(t: number): Map<number, number | null> {
    const before = process.cpuUsage()
    const shares = this.#pages.measure([...this.#watched.values()].map(({ pid }) => pid))
    const { user, system } = process.cpuUsage(before)
    // Half an interval early, so that the measurement surely falls on the intended tick.
    this.#nextShares = t + Math.max(SHARES_EVERY, (user + system) / 1000 / MOST_SHARES_CPU) - EVERY / 2
    return shares
  }

  #onEnded(server: number, exit: Exit | null): void {
    const watched = this.#watched.get(server)
    if (watched === undefined) return
    const oom = (watched.member?.oomKills() ?? 0) > 0
    for (const splitter of watched.splitters) splitter.end()
    if (oom) this.#event(server, { event: 'oom' })
    this.#endServer(server, 'exited', exit)
    this.emit('ended', server, exit, oom)
  }

  #endServer(server: number, reason: 'exited' | 'stopped', exit: Exit | null): void {
    this.#watched.get(server)?.probe.close()
    this.#watched.delete(server)
    this.mark(server, { event: 'end', reason, exitCode: exit?.exitCode ?? null, signal: exit?.signal ?? null })
  }

  #event(server: number, event: DistributiveOmit<BoxEvent, 'type' | 't' | 'server'>): void {
    this.#write({ type: 'event', t: this.#session.time(), server, ...event } as BoxEvent)
  }

  #write(line: Exclude<BoxLine, BoxHeader>): void {
    this.#session.write(line)
  }

  /** Stops sampling and writing. */
  #end(): void {
    this.#session.end()
    this.#ticker?.stop()
    for (const { probe } of this.#watched.values()) probe.close()
    this.#watched.clear()
    this.#kernel?.close()
  }
}

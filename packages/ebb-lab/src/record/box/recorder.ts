import { EventEmitter } from 'node:events'
import os from 'node:os'
import { KernelMemory, ProcessError } from 'ebb/memory'
import type { Description } from '../../process/describe.js'
import type { Exit, Launched } from '../../process/launch.js'
import type { Member, MemoryGroup } from '../../process/memory-group.js'
import { follow } from '../follow.js'
import type { Mark } from '../lines.js'
import { type NoteMark, recorderBehind } from '../notes.js'
import { Probe } from '../probe.js'
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

export interface BoxRecorderOptions {
  name: string
  /** A file to write to, which is replaced. Nothing is lost but the line being written when this process is killed. */
  out?: string
  /** Asked of: how many such servers fit into it, bytes. */
  memory?: number
}

/** A server that listens, to be sampled. */
export interface Listening {
  pid: number
  port: number
  description: Pick<Description, 'command' | 'runtime'>
  launched: Launched
  /** Its place in the box's memory cgroup. */
  member?: Member
}

interface BoxRecorderEvents {
  /** After each look at all servers: the anonymous memory of those that live, and how many they are. */
  tick: [{ t: number; anonymous: number; servers: number }]
  /** A server ended by itself, or was killed. */
  ended: [server: number, exit: Exit | null, oom: boolean]
  note: [server: number, text: string]
}

/** An event of a server before it has a time. */
export type BoxMark = Mark | Omit<LevelEvent, 'type' | 't' | 'server'>

/** Milliseconds. */
const EVERY = 100
const SHARES_EVERY = 2000
const SMAPS_EVERY = 5000
/** Of a processor, that looking at what all servers share may take. */
const SHARE_OF_TIME = 0.01
/** Lines a second that are kept of what one server prints. */
const MOST_LINES = 50
/** For a process that is seen to have ended until whoever started it says how, ms. */
const EXIT_TIMEOUT = 2000

interface Watched {
  pid: number
  probe: Probe
  launched: Launched
  splitters: LineSplitter[]
  member: Member | undefined
  /** It has no memory any more; how it ended is still to be told. */
  gone: boolean
}

/**
 * Records the servers of a box with one sampler: each tick looks at all of them, so that their memory at one moment can be added up.
 *
 * A line that cannot be written (the disk is full) rejects {@link failed}, and nothing is recorded any more.
 */
export class BoxRecorder extends EventEmitter<BoxRecorderEvents> {
  /** Never resolves. */
  readonly failed: Promise<never>
  readonly #builder: BoxBuilder
  readonly #writer: RecordingWriter | undefined
  readonly #start = performance.now()
  readonly #watched = new Map<number, Watched>()
  readonly #pages = new SharedPages()
  readonly #kernel: KernelMemory | null
  /** While there is a server to be looked at. */
  #ticker: Ticker | undefined
  #fail!: (error: unknown) => void
  #group: MemoryGroup | undefined
  #nextShares = 0
  #runs = 0
  #servers = 0
  #lastTime = 0
  /** The time of the tick that is under way: all its samples have it. */
  #tickTime: number | undefined
  #closed = false

  /** Throws `RecordError` where `out` cannot be written. */
  constructor({ name, out, memory }: BoxRecorderOptions) {
    super()
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
    const header: BoxHeader = {
      type: 'box',
      format: BOX_FORMAT,
      name,
      startedAt: new Date().toISOString(),
      machine: { cpus: os.cpus().length, memory: os.totalmem(), arch: process.arch },
      kernel: `${os.type()} ${os.release()}`,
      every: { status: EVERY, smaps: SMAPS_EVERY, shares: SHARES_EVERY },
      memory: memory ?? null
    }
    this.#builder = new BoxBuilder(header)
    this.#writer = out === undefined ? undefined : new RecordingWriter(out)
    this.#writer?.write(header)
    this.#kernel = openKernel()
  }

  get box(): BoxRecording {
    return this.#builder.box
  }

  /** Milliseconds since the recording began, by a monotonic clock. */
  now(): number {
    return Math.round((performance.now() - this.#start) * 1000) / 1000
  }

  /** A run begins. */
  run(variant: string, role: 'main' | 'control', group?: MemoryGroup, limit?: number): void {
    this.#group = group
    this.#write({ type: 'run', t: this.#time(), run: this.#runs++, variant, role, limit: limit ?? null })
  }

  /** A server of the run, which is to be started. Returns its number. */
  server(line: Omit<BoxServerLine, 'type' | 't' | 'server'>): number {
    const server = this.#servers++
    this.#write({ type: 'server', t: this.#time(), server, ...line })
    return server
  }

  /** From now on it is sampled. Throws `ProcessError` when it has gone. */
  listening(server: number, { pid, port, description, launched, member }: Listening): void {
    const probe = new Probe(pid, {
      every: EVERY,
      smapsEvery: SMAPS_EVERY,
      onNote: (note) => this.mark(server, note)
    })
    const { command, runtime } = description
    this.#event(server, { event: 'listening', pid, port, command, runtime })
    const mark = (mark: Mark): void => {
      // What it prints while it is stopped is not of the run.
      if (!this.#watched.has(server)) return
      this.mark(server, mark)
      if (mark.event === 'note') this.emit('note', server, mark.text)
    }
    const watched: Watched = { pid, probe, launched, splitters: [], member, gone: false }
    this.#watched.set(server, watched)
    for (const output of [launched.stdout, launched.stderr]) watched.splitters.push(follow(output, mark, MOST_LINES))
    this.#ticker ??= new Ticker({
      every: EVERY,
      now: () => this.now(),
      onTick: () => this.#tick(),
      onLate: (missed) => this.note(recorderBehind(missed))
    })
    // What all share changes with it: the next tick looks again.
    this.#nextShares = 0
    void launched.exited.then((exit) => this.#ended(server, exit))
  }

  /** It never listened. `oom`: the kernel killed it for memory. */
  unable(server: number, text: string, oom: boolean): void {
    if (oom) this.#event(server, { event: 'oom' })
    this.#event(server, { event: 'failed', text })
  }

  /** Adds an event of a server, with the present time. */
  mark(server: number, mark: BoxMark): void {
    this.#event(server, mark)
  }

  /** What a reader of the recording has to know. */
  note({ code, text, missed }: NoteMark): void {
    this.#write({
      type: 'note',
      t: this.#time(),
      ...(code !== undefined && { code }),
      text,
      ...(missed !== undefined && { missed })
    })
  }

  /** The run is over: its servers are not looked at any more, and may be stopped. */
  endRun(): void {
    for (const [server, { gone }] of this.#watched) {
      // One that has gone, and was waited for to be told how, has not come to the end of the run.
      if (gone) this.#ended(server, null)
      else this.#end(server, 'stopped', null)
    }
    this.#group = undefined
    this.#ticker?.stop()
    this.#ticker = undefined
  }

  /** The recording is over. Throws `RecordError` when the file system says only now that it lost something. */
  close(reason: 'done' | 'stopped'): void {
    this.endRun()
    this.#write({ type: 'end', t: this.#time(), reason })
    this.#quiet()
    this.#writer?.close()
  }

  #tick(): boolean {
    if (this.#watched.size > 0) {
      this.#tickTime = this.#time()
      this.#look(this.#tickTime)
      this.#tickTime = undefined
    }
    return !this.#closed
  }

  #look(t: number): void {
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
        // Its parent says how, unless that is a shell or npm which lives on.
        void this.#exit(watched).then((exit) => this.#ended(server, exit))
      }
    }
    const kernel = this.#kernel?.read().total ?? null
    this.#write({ type: 'machine', t, kernel, group: this.#group?.used() ?? null })
    this.emit('tick', { t, anonymous, servers: this.#watched.size })
  }

  #shares(t: number): Map<number, number | null> {
    const before = process.cpuUsage()
    const shares = this.#pages.look([...this.#watched.values()].map(({ pid }) => pid))
    const { user, system } = process.cpuUsage(before)
    this.#nextShares = t + Math.max(SHARES_EVERY, (user + system) / 1000 / SHARE_OF_TIME) - EVERY / 2
    return shares
  }

  async #exit({ launched }: Watched): Promise<Exit | null> {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<null>((resolve) => {
      timer = setTimeout(resolve, EXIT_TIMEOUT, null)
    })
    const exit = await Promise.race([launched.exited, timeout])
    clearTimeout(timer)
    return exit
  }

  #ended(server: number, exit: Exit | null): void {
    const watched = this.#watched.get(server)
    if (watched === undefined) return
    const oom = (watched.member?.oomKills() ?? 0) > 0
    for (const splitter of watched.splitters) splitter.end()
    if (oom) this.#event(server, { event: 'oom' })
    this.#end(server, 'exited', exit)
    this.emit('ended', server, exit, oom)
  }

  #end(server: number, reason: 'exited' | 'stopped', exit: Exit | null): void {
    this.#watched.get(server)?.probe.close()
    this.#watched.delete(server)
    this.mark(server, { event: 'end', reason, exitCode: exit?.exitCode ?? null, signal: exit?.signal ?? null })
  }

  #event(server: number, event: DistributiveOmit<BoxEvent, 'type' | 't' | 'server'>): void {
    this.#write({ type: 'event', t: this.#time(), server, ...event } as BoxEvent)
  }

  /** The present, and never before a line that was written. */
  #time(): number {
    this.#lastTime = this.#tickTime ?? Math.max(this.#lastTime, this.now())
    return this.#lastTime
  }

  #write(line: Exclude<BoxLine, BoxHeader>): void {
    if (this.#closed) return
    try {
      this.#writer?.write(line)
      this.#builder.add(line)
    } catch (error) {
      this.#quiet()
      this.#fail(error)
    }
  }

  #quiet(): void {
    this.#closed = true
    this.#ticker?.stop()
    for (const { probe } of this.#watched.values()) probe.close()
    this.#watched.clear()
    this.#kernel?.close()
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

function openKernel(): KernelMemory | null {
  try {
    return new KernelMemory()
  } catch {
    // It is null in every line then, which says as much.
    return null
  }
}

/**
 * The recording of a box: newline-delimited JSON as in `recording.ts`, of several servers by one clock. The first line is of the
 * type `box`; then come runs, one after the other, each with its servers and their samples and events, and the machine's.
 */
import { z } from 'zod'
import { eventSchema, type Header, headerSchema, type Recording, sampleSchema } from '../recording.js'

/** Version of the format. A reader refuses a newer one by name. */
export const BOX_FORMAT = 1

const bytes = z.number().int().nonnegative()
const time = z.number().nonnegative()
const count = z.number().int().nonnegative()

export const boxHeaderSchema = z.object({
  type: z.literal('box'),
  format: z.literal(BOX_FORMAT),
  /** The name of the file that described the box, without its ending, or what that says. */
  name: z.string(),
  startedAt: z.string(),
  machine: headerSchema.shape.machine,
  kernel: z.string(),
  /** Milliseconds between two samples, two reads of `smaps_rollup`, and two looks at what servers share. */
  every: headerSchema.shape.every.extend({ shares: time }),
  /** The memory of which it is asked how many such servers fit into it; null: none. */
  memory: bytes.nullable()
})

/** A run begins: all servers of the box at once. What was before it has ended. */
export const runSchema = z.object({
  type: z.literal('run'),
  t: time,
  /** Counts from 0. */
  run: count,
  /** The variant of the servers, or the box's name where the file has none. */
  variant: z.string(),
  role: z.enum(['main', 'control']),
  /** Of the memory cgroup that its servers are in, or null. */
  limit: bytes.nullable()
})

/** A server of the present run is to be started. */
export const boxServerSchema = z.object({
  type: z.literal('server'),
  t: time,
  /** Counts from 0 over the whole file. */
  server: count,
  name: z.string(),
  governed: z.boolean(),
  /** Its load, in words. */
  load: z.string(),
  /** The server of the variant's control run that tells what this one needs; null: none does. */
  control: z.string().nullable()
})

/** As a server's own recording has it, but the machine's memory, and: */
export const boxSampleSchema = sampleSchema.omit({ kernel: true }).extend({
  server: count,
  /**
   * Its part of the box: what is its own, and of each file's page that servers of the box share, its part. Null on samples
   * between two looks, or where `pagemap` may not be read.
   */
  share: bytes.nullable()
})

/** The machine, at each sample. */
export const machineSchema = z.object({
  type: z.literal('machine'),
  t: time,
  /** Socket buffers of the whole machine; null where they may not be read. */
  kernel: bytes.nullable(),
  /** What the cgroup of a box with a limit is charged: processes, sockets, and pages of files; null without one. */
  group: bytes.nullable()
})

const event = z.literal('event')

/** Events of servers: these, and those of a recording. */
export const boxEventSchema = z.discriminatedUnion('event', [
  /** It listens: from now on it is sampled. */
  z.object({
    type: event,
    t: time,
    server: count,
    event: z.literal('listening'),
    pid: count,
    port: count,
    command: headerSchema.shape.command,
    runtime: headerSchema.shape.runtime
  }),
  /** It never listened. */
  z.object({ type: event, t: time, server: count, event: z.literal('failed'), text: z.string() }),
  /** A load that is not one of pulses: so many connections are asked for, so many are there. */
  z.object({
    type: event,
    t: time,
    server: count,
    event: z.literal('level'),
    connections: count,
    open: count,
    /** Made, failed, and closed by the server first, since the last such event. */
    connected: count,
    failed: count,
    lost: count
  }),
  /** The kernel killed it for memory. */
  z.object({ type: event, t: time, server: count, event: z.literal('oom') }),
  ...eventSchema.options.map((option) => option.extend({ server: count }))
])

export const boxNoteSchema = z.object({
  type: z.literal('note'),
  t: time,
  code: z.string().optional(),
  text: z.string(),
  missed: count.optional()
})

/** The recording is complete. `stopped`: by hand, before the end of its present run. */
export const boxEndSchema = z.object({ type: z.literal('end'), t: time, reason: z.enum(['done', 'stopped']) })

export type BoxHeader = z.infer<typeof boxHeaderSchema>
type RunLine = z.infer<typeof runSchema>
export type BoxServerLine = z.infer<typeof boxServerSchema>
type BoxSample = z.infer<typeof boxSampleSchema>
type MachineSample = z.infer<typeof machineSchema>
export type BoxEvent = z.infer<typeof boxEventSchema>
export type BoxLine =
  | BoxHeader
  | RunLine
  | BoxServerLine
  | BoxSample
  | MachineSample
  | BoxEvent
  | z.infer<typeof boxNoteSchema>
  | z.infer<typeof boxEndSchema>

export type LevelEvent = Extract<BoxEvent, { event: 'level' }>

/** A server of a run. Times are ms since the run began. */
export interface BoxServer {
  id: number
  name: string
  governed: boolean
  load: string
  control: string | null
  /** As if it had been recorded alone; null: it never listened. */
  recording: Recording | null
  /** Its part of the files' pages that servers of the box map, when that was looked at: bytes. */
  files: { t: number; bytes: number }[]
  levels: LevelEvent[]
  /** The kernel killed it for memory. */
  oom: boolean
  /** Why it never listened. */
  failure: string | null
}

/** A run of a box. Times are ms since it began. */
export interface BoxRun {
  variant: string
  role: 'main' | 'control'
  limit: number | null
  servers: BoxServer[]
  machine: MachineSample[]
  /** It went to its end. */
  complete: boolean
}

/** A box in memory. */
export interface BoxRecording {
  header: BoxHeader
  runs: BoxRun[]
  /** What a reader has to know. */
  notes: string[]
  complete: boolean
}

/** Puts a box together, line by line: the same for one that is being recorded and one that is read. */
export class BoxBuilder {
  readonly box: BoxRecording
  readonly #servers = new Map<number, BoxServer>()
  #start = 0

  constructor(header: BoxHeader) {
    this.box = { header, runs: [], notes: [], complete: false }
  }

  /** Throws a sentence about the line where it does not fit what was before it. */
  add(line: Exclude<BoxLine, BoxHeader>): void {
    const { box } = this
    switch (line.type) {
      case 'run': {
        const { variant, role, limit, t } = line
        this.#endRun()
        this.#servers.clear()
        this.#start = t
        box.runs.push({ variant, role, limit, servers: [], machine: [], complete: false })
        break
      }
      case 'server': {
        const run = box.runs.at(-1)
        if (run === undefined) throw new Error('is a server outside of any run')
        const { server: id, name, governed, load, control } = line
        if (this.#servers.has(id)) throw new Error(`has the number ${id} of another server`)
        const server: BoxServer = {
          id,
          name,
          governed,
          load,
          control,
          recording: null,
          files: [],
          levels: [],
          oom: false,
          failure: null
        }
        this.#servers.set(id, server)
        run.servers.push(server)
        break
      }
      case 'sample': {
        const { server: id, share, ...sample } = line
        const { recording, files } = this.#server(id)
        if (recording === null) throw new Error(`is a sample of server ${id}, which does not listen`)
        const t = this.#since(line.t)
        recording.samples.push({ ...sample, t, kernel: null })
        if (share !== null) files.push({ t, bytes: Math.max(0, share - line.anonymous) })
        break
      }
      case 'machine':
        box.runs.at(-1)?.machine.push({ ...line, t: this.#since(line.t) })
        break
      case 'event':
        this.#event(line)
        break
      case 'note':
        box.notes.push(line.text)
        break
      case 'end':
        if (line.reason === 'done') this.#endRun()
        box.complete = true
    }
  }

  #event(line: BoxEvent): void {
    const server = this.#server(line.server)
    const t = this.#since(line.t)
    switch (line.event) {
      case 'listening':
        server.recording = { header: this.#headerOf(server, line), samples: [], events: [], complete: false, notes: [] }
        break
      case 'failed':
        server.failure = line.text
        break
      case 'level':
        server.levels.push({ ...line, t })
        break
      case 'oom':
        server.oom = true
        break
      default: {
        const { server: _, ...event } = line
        server.recording?.events.push({ ...event, t })
        if (line.event === 'end' && server.recording !== null) server.recording.complete = true
      }
    }
  }

  #headerOf({ name }: BoxServer, line: Extract<BoxEvent, { event: 'listening' }>): Header {
    const { machine, kernel, every, startedAt } = this.box.header
    const { status, smaps } = every
    const { pid, command, runtime } = line
    const begun = new Date(Date.parse(startedAt) + this.#start)
    return {
      type: 'header',
      format: 1,
      name,
      role: this.box.runs.at(-1)?.role ?? 'main',
      pid,
      command,
      runtime,
      startedAt: Number.isNaN(begun.getTime()) ? startedAt : begun.toISOString(),
      machine,
      kernel,
      every: { status, smaps }
    }
  }

  #server(id: number): BoxServer {
    const server = this.#servers.get(id)
    if (server === undefined) throw new Error(`names server ${id}, which this run does not have`)
    return server
  }

  #endRun(): void {
    const run = this.box.runs.at(-1)
    if (run !== undefined) run.complete = true
  }

  /** Thousandths again: a difference of two has more digits. */
  #since(t: number): number {
    return Math.round((t - this.#start) * 1000) / 1000
  }
}

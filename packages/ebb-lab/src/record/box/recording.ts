/**
 * The format of a box's recording: newline-delimited JSON as in `recording.ts`, for several servers with one clock. The
 * first line has the type `box`. Then come the runs, one after the other, each with its servers, their samples and
 * events, and samples of the machine.
 */
import { z } from 'zod'
import { RecordError } from '../../units/errors.js'
import { eventSchema, type Header, headerSchema, type Recording, sampleSchema } from '../recording.js'

/** Version of the format. A reader refuses newer versions. */
export const BOX_FORMAT = 1

const bytes = z.number().int().nonnegative()
const time = z.number().nonnegative()
const count = z.number().int().nonnegative()

export const boxHeaderSchema = z.object({
  type: z.literal('box'),
  format: z.literal(BOX_FORMAT),
  /** Name of the box: what its file says, or the file's name without its extension. */
  name: z.string(),
  startedAt: z.string(),
  machine: headerSchema.shape.machine,
  kernel: z.string(),
  /** Milliseconds between two samples, two reads of `smaps_rollup`, and two measurements of shared file pages. */
  every: headerSchema.shape.every.extend({ shares: time }),
  /** Memory for which to compute how many such servers fit; null if that was not asked for. */
  memory: bytes.nullable(),
  /** Which of several runs of the box this is, counted from 1. Only if there are several. */
  run: headerSchema.shape.run
})

/** A run begins, with all servers of the box at once. The previous run has ended. */
export const runSchema = z.object({
  type: z.literal('run'),
  t: time,
  /** Counts from 0. */
  run: count,
  /** Variant of the servers; the box's name if the file has no variants. */
  variant: z.string(),
  role: z.enum(['main', 'control']),
  /** Limit of the memory cgroup that the servers are in; null without one. */
  limit: bytes.nullable()
})

/** A server of the present run is about to be started. */
export const boxServerSchema = z.object({
  type: z.literal('server'),
  t: time,
  /** Counts from 0 over the whole file. */
  server: count,
  name: z.string(),
  governed: z.boolean(),
  /** Its load, for people. */
  load: z.string(),
  /** What its clients spoke. Only if it was more than bare TCP. */
  protocol: headerSchema.shape.protocol,
  /** Name of the server in the control run that shows what this one needs; null if there is none. */
  control: z.string().nullable()
})

/** A sample of a server, without the machine's memory. */
export const boxSampleSchema = sampleSchema.omit({ kernel: true }).extend({
  server: count,
  /**
   * Its part of the box: its anonymous memory, and its part of the file pages that servers of the box share. Null
   * between two measurements of shared pages, or if `pagemap` may not be read.
   */
  share: bytes.nullable()
})

/** A sample of the machine. */
export const machineSchema = z.object({
  type: z.literal('machine'),
  t: time,
  /** Socket buffers of the whole machine; null if they may not be read. */
  kernel: bytes.nullable(),
  /** Bytes charged to the box's cgroup: processes, sockets and file pages; null without a cgroup. */
  group: bytes.nullable()
})

const event = z.literal('event')

/** Events of a server: these, and the events of a server's own recording. */
export const boxEventSchema = z.discriminatedUnion('event', [
  /** The server listens, and is sampled from now on. */
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
  /** The server did not listen. */
  z.object({ type: event, t: time, server: count, event: z.literal('failed'), text: z.string() }),
  /** The number of connections of a load without pulses has changed: `connections` were asked for, `open` are open. */
  z.object({
    type: event,
    t: time,
    server: count,
    event: z.literal('level'),
    connections: count,
    open: count,
    /** Connections made, failed, and closed by the server first, since the last `level` event. */
    connected: count,
    failed: count,
    lost: count
  }),
  /** The kernel killed the server for memory. */
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

/** The last line. `stopped`: the recording was stopped before the end of its run. */
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

/** A server of a run. Times are in ms since the run began. */
export interface BoxServer {
  id: number
  name: string
  governed: boolean
  load: string
  protocol?: Header['protocol']
  control: string | null
  /** Its recording, as if it had been recorded alone; null if it never listened. */
  recording: Recording | null
  /** Its part of the file pages that servers of the box map, bytes, at each measurement of shared pages. */
  files: { t: number; bytes: number }[]
  levels: LevelEvent[]
  /** The kernel killed the server for memory. */
  oom: boolean
  /** Why it did not listen; null if it did, or if it is not known. */
  failure: string | null
}

/** A run of a box. Times are in ms since it began. */
export interface BoxRun {
  variant: string
  role: 'main' | 'control'
  limit: number | null
  servers: BoxServer[]
  machine: MachineSample[]
  /** Whether the run ended as planned. */
  complete: boolean
}

/** The recording of a box in memory. */
export interface BoxRecording {
  header: BoxHeader
  runs: BoxRun[]
  /** Notes about the recording as a whole, one sentence each. */
  notes: string[]
  complete: boolean
}

/** Builds a box from its lines, while it is recorded or read. */
export class BoxBuilder {
  readonly box: BoxRecording
  readonly #servers = new Map<number, BoxServer>()
  #start = 0

  constructor(header: BoxHeader) {
    this.box = { header, runs: [], notes: [], complete: false }
  }

  /**
   * Adds a line.
   *
   * @throws RecordError if the line does not fit the lines before it. Its message is a predicate whose subject is the
   *   line: `has the number 3 of another server`
   */
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
        if (run === undefined) throw new RecordError('is a server outside of any run', 'ERR_RECORDING_INVALID')
        const { server: id, name, governed, load, protocol, control } = line
        if (this.#servers.has(id))
          throw new RecordError(`has the number ${id} of another server`, 'ERR_RECORDING_INVALID')
        const server: BoxServer = {
          id,
          name,
          governed,
          load,
          ...(protocol !== undefined && { protocol }),
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
        if (recording === null)
          throw new RecordError(`is a sample of server ${id}, which does not listen`, 'ERR_RECORDING_INVALID')
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

  #headerOf({ name, protocol }: BoxServer, line: Extract<BoxEvent, { event: 'listening' }>): Header {
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
      ...(protocol !== undefined && { protocol }),
      startedAt: Number.isNaN(begun.getTime()) ? startedAt : begun.toISOString(),
      machine,
      kernel,
      every: { status, smaps }
    }
  }

  #server(id: number): BoxServer {
    const server = this.#servers.get(id)
    if (server === undefined)
      throw new RecordError(`names server ${id}, which this run does not have`, 'ERR_RECORDING_INVALID')
    return server
  }

  #endRun(): void {
    const run = this.box.runs.at(-1)
    if (run !== undefined) run.complete = true
  }

  /** Returns the time since the run began, rounded to thousandths again. */
  #since(t: number): number {
    return Math.round((t - this.#start) * 1000) / 1000
  }
}

/**
 * The format of a recording: newline-delimited JSON. The first line is a header, every other line a sample or an event.
 *
 * Times `t` are milliseconds since the header's `startedAt`, by a monotonic clock. Sizes are bytes. Lines are in the
 * order in which they were written, and `t` never falls from one line to the next.
 */
import { z } from 'zod'

/** Version of the format. A reader refuses newer versions. */
export const FORMAT = 1

const bytes = z.number().int().nonnegative()
const time = z.number().nonnegative()
const count = z.number().int().nonnegative()

export const headerSchema = z.object({
  type: z.literal('header'),
  format: z.literal(FORMAT),
  /** Name of the server in tables and pictures. */
  name: z.string(),
  /** `main`: the run that is judged. `control`: a fresh process that saw small pulses only, which shows *need*. */
  role: z.enum(['main', 'control']),
  /** Which of several runs on the server this is, counted from 1. Only if there are several. */
  run: z.object({ index: count.min(1), of: count.min(1) }).optional(),
  pid: count,
  /** Command line; null if `/proc/PID/cmdline` could not be read. */
  command: z.array(z.string()).nullable(),
  /** Runtime of the server, `{ name: 'node', version: '20.20.2' }`; null if it is not known. */
  runtime: z.object({ name: z.string(), version: z.string().nullable() }).nullable(),
  /** What the clients spoke. Only if it was more than bare TCP. */
  protocol: z.enum(['http', 'ws', 'mqtt']).optional(),
  /** Set if figures are the sums of the process and everything that it started. */
  tree: z.literal(true).optional(),
  /** Whether the recorder sees what the server prints; false for a server that it did not start. */
  output: z.boolean().optional(),
  /** Start time by the machine's clock, ISO 8601. */
  startedAt: z.string(),
  machine: z.object({ cpus: count, memory: bytes, arch: z.string() }),
  kernel: z.string(),
  /** Milliseconds between two reads of `status`, and between two reads of `smaps_rollup`. */
  every: z.object({ status: time, smaps: time })
})

export const sampleSchema = z.object({
  type: z.literal('sample'),
  t: time,
  /** `VmRSS`. */
  resident: bytes,
  /** `RssAnon` + `VmSwap`. */
  anonymous: bytes,
  /** `RssFile` + `RssShmem`. */
  file: bytes,
  /** USS and PSS from `smaps_rollup`; null between two reads of it, or if it may not be read. */
  private: bytes.nullable(),
  proportional: bytes.nullable(),
  /** Number of processes that are summed up, in a recording of a tree. */
  processes: count.optional(),
  /** Number of threads. */
  threads: count,
  /** Number of open descriptors; null if they may not be counted. */
  descriptors: count.nullable(),
  /** User and system CPU time since the process started, ms. */
  cpu: time,
  /** Socket buffers in the kernel (TCP and UDP of the whole machine), outside every process; null if not readable. */
  kernel: bytes.nullable()
})

/** The runtime's own view of its memory. `objects` is null if the runtime does not know it. */
const runtimeView = { system: bytes, inuse: bytes, released: bytes, objects: count.nullable() }

export const eventSchema = z.discriminatedUnion('event', [
  /** A pulse begins to connect. `index` counts from 0 over the whole plan. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('pulse'),
    index: count,
    size: z.enum(['big', 'small']),
    n: count
  }),
  /** All connections of the pulse have opened or failed. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('connected'),
    index: count,
    connected: count,
    failed: count
  }),
  /** The pulse begins to close its connections. */
  z.object({ type: z.literal('event'), t: time, event: z.literal('closing'), index: count }),
  /**
   * All connections of the pulse are closed. `lost`: how many of them the server closed first. `replaced`: how many
   * left while it was held, each for a new one; only if there were any.
   */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('closed'),
    index: count,
    lost: count,
    replaced: count.optional()
  }),
  /** A `Cycle` line of the server: how many clients it has, and its runtime's view of memory. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('cycle'),
    cycle: count,
    clients: count,
    ...runtimeView
  }),
  /** The runtime's view of memory, polled from Go's expvar. */
  z.object({ type: z.literal('event'), t: time, event: z.literal('runtime'), ...runtimeView }),
  /** A `Release` line: the server released memory. `pauseMs` is null if it is not reported. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('release'),
    before: bytes,
    after: bytes,
    ms: time,
    pauseMs: time.nullable()
  }),
  /** Any other line that the server printed, cut at 1,000 characters. */
  z.object({ type: z.literal('event'), t: time, event: z.literal('line'), text: z.string() }),
  /**
   * A note for the reader of the recording, such as a sampler that fell behind. Programs go by `code`, see `notes.ts`;
   * `text` is for people. Recordings of older versions have no codes; those of newer versions may have unknown codes.
   */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('note'),
    code: z.string().optional(),
    text: z.string(),
    /** Lines of the server that were left out (`lines-left-out`). */
    lines: count.optional(),
    /** Answers that did not arrive (`answers-missing`). */
    answers: count.optional(),
    /** Samples that were not taken (`recorder-behind`). */
    missed: count.optional()
  }),
  /** The last event. A recording without it was cut off. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('end'),
    reason: z.enum(['exited', 'duration', 'stopped']),
    exitCode: z.number().int().nullable(),
    signal: z.string().nullable()
  })
])

/** First line of a recording. */
export type Header = z.infer<typeof headerSchema>
/** What a process held at one time. */
export type Sample = z.infer<typeof sampleSchema>
/** Something that happened. */
export type RecordingEvent = z.infer<typeof eventSchema>
/** A line of a recording. */
export type Line = Header | Sample | RecordingEvent

/** A recording in memory. */
export interface Recording {
  header: Header
  samples: Sample[]
  events: RecordingEvent[]
  /** Whether the `end` event is there. */
  complete: boolean
  /** Notes about the file itself: that it was cut off, and where. */
  notes: string[]
}

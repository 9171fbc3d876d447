/**
 * The recording: newline-delimited JSON. The first line is a header, every other line a sample or an event.
 *
 * All times `t` are milliseconds since the header's `startedAt`, by a monotonic clock; all sizes are bytes. Lines
 * stand in the order in which they were written; `t` never falls from one line to the next.
 */
import { z } from 'zod'

/** Version of the format. A reader refuses a newer one by name. */
export const FORMAT = 1

const bytes = z.number().int().nonnegative()
const time = z.number().nonnegative()
const count = z.number().int().nonnegative()

export const headerSchema = z.object({
  type: z.literal('header'),
  format: z.literal(FORMAT),
  /** What the server is called in tables and pictures. */
  name: z.string(),
  /** `main`: the run that is judged. `control`: a fresh process that saw small pulses only; it gives *need*. */
  role: z.enum(['main', 'control']),
  pid: count,
  /** The command line, or null where `/proc/PID/cmdline` could not be read. */
  command: z.array(z.string()).nullable(),
  /** The runtime that executes the server, where it could be told: `{ name: 'node', version: '20.20.2' }`. */
  runtime: z.object({ name: z.string(), version: z.string().nullable() }).nullable(),
  /** The figures are the sums of the process and all that it started. */
  tree: z.literal(true).optional(),
  /** ISO 8601, the machine's clock. */
  startedAt: z.string(),
  machine: z.object({ cpus: count, memory: bytes, arch: z.string() }),
  kernel: z.string(),
  /** Milliseconds between two reads of `status`, and of `smaps_rollup`. */
  every: z.object({ status: time, smaps: time })
})

export const sampleSchema = z.object({
  type: z.literal('sample'),
  t: time,
  /** `VmRSS`. */
  resident: bytes,
  /** `RssAnon`. */
  anonymous: bytes,
  /** `RssFile` + `RssShmem`. */
  file: bytes,
  /** USS and PSS from `smaps_rollup`; null on samples between two reads of it, or where it may not be read. */
  private: bytes.nullable(),
  proportional: bytes.nullable(),
  /** How many are summed up, in a recording of a tree. */
  processes: count.optional(),
  threads: count,
  /** Open descriptors; null where they may not be counted. */
  descriptors: count.nullable(),
  /** User + system time that the process has used since it started, ms. */
  cpu: time,
  /** Socket buffers, outside every process (TCP and UDP of the whole machine); null where they may not be read. */
  kernel: bytes.nullable()
})

/** The runtime's own view, in the words of DESIGN.md; `objects` is null where the runtime does not know. */
const runtimeView = { system: bytes, inuse: bytes, released: bytes, objects: count.nullable() }

export const eventSchema = z.discriminatedUnion('event', [
  /** A pulse starts to connect. `index` counts from 0 over the whole plan. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('pulse'),
    index: count,
    size: z.enum(['big', 'small']),
    n: count
  }),
  /** All connections of the pulse are open, or have failed. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('connected'),
    index: count,
    connected: count,
    failed: count
  }),
  z.object({ type: z.literal('event'), t: time, event: z.literal('closing'), index: count }),
  /** All connections of the pulse are closed. `lost`: those that the server closed first. */
  z.object({ type: z.literal('event'), t: time, event: z.literal('closed'), index: count, lost: count }),
  /** The server said how many clients it has and how its runtime sees its memory (a `Cycle` line). */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('cycle'),
    cycle: count,
    clients: count,
    ...runtimeView
  }),
  /** The runtime's view, polled (Go's expvar). */
  z.object({ type: z.literal('event'), t: time, event: z.literal('runtime'), ...runtimeView }),
  /** The server gave memory back. Null: not told. */
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
   * What a reader of the recording has to know, such as a sampler that fell behind. `code` tells programs what it is, see
   * `notes.ts`; `text` tells people. Recordings of older versions have no codes, and those of newer ones may have
   * unknown codes.
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
  /** The recording is complete. A recording without it was cut off. */
  z.object({
    type: z.literal('event'),
    t: time,
    event: z.literal('end'),
    reason: z.enum(['exited', 'duration', 'stopped']),
    exitCode: z.number().int().nullable(),
    signal: z.string().nullable()
  })
])

export type Header = z.infer<typeof headerSchema>
export type Sample = z.infer<typeof sampleSchema>
export type RecordingEvent = z.infer<typeof eventSchema>
export type Line = Header | Sample | RecordingEvent

/** A recording in memory. */
export interface Recording {
  header: Header
  samples: Sample[]
  events: RecordingEvent[]
  /** True when the `end` event is there. */
  complete: boolean
  /** What a reader has to know about the file itself: that it was cut off, and where. */
  notes: string[]
}

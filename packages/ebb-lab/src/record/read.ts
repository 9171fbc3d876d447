import { createReadStream } from 'node:fs'
import type { z } from 'zod'
import { codeOf, RecordError, reasonOf } from './errors.js'
import {
  eventSchema,
  FORMAT,
  type Header,
  headerSchema,
  type Recording,
  type RecordingEvent,
  type Sample,
  sampleSchema
} from './recording.js'

/** No line of a recording comes near this many bytes: what is longer is another kind of file. */
const LONGEST_LINE = 1_048_576

/**
 * Reads a recording file. A line is whole when its newline is there: what follows the last newline was cut off, and is
 * left out with a note. A line in the middle that cannot be understood is an error with its number.
 *
 * Throws {@link RecordError}: with the system's code where the file cannot be read, `ERR_RECORDING_FORMAT` for a newer
 * format, `ERR_RECORDING_INVALID` for anything else.
 */
export async function readRecording(path: string): Promise<Recording> {
  try {
    return await parseRecording(createReadStream(path), path)
  } catch (error) {
    if (error instanceof RecordError) throw error
    throw new RecordError(`cannot read the recording ${path}: ${reasonOf(error)}`, codeOf(error), 'read', error)
  }
}

/** As {@link readRecording}, from text, bytes or pieces of either. `name` stands in the errors in place of a path. */
export async function parseRecording(
  source: string | Uint8Array | AsyncIterable<string | Uint8Array>,
  name = 'recording'
): Promise<Recording> {
  const reader = new Reader(name)
  if (typeof source === 'string' || source instanceof Uint8Array) reader.push(source)
  else for await (const chunk of source) reader.push(chunk)
  return reader.end()
}

const EVENT_KINDS = new Set<unknown>(eventSchema.options.map((option) => option.shape.event.value))

class Reader {
  readonly #name: string
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  /** The bytes of the line that has no newline yet. */
  #rest: Uint8Array[] = []
  #restLength = 0
  /** Whole lines so far. */
  #lines = 0
  #header: Header | undefined
  readonly #samples: Sample[] = []
  readonly #events: RecordingEvent[] = []
  #complete = false
  #lastTime = 0
  /** What was skipped, and how often, by what a note says about it. */
  readonly #skipped = new Map<string, { count: number; line: number }>()

  constructor(name: string) {
    this.#name = name
  }

  push(chunk: string | Uint8Array): void {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    let start = 0
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      this.#keep(bytes.subarray(start, end))
      const line = this.#rest.length === 1 ? (this.#rest[0] as Uint8Array) : Buffer.concat(this.#rest)
      this.#rest = []
      this.#restLength = 0
      this.#lines++
      this.#line(line)
      start = end + 1
    }
    if (start < bytes.length) this.#keep(bytes.subarray(start))
  }

  end(): Recording {
    const header = this.#header
    if (header === undefined) {
      if (this.#restLength > 0) throw this.#invalid('is cut off inside its first line: there is nothing in it to read')
      throw this.#invalid('is empty: nothing was recorded in it')
    }
    const notes: string[] = []
    const last = this.#lines
    if (this.#restLength > 0) notes.push(`cut off inside line ${last + 1}: read up to line ${last}`)
    else if (!this.#complete) notes.push(`cut off after line ${last}, or still being written: it has no end`)
    for (const [what, { count, line }] of this.#skipped) {
      notes.push(`${what} in ${count === 1 ? `line ${line}` : `${count} lines, the first of them line ${line}`}`)
    }
    return { header, samples: this.#samples, events: this.#events, complete: this.#complete, notes }
  }

  #keep(bytes: Uint8Array): void {
    this.#rest.push(bytes)
    this.#restLength += bytes.length
    if (this.#restLength > LONGEST_LINE) throw this.#invalid('is longer than any line of a recording', this.#lines + 1)
  }

  #line(bytes: Uint8Array): void {
    let text: string
    try {
      text = this.#decoder.decode(bytes)
    } catch {
      throw this.#invalid('is not UTF-8 text', this.#lines)
    }
    if (text.trim() === '') return
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw this.#header === undefined ? this.#notARecording() : this.#invalid('is not JSON', this.#lines)
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#header === undefined ? this.#notARecording() : this.#invalid('is not a JSON object', this.#lines)
    }
    if (this.#header === undefined) this.#header = this.#readHeader(value as Record<string, unknown>)
    else this.#readLine(value as Record<string, unknown>)
  }

  #readHeader(value: Record<string, unknown>): Header {
    if (value.type !== 'header') throw this.#notARecording()
    if (typeof value.format === 'number' && value.format > FORMAT) {
      throw new RecordError(
        `${this.#name} has format ${value.format}, and this version of ebb reads formats up to ${FORMAT}: use a newer one`,
        'ERR_RECORDING_FORMAT'
      )
    }
    return this.#check(headerSchema, value, 'header')
  }

  #readLine(value: Record<string, unknown>): void {
    switch (value.type) {
      case 'sample': {
        const sample = this.#check(sampleSchema, value, 'sample')
        this.#inOrder(sample.t)
        this.#samples.push(sample)
        break
      }
      case 'event': {
        if (typeof value.event === 'string' && !EVENT_KINDS.has(value.event)) {
          this.#skip(`skipped the unknown event ${JSON.stringify(value.event)}`)
          break
        }
        const event = this.#check(eventSchema, value, 'event')
        this.#inOrder(event.t)
        this.#events.push(event)
        if (event.event === 'end') this.#complete = true
        break
      }
      case 'header':
        throw this.#invalid('is a second header: keep every recording in a file of its own', this.#lines)
      default:
        if (typeof value.type !== 'string') throw this.#invalid('has no type', this.#lines)
        this.#skip(`skipped the unknown type ${JSON.stringify(value.type)}`)
    }
  }

  #check<T extends z.ZodType>(schema: T, value: Record<string, unknown>, what: string): z.output<T> {
    const result = schema.safeParse(value)
    if (!result.success) {
      const [issue] = result.error.issues
      const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `
      throw this.#invalid(`is not a valid ${what}: ${where}${issue?.message}`, this.#lines)
    }
    const known = result.data as Record<string, unknown>
    for (const key of Object.keys(value)) {
      if (!Object.hasOwn(known, key)) this.#skip(`ignored the unknown field ${JSON.stringify(key)} of a ${what}`)
    }
    return result.data
  }

  #inOrder(t: number): void {
    if (t < this.#lastTime) {
      throw this.#invalid(`goes back in time, from ${this.#lastTime} ms to ${t} ms`, this.#lines)
    }
    this.#lastTime = t
  }

  #skip(what: string): void {
    const skipped = this.#skipped.get(what)
    if (skipped) skipped.count++
    else if (this.#skipped.size < 100) this.#skipped.set(what, { count: 1, line: this.#lines })
  }

  #notARecording(): RecordError {
    return this.#invalid('is not a recording: its first line is not the header of one')
  }

  #invalid(message: string, line?: number): RecordError {
    return new RecordError(`${this.#name}${line === undefined ? '' : `:${line}`} ${message}`, 'ERR_RECORDING_INVALID')
  }
}

/** Reads the recording of one server. */
import { createReadStream } from 'node:fs'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import { withNoteCode } from './legacy-notes.js'
import { NdjsonReader } from './ndjson.js'
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

/**
 * Reads a recording file. If the file was cut off, leaves out what follows the last newline and adds a note.
 *
 * @throws RecordError: the errno if the file cannot be read, `ERR_RECORDING_FORMAT` for a newer format,
 *   `ERR_RECORDING_INVALID` for a file that is no recording or has an invalid line (the message has its number)
 */
export async function readRecording(path: string): Promise<Recording> {
  return await reading(path, () => parseRecording(createReadStream(path), path))
}

/**
 * Reads a recording, as {@link readRecording} does, from text, bytes or pieces of either. `name` is for error messages.
 */
export async function parseRecording(source: Source, name = 'recording'): Promise<Recording> {
  const reader = new Reader(name)
  await pushAll(source, reader)
  return reader.end()
}

/** Text or bytes, whole or in pieces. */
export type Source = string | Uint8Array | AsyncIterable<string | Uint8Array>

/** Calls a function that reads a file, and turns system errors into {@link RecordError}s. */
export async function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof RecordError) throw error
    throw new RecordError(`cannot read the recording ${path}: ${reasonOf(error)}`, codeOf(error), 'read', error)
  }
}

/** Passes a source to a reader, piece by piece. */
export async function pushAll(source: Source, reader: { push(chunk: string | Uint8Array): void }): Promise<void> {
  if (typeof source === 'string' || source instanceof Uint8Array) reader.push(source)
  else for await (const chunk of source) reader.push(chunk)
}

const EVENT_KINDS = new Set<unknown>(eventSchema.options.map((option) => option.shape.event.value))

class Reader {
  readonly #lines: NdjsonReader
  #header: Header | undefined
  readonly #samples: Sample[] = []
  readonly #events: RecordingEvent[] = []
  #complete = false

  constructor(name: string) {
    this.#lines = new NdjsonReader(name, (value) => {
      if (this.#header === undefined) this.#header = this.#readHeader(value)
      else this.#readLine(value)
    })
  }

  push(chunk: string | Uint8Array): void {
    this.#lines.push(chunk)
  }

  end(): Recording {
    const complete = this.#complete
    const notes = this.#lines.end(complete)
    return { header: this.#header as Header, samples: this.#samples, events: this.#events, complete, notes }
  }

  #readHeader(value: Record<string, unknown>): Header {
    if (value.type !== 'header') throw this.#lines.notARecording()
    if (typeof value.format === 'number' && value.format > FORMAT) throw this.#lines.tooNew(value.format, FORMAT)
    return this.#lines.check(headerSchema, value, 'header')
  }

  #readLine(value: Record<string, unknown>): void {
    const lines = this.#lines
    switch (value.type) {
      case 'sample': {
        const sample = lines.check(sampleSchema, value, 'sample')
        lines.inOrder(sample.t)
        this.#samples.push(sample)
        break
      }
      case 'event': {
        if (typeof value.event === 'string' && !EVENT_KINDS.has(value.event)) {
          lines.skip(`skipped the unknown event ${JSON.stringify(value.event)}`)
          break
        }
        const event = lines.check(eventSchema, value, 'event')
        lines.inOrder(event.t)
        this.#events.push(withNoteCode(event))
        if (event.event === 'end') this.#complete = true
        break
      }
      case 'header':
        throw lines.invalidHere('is a second header: keep every recording in a file of its own')
      default:
        if (typeof value.type !== 'string') throw lines.invalidHere('has no type')
        lines.skip(`skipped the unknown type ${JSON.stringify(value.type)}`)
    }
  }
}

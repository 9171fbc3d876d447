/** Reads the recording of a box. */
import { createReadStream } from 'node:fs'
import { messageOf } from '../../units/errors.js'
import { withNoteCode } from '../legacy-notes.js'
import { NdjsonReader } from '../ndjson.js'
import { pushAll, reading, type Source } from '../read.js'
import {
  BOX_FORMAT,
  BoxBuilder,
  type BoxHeader,
  type BoxLine,
  type BoxRecording,
  boxEndSchema,
  boxEventSchema,
  boxHeaderSchema,
  boxNoteSchema,
  boxSampleSchema,
  boxServerSchema,
  machineSchema,
  runSchema
} from './recording.js'

/**
 * Reads the recording of a box, as `readRecording()` reads the recording of a server.
 *
 * @throws RecordError as `readRecording()`
 */
export async function readBox(path: string): Promise<BoxRecording> {
  return await reading(path, () => parseBox(createReadStream(path), path))
}

/** Reads the recording of a box, as {@link readBox} does, from text, bytes or pieces of either. */
export async function parseBox(source: Source, name = 'box'): Promise<BoxRecording> {
  const reader = new Reader(name)
  await pushAll(source, reader)
  return reader.end()
}

/** First bytes of the recording of a box: `JSON.stringify` keeps the order of keys. */
const FIRST = '{"type":"box"'

/**
 * Returns whether a file is the recording of a box, by its first bytes.
 *
 * @throws RecordError if it cannot be read
 */
export async function isBox(path: string): Promise<boolean> {
  return await reading(path, async () => {
    const chunks = createReadStream(path, { end: FIRST.length - 1, encoding: 'latin1' })
    let text = ''
    for await (const chunk of chunks) text += chunk
    return text === FIRST
  })
}

const SCHEMAS = {
  run: runSchema,
  server: boxServerSchema,
  sample: boxSampleSchema,
  machine: machineSchema,
  event: boxEventSchema,
  note: boxNoteSchema,
  end: boxEndSchema
} as const

const EVENT_KINDS = new Set<unknown>(boxEventSchema.options.map((option) => option.shape.event.value))

class Reader {
  readonly #lines: NdjsonReader
  #builder: BoxBuilder | undefined

  constructor(name: string) {
    this.#lines = new NdjsonReader(name, (value) => {
      if (this.#builder === undefined) this.#builder = new BoxBuilder(this.#readHeader(value))
      else this.#readLine(this.#builder, value)
    })
  }

  push(chunk: string | Uint8Array): void {
    this.#lines.push(chunk)
  }

  end(): BoxRecording {
    const notes = this.#lines.end(this.#builder?.box.complete ?? false)
    const { box } = this.#builder as BoxBuilder
    box.notes.push(...notes)
    return box
  }

  #readHeader(value: Record<string, unknown>): BoxHeader {
    if (value.type !== 'box') throw this.#lines.notARecording()
    if (typeof value.format === 'number' && value.format > BOX_FORMAT) {
      throw this.#lines.tooNew(value.format, BOX_FORMAT)
    }
    return this.#lines.check(boxHeaderSchema, value, 'box')
  }

  #readLine(builder: BoxBuilder, value: Record<string, unknown>): void {
    const lines = this.#lines
    const { type } = value
    if (type === 'box') throw lines.invalidHere('is a second box: keep every recording in a file of its own')
    if (typeof type !== 'string') throw lines.invalidHere('has no type')
    if (!Object.hasOwn(SCHEMAS, type)) {
      lines.skip(`skipped the unknown type ${JSON.stringify(type)}`)
      return
    }
    if (type === 'event' && typeof value.event === 'string' && !EVENT_KINDS.has(value.event)) {
      lines.skip(`skipped the unknown event ${JSON.stringify(value.event)}`)
      return
    }
    const line = lines.check(SCHEMAS[type as keyof typeof SCHEMAS], value, type) as Exclude<BoxLine, BoxHeader>
    lines.inOrder(line.t)
    try {
      builder.add(line.type === 'event' ? withNoteCode(line) : line)
    } catch (error) {
      throw lines.invalidHere(messageOf(error))
    }
  }
}

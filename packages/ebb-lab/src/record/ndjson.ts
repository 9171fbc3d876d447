/** Reads newline-delimited JSON. */
import type { z } from 'zod'
import { RecordError } from '../units/errors.js'

/** Bytes of a line. No line of a recording is nearly as long; a file with such a line is of another kind. */
const LONGEST_LINE = 1_048_576

/**
 * Reads newline-delimited JSON strictly, one object per line. A line is complete if it ends with a newline; an invalid
 * line is an error with its number. Skips and counts what a newer version may have written.
 *
 * Every method throws {@link RecordError}, `ERR_RECORDING_INVALID`.
 */
export class NdjsonReader {
  readonly #name: string
  readonly #onObject: (value: Record<string, unknown>) => void
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  /** Bytes of the line that has no newline yet. */
  #rest: Uint8Array[] = []
  #restLength = 0
  /** Complete lines so far. */
  #lines = 0
  #begun = false
  #lastTime = 0
  /** What was skipped, by the text of its note: how often, and first in which line. */
  readonly #skipped = new Map<string, { count: number; line: number }>()

  /** @param name a path, for error messages */
  constructor(name: string, onObject: (value: Record<string, unknown>) => void) {
    this.#name = name
    this.#onObject = onObject
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

  /**
   * Takes the end of the file. Returns notes about the file.
   *
   * @param complete whether the recording has its last line
   */
  end(complete: boolean): string[] {
    if (!this.#begun) {
      if (this.#restLength > 0) throw this.invalid('is cut off inside its first line: there is nothing in it to read')
      throw this.invalid('is empty: nothing was recorded in it')
    }
    const notes: string[] = []
    const last = this.#lines
    if (this.#restLength > 0) notes.push(`cut off inside line ${last + 1}: read up to line ${last}`)
    else if (!complete) notes.push(`cut off after line ${last}, or still being written: it has no end`)
    for (const [what, { count, line }] of this.#skipped) {
      notes.push(`${what} in ${count === 1 ? `line ${line}` : `${count} lines, the first of them line ${line}`}`)
    }
    return notes
  }

  /** Returns the value as the schema parses it. Throws if it does not match. */
  check<T extends z.ZodType>(schema: T, value: Record<string, unknown>, what: string): z.output<T> {
    const result = schema.safeParse(value)
    if (!result.success) {
      const [issue] = result.error.issues
      const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `
      throw this.invalidHere(`is not a valid ${what}: ${where}${issue?.message}`)
    }
    const known = result.data as Record<string, unknown>
    for (const key of Object.keys(value)) {
      if (!Object.hasOwn(known, key)) this.skip(`ignored the unknown field ${JSON.stringify(key)} of a ${what}`)
    }
    return result.data
  }

  /** Throws if a time is before that of the previous line. */
  inOrder(t: number): void {
    if (t < this.#lastTime) throw this.invalidHere(`goes back in time, from ${this.#lastTime} ms to ${t} ms`)
    this.#lastTime = t
  }

  /** Counts something in the present line that is skipped. */
  skip(what: string): void {
    const skipped = this.#skipped.get(what)
    if (skipped) skipped.count++
    else if (this.#skipped.size < 100) this.#skipped.set(what, { count: 1, line: this.#lines })
  }

  /** Returns the error for a file of another kind. */
  notARecording(): RecordError {
    return this.invalid('is not a recording: its first line is not the header of one')
  }

  /** Returns an error about the present line. */
  invalidHere(message: string): RecordError {
    return this.invalid(message, this.#lines)
  }

  /** Returns an error about the file, or about one of its lines. */
  invalid(message: string, line?: number): RecordError {
    return new RecordError(`${this.#name}${line === undefined ? '' : `:${line}`} ${message}`, 'ERR_RECORDING_INVALID')
  }

  /** Returns the error for a format that is newer than `format`. */
  tooNew(given: number, format: number): RecordError {
    return new RecordError(
      `${this.#name} has format ${given}, and this version of ebb reads formats up to ${format}: use a newer one`,
      'ERR_RECORDING_FORMAT'
    )
  }

  #keep(bytes: Uint8Array): void {
    this.#rest.push(bytes)
    this.#restLength += bytes.length
    if (this.#restLength > LONGEST_LINE) throw this.invalid('is longer than any line of a recording', this.#lines + 1)
  }

  #line(bytes: Uint8Array): void {
    let text: string
    try {
      text = this.#decoder.decode(bytes)
    } catch {
      throw this.invalidHere('is not UTF-8 text')
    }
    if (text.trim() === '') return
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw this.#begun ? this.invalidHere('is not JSON: delete the line to read the rest') : this.notARecording()
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#begun ? this.invalidHere('is not a JSON object') : this.notARecording()
    }
    this.#onObject(value as Record<string, unknown>)
    this.#begun = true
  }
}

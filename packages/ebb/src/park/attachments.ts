/** What the application keeps with its connections, serialised. */
import v8 from 'node:v8'

/** By row. A text with a character for each byte: it costs less memory than a buffer. */
export class Attachments {
  readonly #limit: number
  readonly #kept = new Map<number, string>()
  #bytes = 0

  /** @param limit bytes of one, at most */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Of all. */
  get bytes(): number {
    return this.#bytes
  }

  /** As it is kept: see {@link restored}. */
  get(row: number): string | undefined {
    return this.#kept.get(row)
  }

  /**
   * @throws RangeError `ERR_EBB_ATTACHMENT_TOO_LARGE`; DataCloneError for what cannot be cloned. What was kept before stays.
   */
  set(row: number, value: unknown): void {
    if (value === undefined) {
      this.delete(row)
      return
    }
    const bytes = serialize(value)
    if (bytes.length > this.#limit) {
      throw Object.assign(
        new RangeError(
          `the attachment is ${bytes.length} bytes long; attachmentLimit of this server is ${this.#limit}`
        ),
        { code: 'ERR_EBB_ATTACHMENT_TOO_LARGE' }
      )
    }
    this.delete(row)
    this.#kept.set(row, bytes.toString('latin1'))
    this.#bytes += bytes.length
  }

  delete(row: number): void {
    const before = this.#kept.get(row)
    if (before === undefined) return
    this.#bytes -= before.length
    this.#kept.delete(row)
  }
}

/** A new copy of what was attached. */
export function restored(kept: string | undefined): unknown {
  return kept === undefined ? undefined : v8.deserialize(Buffer.from(kept, 'latin1'))
}

/** @throws DataCloneError, which `v8` calls an Error */
function serialize(value: unknown): Buffer {
  try {
    return v8.serialize(value)
  } catch (error) {
    // Says the same with the right name; what a getter throws is its own.
    structuredClone(value)
    throw error
  }
}

/** Attachments: data that the application keeps with its connections. */
import v8 from 'node:v8'
import { withCode } from '../sys/errors.js'
import { serialize } from '../sys/node/serialize.js'

/** Default of `attachmentLimit`, in bytes. */
export const ATTACHMENT_LIMIT = 16_384

/** Serialised attachments by row, or by id. Each is a Latin-1 string, which takes less memory than a buffer. */
export class Attachments {
  readonly #limit: number
  readonly #kept = new Map<number, string>()
  #bytes = 0

  /** @param limit maximum size of one attachment, in bytes */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Size of all attachments. */
  get bytes(): number {
    return this.#bytes
  }

  /** Returns a serialised attachment, for {@link restored}. */
  get(row: number): string | undefined {
    return this.#kept.get(row)
  }

  /**
   * Serialises and stores an attachment; undefined deletes it. If this throws, the previous attachment stays.
   *
   * @throws {RangeError} `ERR_EBB_ATTACHMENT_TOO_LARGE`
   * @throws `DataCloneError` for a value that cannot be cloned
   */
  set(row: number, value: unknown): void {
    this.keep(row, this.serialized(value))
  }

  /** Serialises an attachment, for {@link keep}; undefined stays undefined. @throws as {@link set} */
  serialized(value: unknown): string | undefined {
    if (value === undefined) return undefined
    const bytes = serialize(value)
    if (bytes.length > this.#limit) {
      throw withCode(
        new RangeError(
          `the attachment is ${bytes.length} bytes long; attachmentLimit of this server is ${this.#limit}`
        ),
        'ERR_EBB_ATTACHMENT_TOO_LARGE'
      )
    }
    return bytes.toString('latin1')
  }

  /** Stores a serialised attachment; undefined deletes the one that is stored. */
  keep(row: number, serialized: string | undefined): void {
    this.delete(row)
    if (serialized === undefined) return
    this.#kept.set(row, serialized)
    this.#bytes += serialized.length
  }

  /** Stores an attachment as {@link get} has returned it, here or in another process. */
  restore(row: number, kept: string): void {
    this.delete(row)
    this.#kept.set(row, kept)
    this.#bytes += kept.length
  }

  /** Deletes an attachment, if there is one. */
  delete(row: number): void {
    const before = this.#kept.get(row)
    if (before === undefined) return
    this.#bytes -= before.length
    this.#kept.delete(row)
  }
}

/** Version of the format of attachments: this process reads its own and all before it. */
export const FORMAT = formatOf(serialize(0).toString('latin1'))

/** Returns the version of the format of a stored attachment; 0 if it is none. */
export function formatOf(kept: string): number {
  return kept.charCodeAt(0) === 0xff ? kept.charCodeAt(1) : 0
}

/** Returns a new copy of a stored attachment. */
export function restored(kept: string | undefined): unknown {
  return kept === undefined ? undefined : v8.deserialize(Buffer.from(kept, 'latin1'))
}

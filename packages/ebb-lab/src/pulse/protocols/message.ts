/** The message that connections send: always the same bytes, or a text with placeholders. */
import { Template } from '../template.js'

/** A message. */
export class Message {
  /** The bytes, if they are always the same. */
  readonly fixed: Buffer | undefined
  readonly #template: Template | undefined

  /** @param payload bytes as they are, or a text that may contain `{id}`, `{n}` and `{time}` */
  constructor(payload: string | Uint8Array) {
    if (typeof payload === 'string') {
      const template = new Template(payload)
      if (template.isFixed) this.fixed = Buffer.from(payload)
      else this.#template = template
    } else this.fixed = Buffer.from(payload)
  }

  /** Returns the bytes of message `n` of connection `id`. */
  bytesFor(id: number, n: number): Buffer {
    return this.fixed ?? Buffer.from((this.#template as Template).fill({ id, n }))
  }
}

/** Texts with values that differ from connection to connection and from message to message. */

/** Values of the placeholders. */
export interface TemplateValues {
  /** Number of the connection, from 0 on. */
  id: number
  /** Number of the message on its connection, from 0 on. */
  n: number
}

const PLACEHOLDER = /\{(id|n|time)\}/

/** A text in which `{id}`, `{n}` and `{time}` stand for values. Other braces stand for themselves. */
export class Template {
  /** Text and placeholders in turn: the elements with an odd index are names. */
  readonly #parts: readonly string[]

  constructor(text: string) {
    this.#parts = text.split(PLACEHOLDER)
  }

  /** Whether the text is always the same. */
  get isFixed(): boolean {
    return this.#parts.length === 1
  }

  /** Returns the text with the values filled in. `{time}` is the time in milliseconds since 1970. */
  fill({ id, n }: TemplateValues): string {
    const parts = this.#parts
    let text = parts[0] as string
    for (let i = 1; i < parts.length; i += 2) {
      const name = parts[i]
      text += name === 'id' ? id : name === 'n' ? n : Date.now()
      text += parts[i + 1] as string
    }
    return text
  }
}

/** Mistakes in the file of a box, with their lines. */
import { LabError } from '../../units/errors.js'

/**
 * The file of a box is invalid, or this machine cannot run it. The message has one line for each mistake, which begins
 * with the file and the line of the mistake: `box.yaml:12: ...`.
 */
export class BoxFileError extends LabError {
  override readonly name = 'BoxFileError'
  declare readonly code: 'ERR_BOX_INVALID'

  constructor(message: string, options?: ErrorOptions) {
    super(message, 'ERR_BOX_INVALID', undefined, options?.cause)
  }
}

/** The keys and indexes that lead to a value: `['servers', 0, 'plan']`. */
export type ValuePath = readonly PropertyKey[]

/** Mistakes that an error message lists. */
const MOST_LISTED = 8

/** Collects mistakes and reports them in the order of their lines. */
export class Mistakes {
  readonly #file: string
  readonly #lineOf: (path: ValuePath) => number
  readonly #found: { line: number; text: string }[] = []

  /** @param lineOf returns the line of a value, from 1 on */
  constructor(file: string, lineOf: (path: ValuePath) => number) {
    this.#file = file
    this.#lineOf = lineOf
  }

  /** Adds a mistake in a line. */
  add(line: number, text: string): void {
    this.#found.push({ line, text })
  }

  /** Adds a mistake in a value. */
  addAt(path: ValuePath, text: string): void {
    this.add(this.#lineOf(path), path.length === 0 ? text : `${formatPath(path)}: ${text}`)
  }

  /** Returns the file and the line of a value: `box.yaml:12`. */
  whereIs(path: ValuePath): string {
    return `${this.#file}:${this.#lineOf(path)}`
  }

  /** @throws BoxFileError if there are mistakes */
  throwIfAny(): void {
    if (this.#found.length === 0) return
    const lines = this.#found.sort((a, b) => a.line - b.line).map(({ line, text }) => `${this.#file}:${line}: ${text}`)
    const more = lines.length - MOST_LISTED
    throw new BoxFileError([...lines.slice(0, MOST_LISTED), ...(more > 0 ? [`and ${more} more`] : [])].join('\n'))
  }
}

/** Formats a path as JavaScript would: `servers[0].plan.big`. */
function formatPath(path: ValuePath): string {
  return path
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? String(key) : `.${String(key)}`))
    .join('')
}

/** Progress on a terminal, and how a terminal's signals end a run. */
import { WriteStream } from 'node:tty'
import { LabError } from '../../units/errors.js'
import { textWidth } from '../../units/text.js'
import { EXIT } from './exit-codes.js'

/** Prints lines that stay, and below them, on a terminal, status lines that are overwritten. */
export class Terminal {
  readonly #stream: NodeJS.WriteStream
  readonly #interactive: boolean
  /** Number of status lines that are shown. */
  #shown = 0

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream
    this.#interactive = stream instanceof WriteStream && process.env.TERM !== 'dumb'
    // The run continues even if its progress can no longer be printed.
    stream.on('error', () => {})
  }

  /** Prints a line that stays. A terminal gets it wrapped at blanks, and what follows indented. */
  line(text: string): void {
    this.#clear()
    const lines = this.#interactive ? hanging(text, this.#stream.columns ?? 80) : [text]
    this.#stream.write(`${lines.join('\n')}\n`)
  }

  /** Whether there are status lines. */
  get isInteractive(): boolean {
    return this.#interactive
  }

  /** Replaces the status lines. Prints nothing if the stream is not a terminal. */
  status(text: string | readonly string[]): void {
    if (!this.#interactive) return
    const width = Math.max(20, (this.#stream.columns ?? 80) - 1)
    const height = Math.max(1, (this.#stream.rows ?? 24) - 1)
    const lines = (typeof text === 'string' ? [text] : text).slice(0, height).map((line) => line.slice(0, width))
    // One write, so that the terminal never shows a half of it.
    this.#stream.write(`${this.#erasure()}${lines.join('\n')}`)
    this.#shown = lines.length
  }

  /** Removes the status lines. */
  end(): void {
    this.#clear()
  }

  #clear(): void {
    if (this.#shown > 0) this.#stream.write(this.#erasure())
    this.#shown = 0
  }

  /** Returns what moves the cursor to the first status line and erases from there on. */
  #erasure(): string {
    if (this.#shown === 0) return ''
    return `\r${this.#shown > 1 ? `\x1b[${this.#shown - 1}A` : ''}\x1b[0J`
  }
}

/**
 * Wraps a text at blanks into lines of at most `columns`, and indents all but the first. Leaves words and rows of
 * blanks whole, so that paths can be copied and columns stay aligned.
 */
export function hanging(text: string, columns: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const part of text.split(/(?<=\S)(?= )/)) {
    if (line !== '' && textWidth(line) + textWidth(part) > columns) {
      lines.push(line)
      line = `  ${part.trimStart()}`
    } else line += part
  }
  return [...lines, line]
}

/** Returns whether to colour what is written to `stream`: https://no-color.org */
export function colours(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR, TERM } = process.env
  return stream.isTTY === true && (NO_COLOR === undefined || NO_COLOR === '') && TERM !== 'dumb'
}

/** Returns the width of a stream in columns; 80 if it is not a terminal. */
export function columns(stream: NodeJS.WriteStream): number {
  return stream.isTTY === true ? (stream.columns ?? 80) : 80
}

/**
 * Returns a controller that SIGINT, SIGTERM or SIGHUP aborts, so that a run can end the servers that it started. The
 * second such signal ends the process at once.
 */
export function interruption(): AbortController {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(EXIT.interrupted)
      controller.abort(new LabError('interrupted', 'EINTR'))
    })
  }
  return controller
}

/**
 * Returns a signal that is aborted with `signal`, or when standard output cannot be written to: its reader has gone
 * (`ebb top --json | head -1`), or a disk is full. `main.ts` prints the error, if there is one.
 */
export function whileWritable(signal: AbortSignal): AbortSignal {
  const controller = new AbortController()
  process.stdout.on('error', (error: NodeJS.ErrnoException) => controller.abort(error))
  return AbortSignal.any([signal, controller.signal])
}

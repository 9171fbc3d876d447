/** Progress on a terminal, and how a terminal's signals end a run. */
import { WriteStream } from 'node:tty'
import { LabError } from '../../units/errors.js'
import { EXIT } from './exit-codes.js'

/** Prints lines that stay, and below them, on a terminal, one status line that is overwritten. */
export class Terminal {
  readonly #stream: NodeJS.WriteStream
  readonly #interactive: boolean
  #shown = false

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream
    this.#interactive = stream instanceof WriteStream && process.env.TERM !== 'dumb'
    // The run continues even if its progress can no longer be printed.
    stream.on('error', () => {})
  }

  /** Prints a line that stays. */
  line(text: string): void {
    this.#clear()
    this.#stream.write(`${text}\n`)
  }

  /** Replaces the status line. Prints nothing if the stream is not a terminal. */
  status(text: string): void {
    if (!this.#interactive) return
    const width = Math.max(20, (this.#stream.columns ?? 80) - 1)
    this.#clear()
    this.#stream.write(text.slice(0, width))
    this.#shown = true
  }

  /** Removes the status line. */
  end(): void {
    this.#clear()
  }

  #clear(): void {
    if (this.#shown) this.#stream.write('\r\x1b[2K')
    this.#shown = false
  }
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

/** Lines for a person: kept ones, and on a terminal one that is written over and over. */
import { WriteStream } from 'node:tty'

export class Terminal {
  readonly #stream: NodeJS.WriteStream
  readonly #interactive: boolean
  #shown = false

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream
    this.#interactive = stream instanceof WriteStream && process.env.TERM !== 'dumb'
    // Nobody reads any more: not a reason to stop what runs.
    stream.on('error', () => {})
  }

  /** A line that stays. */
  line(text: string): void {
    this.#clear()
    this.#stream.write(`${text}\n`)
  }

  /** What goes on at the moment: on a terminal alone, in place of the last such line. */
  status(text: string): void {
    if (!this.#interactive) return
    const width = Math.max(20, (this.#stream.columns ?? 80) - 1)
    this.#clear()
    this.#stream.write(text.slice(0, width))
    this.#shown = true
  }

  /** Takes the status away. */
  end(): void {
    this.#clear()
  }

  #clear(): void {
    if (this.#shown) this.#stream.write('\r\x1b[2K')
    this.#shown = false
  }
}

/** Whether to colour what goes to `stream`: https://no-color.org */
export function colours(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR, TERM } = process.env
  return stream.isTTY === true && (NO_COLOR === undefined || NO_COLOR === '') && TERM !== 'dumb'
}

/** Columns to fill. */
export function columns(stream: NodeJS.WriteStream): number {
  return stream.isTTY === true ? (stream.columns ?? 80) : 80
}

/** Ctrl-C, SIGTERM and the terminal's end as an abort: servers that were started go too. A second one ends the process at once. */
export function interruption(): AbortController {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(130)
      controller.abort(new Error('interrupted'))
    })
  }
  return controller
}

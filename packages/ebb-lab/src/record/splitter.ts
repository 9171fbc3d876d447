/** Splits the output of a server into lines. */
import { type LineMark, LONGEST_TEXT, mayHaveFormat, parseLine } from './lines.js'

/** Text lines per second that are kept, and as many `Cycle` and `Release` lines. */
export const MOST_LINES = 1000

export interface SplitterOptions {
  /** Text lines per second that are kept. Default: {@link MOST_LINES}. */
  most?: number
  /** A monotonic clock, ms. Default: `performance.now()`. */
  now?: () => number
}

/** Bytes kept of a line. A UTF-16 unit takes at most 3 bytes; one more byte shows that the line was longer. */
const KEPT = LONGEST_TEXT * 3 + 1

const CR = 13
const LF = 10

/**
 * Splits the output of a server into lines and parses them. Holds only the start of one line: it drops the rest of a
 * long line, and it drops and counts the lines above `most` per second.
 */
export class LineSplitter {
  readonly #onLine: (mark: LineMark) => void
  readonly #onDropped: (lines: number) => void
  readonly #now: () => number
  readonly #most: number
  readonly #line = Buffer.alloc(KEPT)
  #length = 0
  /** Whether bytes have come since the last newline. */
  #open = false
  #windowStart = Number.NEGATIVE_INFINITY
  #texts = 0
  #formatted = 0
  #dropped = 0

  /** @param onDropped called with the number of lines dropped, at most once a second */
  constructor(onLine: (mark: LineMark) => void, onDropped: (lines: number) => void, options: SplitterOptions = {}) {
    this.#onLine = onLine
    this.#onDropped = onDropped
    this.#now = options.now ?? (() => performance.now())
    this.#most = options.most ?? MOST_LINES
  }

  /** Takes the next bytes of the output. */
  push(chunk: Uint8Array): void {
    let start = 0
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
      this.#keep(chunk, start, end)
      this.#flush()
      start = end + 1
    }
    if (start < chunk.length) this.#keep(chunk, start, chunk.length)
  }

  /** Takes the end of the output: the last line need not have a newline. */
  end(): void {
    if (this.#open) this.#flush()
    this.#reportDropped()
  }

  #keep(chunk: Uint8Array, start: number, end: number): void {
    this.#open = true
    const room = Math.min(end - start, KEPT - this.#length)
    this.#line.set(chunk.subarray(start, start + room), this.#length)
    this.#length += room
  }

  #flush(): void {
    const length = this.#line[this.#length - 1] === CR && this.#length < KEPT ? this.#length - 1 : this.#length
    this.#length = 0
    this.#open = false
    const now = this.#now()
    if (now - this.#windowStart >= 1000) {
      this.#reportDropped()
      this.#windowStart = now
      this.#texts = 0
      this.#formatted = 0
    }
    const full = this.#texts >= this.#most
    if (full && (this.#formatted >= this.#most || length === 0 || !mayHaveFormat(this.#line[0] as number))) {
      this.#dropped++
      return
    }
    const mark = parseLine(this.#line.toString('utf8', 0, length))
    const isText = mark.event === 'line'
    if (isText ? full : this.#formatted >= this.#most) {
      this.#dropped++
      return
    }
    if (isText) this.#texts++
    else this.#formatted++
    this.#onLine(mark)
  }

  #reportDropped(): void {
    if (this.#dropped === 0) return
    const dropped = this.#dropped
    this.#dropped = 0
    this.#onDropped(dropped)
  }
}

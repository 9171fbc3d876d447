import { type LineMark, LONGEST_TEXT, mayTell, parseLine } from './lines.js'

/** Lines a second that are kept; as many again of those that tell of clients and memory. */
export const MOST_LINES = 1000

export interface SplitterOptions {
  /** Lines a second that are kept. Default: {@link MOST_LINES}. */
  most?: number
  /** A monotonic clock, ms. */
  now?: () => number
}

/** Bytes kept of a line: a character (UTF-16 unit) takes at most 3. One more tells that the line was longer. */
const KEPT = LONGEST_TEXT * 3 + 1

const CR = 13
const LF = 10

/**
 * Cuts the output of a server into lines and understands them. It holds the start of one line and nothing else: the
 * rest of a long line is dropped, and so are lines above `most` a second, which are counted.
 */
export class LineSplitter {
  readonly #onLine: (mark: LineMark) => void
  readonly #onDropped: (lines: number) => void
  readonly #now: () => number
  readonly #most: number
  readonly #line = Buffer.alloc(KEPT)
  #length = 0
  /** Bytes have come since the last newline. */
  #open = false
  #windowStart = Number.NEGATIVE_INFINITY
  #texts = 0
  #tellings = 0
  #dropped = 0

  /** `onDropped` gets the number of lines left out, once a second at most. */
  constructor(onLine: (mark: LineMark) => void, onDropped: (lines: number) => void, options: SplitterOptions = {}) {
    this.#onLine = onLine
    this.#onDropped = onDropped
    this.#now = options.now ?? (() => performance.now())
    this.#most = options.most ?? MOST_LINES
  }

  push(chunk: Uint8Array): void {
    let start = 0
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
      this.#keep(chunk, start, end)
      this.#flush()
      start = end + 1
    }
    if (start < chunk.length) this.#keep(chunk, start, chunk.length)
  }

  /** The output has ended: the last line need not have a newline. */
  end(): void {
    if (this.#open) this.#flush()
    this.#tellDropped()
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
      this.#tellDropped()
      this.#windowStart = now
      this.#texts = 0
      this.#tellings = 0
    }
    const full = this.#texts >= this.#most
    if (full && (this.#tellings >= this.#most || length === 0 || !mayTell(this.#line[0] as number))) {
      this.#dropped++
      return
    }
    const mark = parseLine(this.#line.toString('utf8', 0, length))
    const isText = mark.event === 'line'
    if (isText ? full : this.#tellings >= this.#most) {
      this.#dropped++
      return
    }
    if (isText) this.#texts++
    else this.#tellings++
    this.#onLine(mark)
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return
    const dropped = this.#dropped
    this.#dropped = 0
    this.#onDropped(dropped)
  }
}

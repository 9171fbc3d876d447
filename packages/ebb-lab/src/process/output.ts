/** Reads what a server prints, at a limited speed, and quotes it in errors. */
import type { Readable } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import { clean, fit } from '../units/text.js'

/**
 * Bytes per second that are read of one stream. A server that prints more waits for its pipe, as it would wait for a
 * disk, and so the recorder and the other servers are not held up.
 */
const MOST_BYTES_PER_SECOND = 16_777_216

/** Lines of a server's output that an error quotes. */
const MOST_QUOTED = 3
/** Columns of each line that an error quotes. */
const LONGEST_QUOTE = 250
/** First chunks of output that are kept, for the recorder and for a quote. */
const MOST_CHUNKS = 64
/** Last chunks of output that are kept for a quote. */
const MOST_LAST_CHUNKS = 8

/**
 * Reads a stream as it comes, but at most 16 MiB per second. Returns a function that stops reading and pauses the
 * stream.
 *
 * @param onData called with each chunk
 * @param onThrottled called once, the first time that the stream is slowed down
 */
export function readOutput(output: Readable, onData: (chunk: Buffer) => void, onThrottled = () => {}): () => void {
  let windowStart = performance.now()
  let bytes = 0
  let reported = false
  let timer: NodeJS.Timeout | undefined
  const listener = (chunk: Buffer): void => {
    onData(chunk)
    const now = performance.now()
    if (now - windowStart >= 1000) {
      windowStart = now
      bytes = 0
    }
    bytes += chunk.length
    if (bytes < MOST_BYTES_PER_SECOND) return
    if (!reported) onThrottled()
    reported = true
    output.pause()
    timer = setTimeout(() => output.resume(), windowStart + 1000 - now).unref()
  }
  output.on('data', listener)
  // The previous reader has paused the stream.
  output.resume()
  return () => {
    clearTimeout(timer)
    output.pause()
    output.off('data', listener)
  }
}

/** Output of a server, kept until it listens. */
export interface StartupOutput {
  /** Returns the most telling lines for the end of an error message (`; it said: ...`), or an empty string. */
  quote(): string
  /** Stops reading and puts the output back into the streams, for the recorder to read. */
  stop(): void
}

/** Keeps the first and the last output of a server, so that an error can quote it if the server does not listen. */
export function keepStartupOutput(streams: readonly Readable[]): StartupOutput {
  const kept = streams.map((stream) => {
    const chunks: Buffer[] = []
    const last: Buffer[] = []
    const stop = readOutput(stream, (chunk) => {
      if (chunks.length < MOST_CHUNKS) chunks.push(chunk)
      else if (last.push(chunk) > MOST_LAST_CHUNKS) last.shift()
    })
    return { stream, chunks, last, stop }
  })
  return {
    quote: () => quoteOutput(kept.flatMap(({ chunks, last }) => [...chunks, ...last])),
    stop() {
      for (const { stream, chunks, stop } of kept) {
        stop()
        if (!stream.readableEnded && chunks.length > 0) stream.unshift(Buffer.concat(chunks))
      }
    }
  }
}

/** A line that names an error: `Error: ...`, `TypeError [CODE]: ...`, `panic: ...`, `error: ...`. */
const NAMES_ERROR = /\b\w*(?:Error|Exception)\b[^:]*: |^(?:panic|fatal error|fatal|error): /i
/** Lines that say nothing by themselves: a frame of a stack, the mark under a line of code, Node's version. */
const IS_NOISE = /^(?:at .+|[\^~\s]+|[{}\]);,]+|Node\.js v[\d.]+)$/

/**
 * Returns the most telling lines of a server's output for the end of an error message, on one line: the first line that
 * names an error, and the last lines. Returns an empty string if the server printed nothing.
 */
export function quoteOutput(chunks: readonly Buffer[]): string {
  return quoteText(Buffer.concat(chunks).toString())
}

/** Does the same as {@link quoteOutput} for output that was split into lines. */
export function quoteLines(lines: readonly string[]): string {
  return quoteText(lines.join('\n'))
}

function quoteText(text: string): string {
  const lines = tellingLines(text)
  const error = lines.findIndex((line) => NAMES_ERROR.test(line))
  const quoted =
    error === -1
      ? lines.slice(-MOST_QUOTED)
      : [lines[error] as string, ...lines.slice(error + 1).slice(1 - MOST_QUOTED)]
  return quoted.length === 0 ? '' : `; it said: ${quoted.map((line) => fit(line, LONGEST_QUOTE)).join(' | ')}`
}

/** Returns the lines of a text without stacks and blank lines. */
function tellingLines(text: string): string[] {
  const lines = stripVTControlCharacters(text)
    .split(/[\r\n]+/)
    .map((line) => clean(line.replaceAll('\t', ' ').trim()))
  // After the last frame of a stack, Node lists the fields of the error in braces.
  let isField = false
  return lines.filter((line) => {
    const wasField = isField
    if (line.startsWith('at ') && line.endsWith('{')) isField = true
    else if (line === '}') isField = false
    return !wasField && line !== '' && !IS_NOISE.test(line)
  })
}

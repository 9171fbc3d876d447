/** Reads what a server prints, at a limited speed. */
import type { Readable } from 'node:stream'

/**
 * Bytes per second that are read of one stream. A server that prints more waits for its pipe, as it would wait for a
 * disk, and so the recorder and the other servers are not held up.
 */
const MOST_BYTES_PER_SECOND = 16_777_216

/** Characters of a server's output that an error quotes. */
const LONGEST_QUOTE = 1000
/** Chunks of output that are kept for a quote. */
const MOST_CHUNKS = 64

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
  /** Returns the output for the end of an error message (`; it said: ...`), or an empty string. */
  quote(): string
  /** Stops reading and puts the output back into the streams, for the recorder to read. */
  stop(): void
}

/** Keeps the first output of a server, so that an error can quote it if the server does not listen. */
export function keepStartupOutput(streams: readonly Readable[]): StartupOutput {
  const kept = streams.map((stream) => {
    const chunks: Buffer[] = []
    const stop = readOutput(stream, (chunk) => {
      if (chunks.length < MOST_CHUNKS) chunks.push(chunk)
    })
    return { stream, chunks, stop }
  })
  return {
    quote: () => quoteOutput(kept.flatMap(({ chunks }) => chunks)),
    stop() {
      for (const { stream, chunks, stop } of kept) {
        stop()
        if (!stream.readableEnded && chunks.length > 0) stream.unshift(Buffer.concat(chunks))
      }
    }
  }
}

/** Returns a server's output for the end of an error message, at most 1,000 characters; empty if it printed nothing. */
export function quoteOutput(chunks: readonly Buffer[]): string {
  const text = Buffer.concat(chunks).toString().trim()
  return text === '' ? '' : `; it said: ${text.slice(0, LONGEST_QUOTE)}`
}

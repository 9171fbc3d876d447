import type { Readable } from 'node:stream'
import type { Mark } from './lines.js'
import { LineSplitter } from './splitter.js'

/** Bytes a second that are read of a stream: a server that floods its log waits, as it would for a disk, and others do not. */
const MOST_BYTES = 16_777_216

/** What a recording says of lines that were left out, and how many they were. */
const leftOut = (lines: number): string => `${lines} lines of the server left out: it prints too many a second`
export function linesLeftOut(note: string): number {
  return Number(/^(\d+) lines of the server left out/.exec(note)?.[1] ?? 0)
}

/**
 * Reads a stream as it comes, but no more than {@link MOST_BYTES} a second. Returns what ends it; the stream is paused then.
 *
 * @param onFlood told once, when more comes
 */
export function read(output: Readable, onData: (chunk: Buffer) => void, onFlood = () => {}): () => void {
  let since = performance.now()
  let bytes = 0
  let said = false
  let timer: NodeJS.Timeout | undefined
  const listener = (chunk: Buffer): void => {
    onData(chunk)
    const now = performance.now()
    if (now - since >= 1000) {
      since = now
      bytes = 0
    }
    bytes += chunk.length
    if (bytes < MOST_BYTES) return
    if (!said) onFlood()
    said = true
    output.pause()
    timer = setTimeout(() => output.resume(), since + 1000 - now).unref()
  }
  output.on('data', listener)
  // Whoever read it before has paused it.
  output.resume()
  return () => {
    clearTimeout(timer)
    output.pause()
    output.off('data', listener)
  }
}

/**
 * Reads what a server prints for as long as it prints, and tells of it line by line. Returns its splitter, whose `end()` tells
 * of a last line without a newline.
 *
 * @param most lines a second that are kept; more are counted
 */
export function follow(output: Readable, mark: (mark: Mark) => void, most?: number): LineSplitter {
  const note = (text: string): void => mark({ event: 'note', text })
  const splitter = new LineSplitter(mark, (lines) => note(leftOut(lines)), most === undefined ? {} : { most })
  read(
    output,
    (chunk) => splitter.push(chunk),
    () => note('the server floods its log: it is read no faster than 16 MB a second')
  )
  // Destroyed with the process; there is nothing to say about a pipe that `end` does not.
  output.on('error', () => {})
  return splitter
}

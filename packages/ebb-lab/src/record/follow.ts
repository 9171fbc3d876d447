import type { Readable } from 'node:stream'
import { readOutput } from '../process/output.js'
import type { Mark } from './lines.js'
import { LineSplitter } from './splitter.js'

/** What a recording says of lines that were left out, and how many they were. */
const leftOut = (lines: number): string => `${lines} lines of the server left out: it prints too many a second`
export function linesLeftOut(note: string): number {
  return Number(/^(\d+) lines of the server left out/.exec(note)?.[1] ?? 0)
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
  readOutput(
    output,
    (chunk) => splitter.push(chunk),
    () => note('the server floods its log: it is read no faster than 16 MB a second')
  )
  // Destroyed with the process; there is nothing to say about a pipe that `end` does not.
  output.on('error', () => {})
  return splitter
}

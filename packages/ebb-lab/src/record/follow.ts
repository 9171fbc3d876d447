import type { Readable } from 'node:stream'
import { readOutput } from '../process/output.js'
import type { Mark } from './lines.js'
import { linesLeftOut, outputThrottled } from './notes.js'
import { LineSplitter, MOST_LINES } from './splitter.js'

/**
 * Reads what a server prints for as long as it prints, and tells of it line by line. Returns its splitter, whose `end()` tells
 * of a last line without a newline.
 *
 * @param most lines a second that are kept; more are counted
 */
export function follow(output: Readable, mark: (mark: Mark) => void, most = MOST_LINES): LineSplitter {
  const splitter = new LineSplitter(mark, (lines) => mark(linesLeftOut(lines, most)), { most })
  readOutput(
    output,
    (chunk) => splitter.push(chunk),
    () => mark(outputThrottled())
  )
  // Destroyed with the process; there is nothing to say about a pipe that `end` does not.
  output.on('error', () => {})
  return splitter
}

/** Follows the output of a server for a recording. */
import type { Readable } from 'node:stream'
import { readOutput } from '../process/output.js'
import type { Mark } from './lines.js'
import { linesLeftOut, outputThrottled } from './notes.js'
import { LineSplitter, MOST_LINES } from './splitter.js'

/**
 * Reads the output of a server until it ends and turns each line into an event. Returns the splitter: call its `end()`
 * to get a last line without a newline.
 *
 * @param most text lines per second that are kept; default: 1,000
 */
export function follow(output: Readable, mark: (mark: Mark) => void, most = MOST_LINES): LineSplitter {
  const splitter = new LineSplitter(mark, (lines) => mark(linesLeftOut(lines, most)), { most })
  readOutput(
    output,
    (chunk) => splitter.push(chunk),
    () => mark(outputThrottled())
  )
  // The pipe is destroyed with the process, which the `end` event reports.
  output.on('error', () => {})
  return splitter
}

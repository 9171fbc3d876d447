/** The buffers that all WebSocket connections of a thread receive into and send from. What they hold never lasts. */
import { addressOf } from '../sys/transfer.js'
import { wordsOf } from './frames.js'

/** Size of each buffer, in bytes. */
export const SIZE = 65_536

interface Buffers {
  input: Buffer
  inputWords: Int32Array | undefined
  inputAt: number
  output: Buffer
  outputAt: number
  /** The text whose frame is in `output`. A loop that sends the same text writes the frame once. */
  text: string | undefined
  /** The data frame in `output`. */
  frameStart: number
  frameEnd: number
}

let shared: Buffers | undefined

/** Returns the buffers of this thread. */
export function buffers(): Buffers {
  if (shared === undefined) {
    const input = Buffer.allocUnsafeSlow(SIZE)
    const output = Buffer.allocUnsafeSlow(SIZE)
    const [inputAt, outputAt] = [addressOf(input), addressOf(output)]
    shared = {
      input,
      inputWords: wordsOf(input),
      inputAt,
      output,
      outputAt,
      text: undefined,
      frameStart: 0,
      frameEnd: 0
    }
  }
  return shared
}

/** Frames that a client sends. */
import { randomBytes } from 'node:crypto'
import { frames } from 'ebb/sys'

/** Set in the second byte of a frame with a mask. */
const MASK = 0x80
/**
 * The mask of all frames of this process. It has to be unpredictable for the server's scripts (RFC 6455, 10.3), and
 * there are none here. So the frame of a message that is always the same is made once.
 */
const mask = randomBytes(4)

/** Returns a whole frame with a mask. */
export function maskedFrame(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload
  const bare = frames.frameOf(opcode, payload)
  const header = bare.length - length
  const frame = Buffer.allocUnsafeSlow(bare.length + mask.length)
  frame.set(bare.subarray(0, header))
  frame[1] = (frame[1] as number) | MASK
  frame.set(mask, header)
  const start = header + mask.length
  for (let i = 0; i < length; i++) frame[start + i] = (payload[i] as number) ^ (mask[i & 3] as number)
  return frame
}

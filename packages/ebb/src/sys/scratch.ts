/** Memory for bytes that are looked at or dropped at once. One buffer for the thread: its content never lasts. */
import * as libc from './libc.js'

/** Size of the scratch buffer, in bytes. */
export const SCRATCH_SIZE = 65_536

let memory: Buffer | undefined
let address = 0

/** Returns the scratch buffer, which holds what was received last. */
export function scratchBuffer(): Buffer {
  scratchAddress()
  return memory as Buffer
}

/** Returns the address of the scratch buffer. */
export function scratchAddress(): number {
  if (memory === undefined) {
    memory = Buffer.allocUnsafeSlow(SCRATCH_SIZE)
    address = libc.addressOf(memory)
  }
  return address
}

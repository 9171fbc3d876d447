/** Memory for what is received and dropped. One for the thread: nothing in it lasts. */
import * as libc from './libc.js'

/** Bytes at {@link scratch}. */
export const SCRATCH = 65_536

let memory: Buffer | undefined
let address = 0

/** What was received last, for who has just done it. */
export function scratchBuffer(): Buffer {
  scratch()
  return memory as Buffer
}

/** The address of {@link SCRATCH} bytes. */
export function scratch(): number {
  if (memory === undefined) {
    memory = Buffer.allocUnsafeSlow(SCRATCH)
    address = libc.addressOf(memory)
  }
  return address
}

/** Memory for what is received and dropped. One for the thread: nothing is ever read from it. */
import * as libc from '../sys/libc.js'

/** Bytes at {@link scratch}. */
export const SCRATCH = 65_536

let memory: Buffer | undefined
let address = 0

/** The address of {@link SCRATCH} bytes that nobody reads. */
export function scratch(): number {
  if (memory === undefined) {
    memory = Buffer.allocUnsafeSlow(SCRATCH)
    address = libc.addressOf(memory)
  }
  return address
}

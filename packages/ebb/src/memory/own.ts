/** What this process holds, cheaply: for the governor, which must not allocate, nor need a descriptor, to look. */
import { closeSync, openSync, readSync } from 'node:fs'

const text = Buffer.allocUnsafeSlow(4096)
const KEY = Buffer.from('RssAnon:')
let fd = -1

/**
 * Anonymous memory of this process, bytes: `RssAnon` of `/proc/self/status`.
 * 0 where there is no such file (not Linux), or it cannot be opened now (no descriptor left at the first call).
 */
export function ownAnonymous(): number {
  try {
    // Kept open: /proc/self means the process that opened it, and a fork of Node does not live on without exec.
    if (fd === -1) fd = openSync('/proc/self/status', 'r')
    const length = readSync(fd, text, 0, text.length, 0)
    return field(length)
  } catch {
    if (fd !== -1) closeSync(fd)
    fd = -1
    return 0
  }
}

function field(length: number): number {
  const at = text.indexOf(KEY)
  if (at === -1) return 0
  let kilobytes = 0
  for (let i = at + KEY.length; i < length && text[i] !== 10; i++) {
    const digit = (text[i] as number) - 48
    if (digit >= 0 && digit <= 9) kilobytes = kilobytes * 10 + digit
  }
  return kilobytes * 1024
}

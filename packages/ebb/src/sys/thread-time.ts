/** How long this thread has worked. */
import * as libc from './libc.js'

const CLOCK_THREAD_CPUTIME_ID = 3

/** `struct timespec`: seconds and nanoseconds, of 64 bits. */
const time = new BigInt64Array(2)

/** ms on a core, user and system; undefined where the C library cannot be asked. */
export function threadTime(): number | undefined {
  if (libc.clockGettime?.(CLOCK_THREAD_CPUTIME_ID, time) !== 0) return undefined
  return Number(time[0]) * 1000 + Number(time[1]) / 1e6
}

/** ms since what {@link threadTime} told; undefined where one of them is. */
export function threadTimeSince(start: number | undefined): number | undefined {
  const now = threadTime()
  return start === undefined || now === undefined ? undefined : now - start
}

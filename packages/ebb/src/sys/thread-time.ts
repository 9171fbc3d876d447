/** CPU time of the current thread. */
import * as libc from './libc.js'

const CLOCK_THREAD_CPUTIME_ID = 3

/** `struct timespec`: seconds and nanoseconds, 64 bits each. */
const time = new BigInt64Array(2)

/** Returns the user and system CPU time of this thread in ms; undefined where the C library cannot be asked. */
export function threadTime(): number | undefined {
  if (libc.clockGettime?.(CLOCK_THREAD_CPUTIME_ID, time) !== 0) return undefined
  return Number(time[0]) * 1000 + Number(time[1]) / 1e6
}

/** Returns the CPU time since `start`, a result of {@link threadTime}, in ms; undefined if either is unknown. */
export function threadTimeSince(start: number | undefined): number | undefined {
  const now = threadTime()
  return start === undefined || now === undefined ? undefined : now - start
}

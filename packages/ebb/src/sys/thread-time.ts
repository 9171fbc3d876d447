/** CPU time of the current thread, and of all threads of this process. */
import { endianness } from 'node:os'
import * as libc from './libc.js'

const CLOCK_PROCESS_CPUTIME_ID = 2
const CLOCK_THREAD_CPUTIME_ID = 3

/** `struct timespec`: seconds and nanoseconds, 64 bits each. Read as 32 bits each, because 64 bits make an object. */
const time = new Uint32Array(4)
/** Index of the lower 32 bits. */
const LOW = endianness() === 'LE' ? 0 : 1

/** Returns the user and system CPU time of this thread in ms; undefined where the C library cannot be asked. */
export function threadTime(): number | undefined {
  return clock(CLOCK_THREAD_CPUTIME_ID)
}

/** Returns the CPU time since `start`, a result of {@link threadTime}, in ms; undefined if either is unknown. */
export function threadTimeSince(start: number | undefined): number | undefined {
  const now = threadTime()
  return start === undefined || now === undefined ? undefined : now - start
}

/**
 * Returns the user and system CPU time of all threads of this process in ms; undefined where the C library cannot be
 * asked.
 */
export function processTime(): number | undefined {
  return clock(CLOCK_PROCESS_CPUTIME_ID)
}

/** Returns the CPU time of the other threads of this process in ms; undefined where the C library cannot be asked. */
export function otherThreadsTime(): number | undefined {
  // This thread first, so that the difference is never negative.
  const own = threadTime()
  const all = processTime()
  return own === undefined || all === undefined ? undefined : Math.max(0, all - own)
}

function clock(id: number): number | undefined {
  if (libc.clockGettime?.(id, time) !== 0) return undefined
  return (time[LOW] as number) * 1000 + (time[2 + LOW] as number) / 1e6
}

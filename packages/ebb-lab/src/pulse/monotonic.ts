/** The machine's monotonic clock, which all processes share: `performance.now()` counts from the start of a process. */

const origin = Number(process.hrtime.bigint()) / 1e6 - performance.now()

/** Returns the reading of the machine's monotonic clock, ms, at a time of this process's `performance.now()`. */
export function toMonotonic(time: number): number {
  return origin + time
}

/** Returns the time of this process's `performance.now()` at a reading of the machine's monotonic clock, ms. */
export function fromMonotonic(reading: number): number {
  return reading - origin
}

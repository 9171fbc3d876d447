/** Reduces many measurements to one figure, and formats figures for people. */

/**
 * Returns the median, or NaN if there are no values. `Infinity` ("never happened") is a value like any other.
 *
 * @param {readonly number[]} values
 */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/**
 * Returns the smallest value that is at least as large as `share` of all values (the nearest-rank quantile), or NaN if
 * there are no values.
 *
 * @param {readonly number[]} values
 * @param {number} share from 0 to 1; 0.99 for the 99th percentile
 */
export function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** @param {number} bytes */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`

/** @param {number} ms */
export const milliseconds = (ms) => `${ms.toFixed(1)} ms`

/** @param {number} us */
export const microseconds = (us) => `${us.toFixed(0)} us`

/** @param {number} perSecond */
export const rate = (perSecond) => `${whole(perSecond)} /s`

/**
 * Formats a number as an integer with thousands separators.
 *
 * @param {number} value
 */
export function whole(value) {
  // Adding 0 turns -0 into 0.
  return (Math.round(value) + 0).toLocaleString('en-US')
}

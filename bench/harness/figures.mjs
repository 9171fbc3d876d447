/** Of many figures, one; and one as a person reads it. */

/** Nearest rank: `share` of the figures are not above it. */
export function quantile(figures, share) {
  const sorted = figures.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
}

export function median(figures) {
  const sorted = figures.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`
export const milliseconds = (ms) => `${ms.toFixed(1)} ms`
export const microseconds = (us) => `${us.toFixed(0)} us`
export const rate = (perSecond) => `${Math.round(perSecond).toLocaleString('en-US')} /s`

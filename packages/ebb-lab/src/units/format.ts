/** Formats figures for people. MB are 10^6 bytes; null is a dash. */

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/** Formats a whole number: `12,345`. */
export function integer(value: number): string {
  // Adding 0 turns -0 into 0: -0.2 is written as 0, not as -0.
  return whole.format(Math.round(value) + 0)
}

/** Formats bytes as `87.5 MB`. */
export function megabytes(bytes: number | null, digits = 1): string {
  return bytes === null ? '-' : `${(bytes / 1e6).toFixed(digits)} MB`
}

/** Formats bytes that a person chose as `600 MB` or `8 GB`. */
export function size(bytes: number): string {
  return bytes < 1e9 ? `${Number((bytes / 1e6).toFixed(1))} MB` : `${Number((bytes / 1e9).toFixed(2))} GB`
}

/** Formats bytes as `6,208 B`, with a fraction only below 10 bytes. */
export function bytes(value: number | null): string {
  if (value === null) return '-'
  return `${Math.abs(value) < 9.95 && Math.round(value) !== value ? value.toFixed(1) : integer(value)} B`
}

/**
 * Formats the footprint of a connection. Below zero it is `< 0 B`: the server held garbage at rest, or the difference
 * is noise.
 */
export function footprint(value: number | null): string {
  return value !== null && value < 0 ? '< 0 B' : bytes(value)
}

/** Formats milliseconds as `12.3 ms` or `4.2 s`, and `Infinity` as `never`. */
export function duration(ms: number | null): string {
  if (ms === null) return '-'
  if (ms === Infinity) return 'never'
  if (ms === 0) return '0 s'
  if (ms < 99.95) return `${ms.toFixed(1)} ms`
  return ms < 999.5 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(ms < 99_950 ? 1 : 0)} s`
}

/** Formats a ratio: `1.02`. */
export function ratio(value: number | null): string {
  return value === null ? '-' : value.toFixed(2)
}

/** Formats a count as `10k`, `1.5k` or `800`, short enough for the label of a narrow pulse. */
export function short(count: number): string {
  if (count < 1000) return String(count)
  const [value, unit] = count < 999_950 ? [count / 1000, 'k'] : [count / 1e6, 'M']
  return `${Number(value.toFixed(1))}${unit}`
}

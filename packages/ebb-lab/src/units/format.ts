/** Figures as a person reads them: MB are 10^6 bytes; null is a dash. */

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/** `12,345`. */
export function integer(value: number): string {
  // Not "-0": a footprint of -0.2 bytes is nothing.
  return whole.format(Math.round(value) + 0)
}

/** `87.5 MB` from bytes. */
export function megabytes(bytes: number | null, digits = 1): string {
  return bytes === null ? '-' : `${(bytes / 1e6).toFixed(digits)} MB`
}

/** `600 MB` or `8 GB` from bytes that a person chose. */
export function size(bytes: number): string {
  return bytes < 1e9 ? `${Number((bytes / 1e6).toFixed(1))} MB` : `${Number((bytes / 1e9).toFixed(2))} GB`
}

/** `6,208 B` from bytes; a fraction is shown only below 10 bytes. */
export function bytes(value: number | null): string {
  if (value === null) return '-'
  return `${Math.abs(value) < 9.95 && Math.round(value) !== value ? value.toFixed(1) : integer(value)} B`
}

/** `12.3 ms` or `4.2 s` from milliseconds; `never` for `Infinity`. */
export function duration(ms: number | null): string {
  if (ms === null) return '-'
  if (ms === Infinity) return 'never'
  if (ms === 0) return '0 s'
  if (ms < 99.95) return `${ms.toFixed(1)} ms`
  return ms < 999.5 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(ms < 99_950 ? 1 : 0)} s`
}

/** `1.02`. */
export function ratio(value: number | null): string {
  return value === null ? '-' : value.toFixed(2)
}

/** `10k`, `1.5k`, `800`: as short as fits over a narrow pulse. */
export function short(count: number): string {
  if (count < 1000) return String(count)
  const [value, unit] = count < 999_950 ? [count / 1000, 'k'] : [count / 1e6, 'M']
  return `${Number(value.toFixed(1))}${unit}`
}

/** Typed arrays with an entry for each descriptor, or for each connection, that grow and shrink. */
import { descriptorLimit } from './descriptors.js'

/** Array lengths are multiples of this. For 1024 descriptors the reactor's arrays take 13 KB. */
const STEP = 1024

/**
 * Returns the new length for an array of `length` entries that needs at least `least`.
 *
 * It doubles, so that growing to a million entries copies ten times and leaves less garbage than it keeps. It never
 * exceeds the number of descriptors that the process may have, unless `least` does.
 */
export function grown(length: number, least: number): number {
  return shrunk(Math.max(least, Math.min(2 * length, descriptorLimit())))
}

/** Returns the length for an array of which `needed` entries are needed. */
export function shrunk(needed: number): number {
  return Math.ceil(needed / STEP) * STEP
}

/** Copies `from` to `to`, as far as it fits, and returns `to`. */
export function resized<T extends Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array>(
  from: T,
  to: T
): T {
  to.set(from.length > to.length ? from.subarray(0, to.length) : from)
  return to
}

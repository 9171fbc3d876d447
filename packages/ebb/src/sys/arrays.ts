/** Typed arrays with an entry for each descriptor, or for each connection, that grow and shrink. */
import { descriptorLimit } from './descriptors.js'

/** Their lengths are multiples of this: 1,024 descriptors of a reactor are 13 KB. */
const STEP = 1024

/**
 * The length for arrays of `length` that are to have at least `least` entries: twice as many, so that those of a million are copied
 * ten times and not a thousand, and what is left behind for the next collection is no more than what is used; but no more than there
 * can be descriptors.
 */
export function grown(length: number, least: number): number {
  return shrunk(Math.max(least, Math.min(2 * length, descriptorLimit())))
}

/** The length for arrays of which `needed` entries are needed. */
export function shrunk(needed: number): number {
  return Math.ceil(needed / STEP) * STEP
}

/** What `from` holds, as far as `to` has room; returns `to`. */
export function resized<T extends Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array>(
  from: T,
  to: T
): T {
  to.set(from.length > to.length ? from.subarray(0, to.length) : from)
  return to
}

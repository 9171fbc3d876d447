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

type Numbers = Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array

/** Copies `from` to `to`, as far as it fits, and returns `to`. */
export function resized<T extends Numbers>(from: T, to: T): T {
  to.set(from.length > to.length ? from.subarray(0, to.length) : from)
  return to
}

/** Returns a copy of `array` that has an entry for `index`. @param width array elements of an entry */
export function lengthened<T extends Numbers>(array: T, index: number, width = 1): T {
  return copied(array, grown(array.length / width, index + 1) * width)
}

/**
 * Returns `array`, or a shorter copy if fewer entries suffice.
 *
 * @param end no entry from here on is in use
 * @param width array elements of an entry
 */
export function shortened<T extends Numbers>(array: T, end: number, width = 1): T {
  const length = shrunk(end) * width
  return length < array.length ? copied(array, length) : array
}

function copied<T extends Numbers>(array: T, length: number): T {
  return resized(array, new (array.constructor as new (length: number) => T)(length))
}

/** Typed arrays that grow and shrink. */

/** What `from` holds, as far as `to` has room; returns `to`. */
export function resized<T extends Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array>(
  from: T,
  to: T
): T {
  to.set(from.length > to.length ? from.subarray(0, to.length) : from)
  return to
}

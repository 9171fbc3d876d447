/** V8's view of this process, in the terms of Go's `runtime.MemStats`, so that one chart can show servers in both. */
import { getHeapStatistics } from 'node:v8'

/** Bytes, except for `objects`. */
export interface RuntimeView {
  /** The most that the heap has ever physically held, like Go's `HeapSys`. Never falls. */
  system: number
  /** Bytes of the heap in use, including garbage that is not collected yet. */
  inuse: number
  /** Bytes of `system` that the heap no longer holds. */
  released: number
  /** Number of objects; null, because V8 does not count them. */
  objects: number | null
}

let highest = 0

/**
 * Returns V8's heap as it is now. `system` is the highest `total_physical_size` that any call of this function has
 * seen.
 */
export function runtimeView(): RuntimeView {
  const { total_physical_size: physical, used_heap_size: inuse } = getHeapStatistics()
  highest = Math.max(highest, physical)
  return { system: highest, inuse, released: highest - physical, objects: null }
}

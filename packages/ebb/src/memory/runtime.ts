/** V8's view of this process, in Go's terms, so that servers in both can be drawn in one picture. */
import { getHeapStatistics } from 'node:v8'

/** Bytes; `objects` is null: V8 does not count them. */
export interface RuntimeView {
  /** The most that the heap has physically held (as Go's `HeapSys`, which never falls). */
  system: number
  /** What is used of it, garbage included until it is collected. */
  inuse: number
  /** What of `system` the heap no longer holds. */
  released: number
  objects: number | null
}

let highest = 0

/** V8's heap now. `system` is the highest `total_physical_size` that any call has seen. */
export function runtimeView(): RuntimeView {
  const { total_physical_size: physical, used_heap_size: inuse } = getHeapStatistics()
  highest = Math.max(highest, physical)
  return { system: highest, inuse, released: highest - physical, objects: null }
}

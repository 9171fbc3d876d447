/** What a release would return to the system now, and for how long it would stop the event loop. */
import { costModel } from '../govern/cost-model.js'
import type { MallocState } from '../sys/malloc-info.js'
import type { HeapView, Prediction } from './types.js'

/** Predicts a release. */
export function predict({ spaces }: HeapView, malloc: MallocState | undefined): Prediction {
  const heap = spaces.reduce((sum, { physical, used }) => sum + Math.max(0, physical - used), 0)
  const free = malloc?.free ?? 0
  return { expected: heap + free, heap, malloc: free, stop: costModel().longestPause() }
}

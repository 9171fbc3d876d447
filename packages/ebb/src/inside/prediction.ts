/**
 * Predicts what a release would return to the system now, and for how long it would stop the event loop.
 *
 * Only a collection finds out what is garbage. The prediction counts everything in the old generation as alive, because
 * it has survived two collections of the young one, and everything in the young generation as garbage. Figures:
 * docs/reference/inside.md.
 */
import { costModel } from '../govern/cost-model.js'
import { residentArenaBytes } from '../proc/arenas.js'
import { ownAnonymous } from '../proc/process.js'
import type { MallocState } from '../sys/malloc-info.js'
import type { HeapSpace, HeapView, Prediction } from './types.js'

/** Bytes that the young generation keeps at least, after a release. */
const SMALLEST_YOUNG = 300_000
/** Share of the old generation that is lost between its objects, after a release. */
const SCATTERED = 0.025
/** Anonymous memory of Node that is neither heap nor from `malloc`, after a release: data of the program, stacks. */
const OWN = 900_000

/** Predicts a release. */
export function predict({ spaces }: HeapView, malloc: MallocState | undefined): Prediction {
  const resident = malloc === undefined ? undefined : residentArenaBytes()
  const heap = spaces.reduce((sum, space) => sum + returnedBy(space), 0)
  const stop = costModel().longestPause()
  if (malloc === undefined || resident === undefined) return { expected: heap, heap, malloc: 0, stop }
  const ofHeap = heap + pooledBytes(spaces, resident + malloc.mapped)
  const ofMalloc = returnedByMalloc(malloc, resident)
  return { expected: ofHeap + ofMalloc, heap: ofHeap, malloc: ofMalloc, stop }
}

function returnedBy({ name, used, physical }: HeapSpace): number {
  if (name === 'new_space') return Math.max(0, physical - SMALLEST_YOUNG)
  if (name === 'read_only_space' || name.includes('large_object')) return Math.max(0, physical - used)
  return Math.max(0, physical - used * (1 + SCATTERED))
}

/** Returns the bytes of pages that V8 keeps for later and counts in none of its spaces. */
function pooledBytes(spaces: readonly HeapSpace[], ofMalloc: number): number {
  const heap = spaces.reduce((sum, { physical }) => sum + physical, 0)
  return Math.max(0, ownAnonymous() - heap - ofMalloc - OWN)
}

function returnedByMalloc({ arenas, freePages }: MallocState, resident: number): number {
  // The rest of the free pages is back at the system already.
  const used = arenas.reduce((sum, arena) => sum + arena.used, 0)
  return Math.min(freePages, Math.max(0, resident - used))
}

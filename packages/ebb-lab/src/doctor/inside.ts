/** Asks a Node process for its inside, and releases its memory. */
import { askInside, type Inside, type Prediction, type ProcessView } from 'ebb/memory'
import { EbbError } from 'ebb/sys'
import type { Asked, DoneRelease } from './diagnosis.js'
import type { MallocUse } from './malloc.js'
import type { Part } from './parts.js'

/** Milliseconds for an answer: the loop of the process may be busy. */
const ANSWER_WITHIN = 5000
/** Milliseconds for a release, which goes in steps. */
const RELEASE_WITHIN = 60_000

/** What is known of a process from outside, which makes the prediction of a release better. */
export interface Outside {
  parts: readonly Part[]
  malloc: MallocUse | null
}

/** Returns the inside of a Node process, or why there is none. */
export async function readInside(pid: number, outside: Outside): Promise<Asked> {
  try {
    const inside = await askInside(pid, { timeout: ANSWER_WITHIN })
    return { inside: { ...inside, release: corrected(inside, outside) }, why: null }
  } catch (error) {
    if (!(error instanceof EbbError)) throw error
    return { inside: null, why: error.message }
  }
}

/**
 * Makes a process release its memory.
 *
 * @throws EbbError as `askInside()` does
 */
export async function releaseOf(view: ProcessView, { release: predicted }: Inside): Promise<DoneRelease> {
  const before = view.status().anonymous
  const { ms } = await askInside(view.pid, { ask: 'release', timeout: RELEASE_WITHIN })
  const after = view.status().anonymous
  return { before, after, returned: before - after, stop: ms, predicted }
}

/**
 * Returns the prediction of a release, corrected by what a process cannot know of itself: which pages of freed blocks
 * are resident, and pages that V8 has emptied and keeps in a pool, which its statistics leave out. Objects of the young
 * generation count as garbage, as most of them are.
 */
function corrected({ release, heap, threads }: Inside, { parts, malloc }: Outside): Prediction {
  const old = heap.spaces.filter(({ name }) => !name.startsWith('new_'))
  const used = old.reduce((sum, space) => sum + space.used, 0)
  const pages = parts.reduce((sum, { kind, bytes }) => sum + (kind === 'v8' || kind === 'v8-large' ? bytes : 0), 0)
  // The pages of workers cannot be told from those of the main thread.
  const ofHeap = threads.workers ? release.heap : Math.max(release.heap, pages - used)
  const ofMalloc = malloc === null || malloc.unknown > 0 ? release.malloc : malloc.releasable
  return { ...release, expected: ofHeap + ofMalloc, heap: ofHeap, malloc: ofMalloc }
}

/** Asks a Node process for its inside, and releases its memory. */
import type { Prediction, ProcessView } from 'ebb/memory'
import { EbbError } from 'ebb/sys'
import { DoctorError } from '../units/errors.js'
import { anonymousOf } from './anonymous.js'
import type { DoneRelease, InsideResult } from './diagnosis.js'
import type { NodeInside } from './inspector/answer.js'
import { askNode } from './inspector/ask-node.js'
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

/**
 * Returns the inside of a Node process, or why there is none.
 *
 * @param inspect whether to ask a process without ebb through its inspector
 */
export async function readInside(pid: number, outside: Outside, inspect: boolean): Promise<InsideResult> {
  try {
    const { inside, route, notes } = await askNode(pid, { inspect, timeout: ANSWER_WITHIN })
    const release = corrected(inside, outside)
    return { inside: { ...inside, ...(release && { release }) }, why: null, isInspected: route === 'inspector', notes }
  } catch (error) {
    if (!(error instanceof EbbError || error instanceof DoctorError)) throw error
    return { inside: null, why: error.message, isInspected: false, notes: [] }
  }
}

/**
 * Makes a process release its memory. One that is asked through its inspector loads `ebb/memory` for it.
 *
 * @throws EbbError as `askInside()` does; DoctorError as `askNode()` does
 */
export async function releaseOf(
  view: ProcessView,
  { inside, isInspected }: InsideResult,
  outside: Outside
): Promise<DoneRelease> {
  const before = anonymousOf(view)
  const answer = await askNode(view.pid, { inspect: isInspected, release: true, timeout: RELEASE_WITHIN })
  const after = anonymousOf(view)
  const predicted = inside?.release ?? corrected(answer.inside, outside) ?? null
  return { before, after, returned: before - after, stop: answer.released?.ms ?? 0, predicted }
}

/**
 * Returns the prediction of a release, corrected by what a process cannot know of itself: which pages of freed blocks
 * are resident, and pages that V8 has emptied and keeps in a pool, which its statistics leave out. Objects of the young
 * generation count as garbage, as most of them are. Undefined if nothing was predicted.
 */
function corrected({ release, heap, threads }: NodeInside, { parts, malloc }: Outside): Prediction | undefined {
  if (release === undefined) return undefined
  const old = heap.spaces.filter(({ name }) => !name.startsWith('new_'))
  const used = old.reduce((sum, space) => sum + space.used, 0)
  const pages = parts.reduce((sum, { kind, bytes }) => sum + (kind === 'v8' || kind === 'v8-large' ? bytes : 0), 0)
  // The pages of workers cannot be told from those of the main thread.
  const ofHeap = threads?.workers ? release.heap : Math.max(release.heap, pages - used)
  const ofMalloc = malloc === null || malloc.unknown > 0 ? release.malloc : malloc.releasable
  return { ...release, expected: ofHeap + ofMalloc, heap: ofHeap, malloc: ofMalloc }
}

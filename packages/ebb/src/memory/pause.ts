/** What a part of a release costs this thread, ms. */
export interface Cost {
  /** The longest pause of the event loop. */
  pauseMs: number
  /** CPU time of this thread. */
  workMs: number
}

/**
 * How long a collection pauses a thread, before anything is measured: ms for an empty heap, and ms for each MB that is
 * alive.
 *
 * A collection at once marks what is alive, at least twice. A collection in steps pauses the program for compaction
 * only. Figures: docs/performance.md.
 */
export const AT_ONCE = { empty: 10, perMb: 1.5 }
const IN_STEPS = { empty: 5, perMb: 0.5 }

/** Returns the estimated pause, ms. */
export function estimatePause(liveBytes: number, inSteps: boolean): number {
  const { empty, perMb } = inSteps ? IN_STEPS : AT_ONCE
  return empty + (perMb * liveBytes) / 1e6
}

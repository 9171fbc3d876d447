/** What a recording without pulses shows: where memory ended, and where it goes. */
import type { Sample } from '../record/recording.js'
import { medianOf } from './median.js'
import { NEAR, NEAR_BYTES } from './release-time.js'

/** Milliseconds at the end of a recording whose median is the memory at the end. */
const END = 1000
/** Samples that {@link watched} compares with each other. */
const MOST_SAMPLES = 150

/** Memory of a server that was watched, without pulses. Bytes. */
export interface Watched {
  /** Anonymous memory at the end: the median of the last second. */
  last: number | null
  /**
   * Change of anonymous memory, bytes per minute: the median of the slopes between all pairs of samples (Theil-Sen), so
   * that a spike does not matter. 0 if memory is steady: over the whole recording, it would change by at most 5 % or
   * 0.5 MB, whichever is larger.
   */
  trend: number | null
}

/** Returns what samples without pulses show. */
export function watched(samples: readonly Sample[]): Watched {
  const [first, end] = [samples[0], samples.at(-1)]
  if (first === undefined || end === undefined) return { last: null, trend: null }
  const last = medianOf(samples.filter(({ t }) => t >= end.t - END).map(({ anonymous }) => anonymous))
  const step = Math.max(1, samples.length / MOST_SAMPLES)
  const some = Array.from(
    { length: Math.floor(samples.length / step) },
    (_, i) => samples[Math.floor(i * step)] as Sample
  )
  const slope = medianOf(slopesOf(some))
  if (slope === null || last === null) return { last, trend: null }
  const isSteady = Math.abs(slope) * (end.t - first.t) <= Math.max(NEAR * last, NEAR_BYTES)
  return { last, trend: isSteady ? 0 : slope * 60_000 }
}

/** Returns the slopes between all pairs of samples that differ in time. A live page asks for them once a second. */
function slopesOf(samples: readonly Sample[]): Float64Array {
  const slopes = new Float64Array((samples.length * (samples.length - 1)) / 2)
  let count = 0
  for (const [i, one] of samples.entries()) {
    for (let j = i + 1; j < samples.length; j++) {
      const { t, anonymous } = samples[j] as Sample
      if (t > one.t) slopes[count++] = (anonymous - one.anonymous) / (t - one.t)
    }
  }
  return slopes.subarray(0, count)
}

/** The release time: how long after the last big pulse memory was back to need. */
import type { Recording, Sample } from '../record/recording.js'
import type { NoteList } from './notes.js'
import { firstAt, pulsesOf, type RecordedPulse, samplesBetween, steadyHoldOf } from './phases.js'

/** Memory is back when it is within 5 % of need or 0.5 MB, the larger. */
export const NEAR = 0.05
export const NEAR_BYTES = 0.5e6
/** Samples on either side that decide whether a sample above need is alone. */
const NEIGHBOURS = 5
/** Time that the recording must go on after the last big pulse to show whether memory went back, ms. */
const SETTLE = 1000

/** Bytes at or below which memory is back. */
interface Thresholds {
  /** While a pulse is held, its busy beginning left out. */
  holding: number
  /** At any other time. */
  otherwise: number
}

/**
 * Returns the time in ms from the last big pulse's last close until memory is back and stays back; see
 * `Verdict.release`. Returns null, with a note, if the recording does not show it.
 *
 * @param need bytes
 * @param control the recording that `need` was taken from
 */
export function releaseTime(
  main: Recording,
  pulses: readonly RecordedPulse[],
  need: number,
  control: Recording,
  notes: NoteList
): number | null {
  const closedAt = pulses.findLast((pulse) => pulse.size === 'big')?.closedAt ?? null
  if (closedAt === null) {
    notes.add('release-time-unknown', 'The last big pulse was not closed, so the release time is not known.')
    return null
  }
  const after = main.samples.slice(firstAt(main.samples, closedAt))
  if ((after.at(-1)?.t ?? 0) - closedAt < SETTLE) {
    const text = 'The recording ends within a second of the last big pulse, so the release time is not known.'
    notes.add('release-time-unknown', text)
    return null
  }
  const { holding, otherwise } = thresholdsOf(need, control)
  const isHeld = heldIn(main, pulses)
  const isAbove = (index: number): boolean => {
    const sample = after[index]
    return sample !== undefined && sample.anonymous > (isHeld(sample) ? holding : otherwise)
  }
  const last = lastLastingIndex(after.length, isAbove)
  if (last < 0) return 0
  const back = after[last + 1]
  return back === undefined ? Infinity : back.t - closedAt
}

/**
 * Returns the index of the last sample that is above and does not stand alone, or -1. The first sample is never alone.
 */
function lastLastingIndex(count: number, isAbove: (index: number) => boolean): number {
  const hasCompany = (index: number): boolean => {
    for (let distance = 1; distance <= NEIGHBOURS; distance++) {
      if (isAbove(index - distance) || isAbove(index + distance)) return true
    }
    return false
  }
  let index = count - 1
  while (index >= 0 && !(isAbove(index) && (index === 0 || hasCompany(index)))) index--
  return index
}

/** Memory counts as back also where it is no higher than the control was in the same phase. */
function thresholdsOf(need: number, control: Recording): Thresholds {
  const near = need + Math.max(need * NEAR, NEAR_BYTES)
  const pulses = pulsesOf(control)
  const isHeld = heldIn(control, pulses)
  const thresholds = { holding: near, otherwise: near }
  for (const sample of samplesBetween(control.samples, pulses[0]?.startsAt ?? 0, Infinity)) {
    const phase = isHeld(sample) ? 'holding' : 'otherwise'
    thresholds[phase] = Math.max(thresholds[phase], sample.anonymous)
  }
  return thresholds
}

/** Returns whether a sample was taken while a pulse was held, its busy beginning left out. */
function heldIn(recording: Recording, pulses: readonly RecordedPulse[]): (sample: Sample) => boolean {
  const samples = new Set(pulses.flatMap((pulse) => steadyHoldOf(recording, pulse)))
  return (sample) => samples.has(sample)
}

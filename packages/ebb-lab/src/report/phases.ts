/** The pulses of a recording, and the samples of their phases. */
import type { Recording, Sample } from '../record/recording.js'

/** A pulse as it went. Times are ms; null: the recording ends before it. */
export interface RecordedPulse {
  size: 'big' | 'small'
  /** Connections asked for, and those that were really opened. */
  n: number
  connected: number
  failed: number
  lost: number
  startsAt: number
  connectedAt: number | null
  closingAt: number | null
  closedAt: number | null
  /** The end of the hold phase: closing, or whatever comes first after it where `closing` was not recorded. */
  holdsUntil: number
}

/** The pulses in their order. An event of a pulse whose start was not recorded is passed over: its size is not known. */
export function pulsesOf(recording: Pick<Recording, 'events'>): RecordedPulse[] {
  const pulses: RecordedPulse[] = []
  // A plan that runs twice in one recording counts from 0 again: an event belongs to the latest pulse of its index.
  const latest = new Map<number, RecordedPulse>()
  for (const event of recording.events) {
    if (event.event === 'pulse') {
      const previous = pulses.at(-1)
      if (previous) previous.holdsUntil = Math.min(previous.holdsUntil, event.t)
      const pulse: RecordedPulse = {
        size: event.size,
        n: event.n,
        connected: 0,
        failed: 0,
        lost: 0,
        startsAt: event.t,
        connectedAt: null,
        closingAt: null,
        closedAt: null,
        holdsUntil: Infinity
      }
      pulses.push(pulse)
      latest.set(event.index, pulse)
    } else if (event.event === 'connected') {
      const pulse = latest.get(event.index)
      if (!pulse) continue
      pulse.connectedAt = event.t
      pulse.connected = event.connected
      pulse.failed = event.failed
    } else if (event.event === 'closing' || event.event === 'closed') {
      const pulse = latest.get(event.index)
      if (!pulse) continue
      pulse.holdsUntil = Math.min(pulse.holdsUntil, event.t)
      if (event.event === 'closing') pulse.closingAt = event.t
      else {
        pulse.closedAt = event.t
        pulse.lost = event.lost
      }
    }
  }
  return pulses
}

/** The samples with `from` <= t < `until`. */
export function samplesBetween(samples: readonly Sample[], from: number, until: number): Sample[] {
  return samples.slice(firstAt(samples, from), firstAt(samples, until))
}

/** The index of the first sample at or after `t`. Samples stand in the order of time. */
export function firstAt(samples: readonly Sample[], t: number): number {
  let low = 0
  let high = samples.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((samples[middle] as Sample).t < t) low = middle + 1
    else high = middle
  }
  return low
}

/** The samples taken while all connections of the pulse were open. */
export function holdOf(recording: Recording, pulse: RecordedPulse): Sample[] {
  return pulse.connectedAt === null ? [] : samplesBetween(recording.samples, pulse.connectedAt, pulse.holdsUntil)
}

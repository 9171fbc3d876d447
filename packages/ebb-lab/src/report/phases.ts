/** Finds the pulses of a recording, and the samples of their phases. */
import type { Recording, Sample } from '../record/recording.js'

/** A pulse as it was recorded. Times are in ms; null if the recording ends before. */
export interface RecordedPulse {
  size: 'big' | 'small'
  /** Connections that were asked for. */
  n: number
  /** Connections that were opened. */
  connected: number
  /** Connects that failed. */
  failed: number
  /** Connections that the server closed first. */
  lost: number
  /** Connections that left while the pulse was held, each for a new one. */
  replaced: number
  startsAt: number
  connectedAt: number | null
  closingAt: number | null
  closedAt: number | null
  /** End of the hold phase: the `closing` event, or the next event of a pulse if `closing` was not recorded. */
  holdsUntil: number
}

/** Returns the pulses in their order. Ignores events of a pulse whose start was not recorded: its size is not known. */
export function pulsesOf(recording: Pick<Recording, 'events'>): RecordedPulse[] {
  const pulses: RecordedPulse[] = []
  // A plan that runs twice in one recording counts from 0 again. An event belongs to the latest pulse of its index.
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
        replaced: 0,
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
        pulse.replaced = event.replaced ?? 0
      }
    }
  }
  return pulses
}

/** Returns the samples with `from` <= t < `until`, ms. */
export function samplesBetween(samples: readonly Sample[], from: number, until: number): Sample[] {
  return samples.slice(firstAt(samples, from), firstAt(samples, until))
}

/** Returns the index of the first sample at or after `t`, ms, by binary search: samples are in the order of time. */
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

/** Returns the samples taken while all connections of the pulse were open. */
export function holdOf(recording: Recording, pulse: RecordedPulse): Sample[] {
  return pulse.connectedAt === null ? [] : samplesBetween(recording.samples, pulse.connectedAt, pulse.holdsUntil)
}

/** Share of a hold phase in which a server may still be busy accepting. */
const BUSY = 0.2
/** Samples that must remain without the busy part. */
const REMAIN = 5

/** Returns the samples of the hold phase without its busy beginning, or all of them if few would remain. */
export function steadyHoldOf(recording: Recording, pulse: RecordedPulse): Sample[] {
  const samples = holdOf(recording, pulse)
  const steady = samples.slice(Math.ceil(samples.length * BUSY))
  return steady.length >= REMAIN ? steady : samples
}

/** Returns the sum of a count over pulses. */
export function sumOf(pulses: readonly RecordedPulse[], count: 'connected' | 'failed' | 'lost' | 'replaced'): number {
  return pulses.reduce((total, pulse) => total + pulse[count], 0)
}

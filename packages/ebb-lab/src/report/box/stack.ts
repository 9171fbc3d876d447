/** Adds up the memory of a box's servers over time. */
import type { BoxRun, BoxServer } from '../../record/box/recording.js'

/** The memory of all servers at one moment. */
export interface Moment {
  /** ms since the run began. */
  t: number
  /** Bytes that each server holds, in their order; 0 before it listens and after it has ended. */
  parts: number[]
  sum: number
}

/** The memory of a server over time. */
interface MemoryOverTime {
  points: { t: number; bytes: number }[]
  /** When the server ended: from then on it holds nothing. */
  endsAt: number
}

/**
 * Returns what a server holds at each of its samples: its anonymous memory, and its part of the file pages.
 *
 * Anonymous memory is read at each sample. The part of the file pages is read rarely, because the kernel walks the page
 * tables for it, and it changes little. Between two measurements it is interpolated. If it could not be read, PSS less
 * anonymous memory is used; if that could not be read either, all file pages of the process.
 *
 * @param allUp when the last server listened, ms. Measurements before it are not used, because fewer servers shared the
 *   pages then
 */
function memoryOverTime(server: BoxServer, run: BoxRun, allUp: number): MemoryOverTime {
  const { recording, files } = server
  if (recording === null) return { points: [], endsAt: Number.POSITIVE_INFINITY }
  const { samples } = recording
  const endsAt = goneAt(server, run) ?? Number.POSITIVE_INFINITY
  const proportional = samples.flatMap(({ t, proportional, anonymous }) =>
    proportional === null ? [] : [{ t, bytes: Math.max(0, proportional - anonymous) }]
  )
  const every = files.length > 0 ? files : proportional
  const ofAll = every.filter(({ t }) => t >= allUp)
  // A server that ended before all servers listened has only the earlier measurements.
  const shares = ofAll.length > 0 ? ofAll : every
  let next = 0
  const points = samples.map(({ t, anonymous, file }) => {
    while (next < shares.length && (shares[next]?.t ?? 0) < t) next++
    return { t, bytes: anonymous + (shares.length === 0 ? file : between(shares[next - 1], shares[next], t)) }
  })
  return { points, endsAt }
}

/**
 * Returns when a server ended, ms since the run began; null if it did not. If nobody reported how it ended, because a
 * shell that started it still runs, it ended at the first sample of the machine that did not find it.
 */
export function goneAt({ recording }: BoxServer, { machine }: BoxRun): number | null {
  const end = recording?.events.findLast((event) => event.event === 'end')
  if (end?.event !== 'end' || end.reason !== 'exited') return null
  if (end.exitCode !== null || end.signal !== null) return end.t
  const last = recording?.samples.at(-1)?.t ?? end.t
  return Math.min(end.t, machine.find(({ t }) => t > last)?.t ?? end.t)
}

/** The part of the file pages at one measurement. */
interface Share {
  t: number
  bytes: number
}

/** Returns the bytes at `t`, interpolated between two measurements. With only one measurement, returns its bytes. */
function between(before: Share | undefined, after: Share | undefined, t: number): number {
  if (before === undefined || after === undefined) return (before ?? after)?.bytes ?? 0
  return before.bytes + ((after.bytes - before.bytes) * (t - before.t)) / (after.t - before.t)
}

/**
 * Returns the memory of all servers at each moment at which one of them was sampled. Between two samples, a server
 * counts with the memory of its last one.
 */
export function stackOf(run: BoxRun): Moment[] {
  const allUp = Math.max(0, ...run.servers.map(({ recording }) => recording?.samples[0]?.t ?? 0))
  const memories = run.servers.map((server) => memoryOverTime(server, run, allUp))
  const times = new Set(memories.flatMap(({ points, endsAt }) => [...points.map(({ t }) => t), endsAt]))
  const holds = memories.map(valueOver)
  return [...times]
    .filter((t) => t < Number.POSITIVE_INFINITY)
    .sort((a, b) => a - b)
    .map((t) => {
      const parts = holds.map((at) => at(t))
      return { t, parts, sum: parts.reduce((sum, part) => sum + part, 0) }
    })
}

/** Returns a function that gives the bytes at a time. Times must be asked for in ascending order. */
function valueOver({ points, endsAt }: MemoryOverTime): (t: number) => number {
  let next = 0
  return (t) => {
    while (next < points.length && (points[next]?.t ?? 0) <= t) next++
    return t >= endsAt ? 0 : Math.round(points[next - 1]?.bytes ?? 0)
  }
}

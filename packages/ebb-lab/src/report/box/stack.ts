/** The memory of a box over time, server by server: what can be added up. */
import type { BoxRun, BoxServer } from '../../record/box/recording.js'

/** All servers at one moment. */
export interface Moment {
  /** ms since the run began. */
  t: number
  /** What each server holds, in their order, bytes; 0 before it listens and after it has ended. */
  parts: number[]
  sum: number
}

/** A server's memory over time. */
interface Course {
  points: { t: number; bytes: number }[]
  /** When it was gone: it counts for nothing from then on. */
  endsAt: number
}

/**
 * What a server holds, at each of its samples: its anonymous memory, and its part of the pages of files.
 *
 * Anonymous memory is its own, is what changes, and is read at each sample. Its part of the files is looked at rarely,
 * because the kernel walks the page tables for it, and changes little: between two looks it is taken from the line
 * between them. Where it could not be looked at, PSS stands in, less anonymous memory; where that may not be read
 * either, all pages of files that it has.
 *
 * `allUp`: when the last of them listened. Until then those that were quicker have the parts of those to come, which is nothing that they
 * hold at most: their part is that of the first look at all.
 */
function courseOf(server: BoxServer, run: BoxRun, allUp: number): Course {
  const { recording, files } = server
  if (recording === null) return { points: [], endsAt: Number.POSITIVE_INFINITY }
  const { samples } = recording
  const endsAt = goneAt(server, run) ?? Number.POSITIVE_INFINITY
  const proportional = samples.flatMap(({ t, proportional, anonymous }) =>
    proportional === null ? [] : [{ t, bytes: Math.max(0, proportional - anonymous) }]
  )
  const every = files.length > 0 ? files : proportional
  const ofAll = every.filter(({ t }) => t >= allUp)
  // One that ended before: as it was.
  const looks = ofAll.length > 0 ? ofAll : every
  let next = 0
  const points = samples.map(({ t, anonymous, file }) => {
    while (next < looks.length && (looks[next]?.t ?? 0) < t) next++
    return { t, bytes: anonymous + (looks.length === 0 ? file : between(looks[next - 1], looks[next], t)) }
  })
  return { points, endsAt }
}

/**
 * When a server ended, ms since the run began; null: it did not. One that stood behind something that lives on (a
 * shell) was waited for to be told how, in vain: it was gone at the first look at all that did not find it.
 */
export function goneAt({ recording }: BoxServer, { machine }: BoxRun): number | null {
  const end = recording?.events.findLast((event) => event.event === 'end')
  if (end?.event !== 'end' || end.reason !== 'exited') return null
  if (end.exitCode !== null || end.signal !== null) return end.t
  const last = recording?.samples.at(-1)?.t ?? end.t
  return Math.min(end.t, machine.find(({ t }) => t > last)?.t ?? end.t)
}

interface Look {
  t: number
  bytes: number
}

/** At `t`, on the line from one look to the next; where there is only one of them, as it is there. */
function between(before: Look | undefined, after: Look | undefined, t: number): number {
  if (before === undefined || after === undefined) return (before ?? after)?.bytes ?? 0
  return before.bytes + ((after.bytes - before.bytes) * (t - before.t)) / (after.t - before.t)
}

/**
 * The servers of a run at each moment at which any of them was sampled. Between its samples a server holds what it last
 * held.
 */
export function stackOf(run: BoxRun): Moment[] {
  const allUp = Math.max(0, ...run.servers.map(({ recording }) => recording?.samples[0]?.t ?? 0))
  const courses = run.servers.map((server) => courseOf(server, run, allUp))
  const times = new Set(courses.flatMap(({ points, endsAt }) => [...points.map(({ t }) => t), endsAt]))
  const holds = courses.map(followed)
  return [...times]
    .filter((t) => t < Number.POSITIVE_INFINITY)
    .sort((a, b) => a - b)
    .map((t) => {
      const parts = holds.map((at) => at(t))
      return { t, parts, sum: parts.reduce((sum, part) => sum + part, 0) }
    })
}

/** What is held at times that are asked for in their order. */
function followed({ points, endsAt }: Course): (t: number) => number {
  let next = 0
  return (t) => {
    while (next < points.length && (points[next]?.t ?? 0) <= t) next++
    return t >= endsAt ? 0 : Math.round(points[next - 1]?.bytes ?? 0)
  }
}

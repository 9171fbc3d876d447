/** The verdict: a pure function of a recording and its control. */
import type { Recording, Sample } from '../record/recording.js'
import { duration, integer } from '../units/format.js'
import type { ClientProtocol } from './clients.js'
import { medianOf } from './median.js'
import { type NoteCode, NoteList, type VerdictNote, withNotes } from './notes.js'
import { firstAt, holdOf, pulsesOf, type RecordedPulse, samplesBetween, steadyHoldOf, sumOf } from './phases.js'
import { NEAR, NEAR_BYTES, releaseTime } from './release-time.js'
import type { Spread } from './spread.js'
import { noteTroubles } from './troubles.js'
import { watched } from './watched.js'

/**
 * What a recording shows about a server. Sizes are in bytes, times in milliseconds. A figure that is not known is null,
 * and `notes` says why.
 */
export interface Verdict {
  /** Name of the server. */
  name: string
  /** Runtime as people write it: `Node 20.20.2`; null if it is not known. */
  runtime: string | null
  /** What the clients spoke: `http`, `ws` or `mqtt`. Only if it was more than bare TCP. */
  protocol?: ClientProtocol
  /** Connections that a big pulse held: the median over the big pulses, so that one failed pulse does not matter. */
  big: number
  /** Connections that a small pulse held: the median over the small pulses. */
  small: number
  /** Number of big pulses. */
  iterations: number
  /** Connections made over the whole run. */
  connects: number
  /** Connects that failed over the whole run. */
  failed: number
  /** Connections that the server closed first. */
  lost: number
  /** Anonymous memory before any pulse: the median of the last 500 ms. */
  rest: number | null
  /** Anonymous memory while the big pulses were open: the median. */
  hold: number | null
  /** Highest anonymous memory from the first pulse on. Without pulses: of the whole recording. */
  peak: number | null
  /** Anonymous memory at the end, the median of the last second. Only of a recording without pulses. */
  last?: number | null
  /** Change of anonymous memory, bytes per minute; 0 if it is steady. Only of a recording without pulses. */
  trend?: number | null
  /** Resident memory while the big pulses were open: the median. */
  resident: number | null
  /**
   * (hold - rest) / big, bytes per connection. Below zero if the server released more while it got its connections,
   * such as garbage of its start, than the connections take; people see `< 0`.
   */
  footprint: number | null
  /** Anonymous memory while holding a small pulse after the big ones: the median. */
  kept: number | null
  /** Anonymous memory while holding a small pulse in the control: the median. */
  need: number | null
  /** kept / need. 1.00 is perfect. */
  retention: number | null
  /**
   * Release time: from the last big pulse's last close until anonymous memory is, and stays, back. Memory is back if it
   * is within 5 % (or 0.5 MB, the larger) of need, or no higher than the control was in the same phase, holding or not.
   * (Closing 1,000 sockets of `net` takes 2 MB more than holding them, even in a process that never saw a spike.)
   *
   * 0 if memory was back at the first sample after the close. `Infinity` if it never went back.
   *
   * A single high sample does not count if the five samples before it and the five after it are back, because a
   * collection in progress shows up in one sample. Two high samples close together count. The first sample after the
   * close always counts.
   */
  release: number | null
  /** Releases that the server reported; null if it reports nothing. */
  giveBacks: number | null
  /** Longest pause of a release, as the server reported it, ms. */
  longestPause: number | null
  /** CPU time of the server per 1,000 connections made and closed, ms. */
  cpuPerThousand: number | null
  /** Connects per second in the big pulses, by a client on the same machine: the median over the pulses. */
  connectsPerSecond: number | null
  /** Why figures are missing or not to be trusted, one sentence each: the texts of `notes`. */
  missing: string[]
  /** Why figures are missing or not to be trusted, with a code for programs. */
  notes: VerdictNote[]
  /**
   * Number of runs, if the server was measured several times. Then each figure is the median over the runs that know
   * it; `connects`, `failed` and `lost` are sums. Undefined for a single run.
   */
  runs?: number
  /** Lowest and highest value of each figure over the runs. Undefined for a single run. */
  spread?: Spread
}

/** Time before the first pulse that counts as "at rest", ms. */
const REST = 500
/** With fewer samples than this, a figure is noted as uncertain. */
const FEW = 3
/** Time after the last close of a pulse in which the server's CPU time still counts for its connections, ms. */
const SETTLE = 1000

const RUNTIMES: Record<string, string> = { node: 'Node', bun: 'Bun', deno: 'Deno', go: 'Go', java: 'Java' }

/**
 * Judges the recording of a server. Never throws: if a recording was cut off, the figures that it does not show are
 * null, and `notes` says why.
 *
 * @param main the recording of the server
 * @param control the recording of a fresh process of the same server that saw small pulses only; without it, need,
 *   retention and release time are null
 */
export function judge(main: Recording, control?: Recording): Verdict {
  const notes = new NoteList()
  const pulses = pulsesOf(main)
  const bigs = pulses.filter((pulse) => pulse.size === 'big')
  const smalls = pulses.filter((pulse) => pulse.size === 'small')

  noteTroubles(main, pulses, 'main', notes)
  // What a crash leaves unknown needs no sentence of its own.
  const hasEnded = notes.has('server-ended')
  if (pulses.length === 0) {
    notes.add('no-pulse', NO_PULSE)
  } else if (bigs.length === 0) {
    const text = 'There was no big pulse, so figures such as footprint, retention and release time are not known.'
    notes.add('no-big-pulse', text)
  }

  const rest = restOf(main, pulses, notes)
  const big = connectionsOf(bigs)
  const small = connectionsOf(smalls)
  const hold = bigs.length === 0 ? null : holdMedian(main, bigs, HOLD, notes)
  // Without a pulse, a control would say nothing.
  const need = control === undefined && pulses.length === 0 ? null : needOf(control, bigs.length > 0, notes)
  const kept = bigs.length === 0 ? null : keptOf(main, pulses, notes)
  if (kept !== null && control && need !== null) noteOtherSize(small, control, notes)
  if (need === 0) notes.add('need-zero', 'Need is 0 bytes, so retention is not known.')
  const footprint = footprintOf(hold, rest, big, notes)
  const [giveBacks, longestPause] = releasesOf(main, notes)

  return {
    name: main.header.name,
    ...(main.header.protocol !== undefined && { protocol: main.header.protocol }),
    runtime: runtimeName(main),
    big,
    small,
    iterations: bigs.length,
    connects: sumOf(pulses, 'connected') + sumOf(pulses, 'replaced'),
    failed: sumOf(pulses, 'failed'),
    lost: sumOf(pulses, 'lost'),
    rest,
    hold,
    peak: peakOf(main, pulses, notes),
    ...(pulses.length === 0 && watched(main.samples)),
    resident: medianOf(bigs.flatMap((pulse) => holdOf(main, pulse)).map((sample) => sample.resident)),
    footprint,
    kept,
    need,
    retention: kept === null || need === null || need === 0 ? null : kept / need,
    release: need === null || !control || bigs.length === 0 ? null : releaseTime(main, pulses, need, control, notes),
    giveBacks,
    longestPause,
    cpuPerThousand: cpuPerThousand(main, pulses, notes),
    connectsPerSecond: connectsPerSecond(bigs, notes),
    ...withNotes(hasEnded ? notes.notes.filter(({ code }) => !EXPLAINED_BY_END.has(code)) : notes.notes)
  }
}

const NO_PULSE =
  'The recording contains no pulse, so only peak, end and trend are known: ebb bench sends pulses and records the rest.'

/** Notes that have the same cause as `server-ended`. */
const EXPLAINED_BY_END: ReadonlySet<string> = new Set<NoteCode>([
  'connects-failed',
  'connections-lost',
  'no-pulse',
  'no-big-pulse',
  'no-small-pulse',
  'no-control',
  'rest-unknown',
  'hold-unsampled',
  'hold-few-samples',
  'kept-unsampled',
  'kept-few-samples',
  'footprint-unknown',
  'peak-unknown',
  'release-time-unknown',
  'releases-unknown',
  'pauses-unknown',
  'cpu-unknown',
  'connect-rate-unknown'
])

/** Returns the median number of connections over the pulses that were opened. */
function connectionsOf(pulses: readonly RecordedPulse[]): number {
  const opened = pulses.filter(({ connectedAt }) => connectedAt !== null)
  return medianOf(opened.map(({ connected }) => connected)) ?? 0
}

/** Returns the memory at rest, or null with a note. */
function restOf(main: Recording, pulses: readonly RecordedPulse[], notes: NoteList): number | null {
  const first = pulses[0]
  if (!first) return null
  const near = samplesBetween(main.samples, first.startsAt - REST, first.startsAt)
  const before = near.length > 0 ? near : samplesBetween(main.samples, 0, first.startsAt)
  if (before.length === 0) {
    notes.add('rest-unknown', 'No sample was taken before the first pulse, so the memory at rest is not known.')
  }
  return anonymousOf(before)
}

/** A figure that is the median over hold phases, and the codes of its notes. */
interface HoldFigure {
  pulses: string
  unsampled: NoteCode
  fewSamples: NoteCode
  samplesOf: (recording: Recording, pulse: RecordedPulse) => Sample[]
}

const HOLD: HoldFigure = {
  pulses: 'the big pulses',
  unsampled: 'hold-unsampled',
  fewSamples: 'hold-few-samples',
  samplesOf: holdOf
}
const KEPT: HoldFigure = {
  pulses: 'the small pulses after the big ones',
  unsampled: 'kept-unsampled',
  fewSamples: 'kept-few-samples',
  samplesOf: steadyHoldOf
}
const NEED: HoldFigure = {
  pulses: "the control's small pulses",
  unsampled: 'need-unsampled',
  fewSamples: 'need-few-samples',
  samplesOf: steadyHoldOf
}

/** Returns the median of anonymous memory over the hold phases. */
function holdMedian(
  recording: Recording,
  pulses: readonly RecordedPulse[],
  figure: HoldFigure,
  notes: NoteList
): number | null {
  const samples = pulses.flatMap((pulse) => figure.samplesOf(recording, pulse))
  if (samples.length === 0) {
    notes.add(figure.unsampled, `No sample was taken while ${figure.pulses} were held${tooShort(recording, pulses)}.`)
  } else if (samples.length < FEW) {
    const count = samples.length === 1 ? '1 sample was' : `${samples.length} samples were`
    notes.add(figure.fewSamples, `Only ${count} taken while ${figure.pulses} were held.`)
  }
  return anonymousOf(samples)
}

/**
 * Returns the reason for missing samples, if the pulses were held for less time than there is between two samples: then
 * seconds were probably given where milliseconds are expected.
 */
function tooShort({ header }: Recording, pulses: readonly RecordedPulse[]): string {
  const held = pulses.flatMap(({ connectedAt, closingAt }) =>
    connectedAt === null || closingAt === null ? [] : [closingAt - connectedAt]
  )
  const longest = Math.max(...held)
  if (held.length === 0 || longest >= header.every.status) return ''
  return (
    `: they were held for ${duration(longest)}, and samples are ${duration(header.every.status)} apart; ` +
    'hold them longer (linger is in milliseconds in functions)'
  )
}

/** Returns the memory that is kept after the last big pulse, or null with a note. */
function keptOf(main: Recording, pulses: readonly RecordedPulse[], notes: NoteList): number | null {
  const after = pulses.slice(pulses.findLastIndex((pulse) => pulse.size === 'big') + 1)
  if (after.length === 0) {
    notes.add('no-small-pulse', 'There was no small pulse after the big ones, so kept is not known.')
    return null
  }
  return holdMedian(main, after, KEPT, notes)
}

/**
 * Returns the need that the control shows, or null with a note.
 *
 * @param hasBig whether the main recording has big pulses, so that retention and release time depend on need
 */
function needOf(control: Recording | undefined, hasBig: boolean, notes: NoteList): number | null {
  if (!control) {
    const figures = hasBig ? 'need, retention and release time are' : 'need is'
    notes.add('no-control', `There is no control, so ${figures} not known.`)
    return null
  }
  const pulses = pulsesOf(control)
  noteTroubles(control, pulses, 'control', notes)
  if (pulses.some((pulse) => pulse.size === 'big')) {
    notes.add('control-with-big-pulse', 'The control saw big pulses, so it does not show what a fresh process needs.')
    return null
  }
  if (pulses.length === 0) {
    notes.add('control-without-small-pulse', 'The control contains no small pulse, so need is not known.')
    return null
  }
  return holdMedian(control, pulses, NEED, notes)
}

/** Adds a note if the small pulses of the control had another size, so that kept and need do not compare. */
function noteOtherSize(small: number, control: Recording, notes: NoteList): void {
  const other = connectionsOf(pulsesOf(control))
  if (Math.abs(other - small) <= small * NEAR) return
  const counts = `The control held ${integer(other)} connections and the small pulses held ${integer(small)}`
  notes.add('control-of-another-size', `${counts}, so kept and need do not compare.`)
}

/** Notes on a footprint below zero. */
const GARBAGE =
  'The footprint is below zero: at rest, the server held garbage of its start, which it released before or during the ' +
  'big pulses, and the connections take less than that.'
const LITTLE =
  'The footprint is below zero: the connections take so little that hold and rest differ by noise (less than 0.5 MB).'

function footprintOf(hold: number | null, rest: number | null, big: number, notes: NoteList): number | null {
  if (hold === null || rest === null) return null
  if (hold < rest) notes.add('footprint-negative', rest - hold <= NEAR_BYTES ? LITTLE : GARBAGE)
  if (big === 0) {
    notes.add('footprint-unknown', 'No connection of a big pulse succeeded, so the footprint is not known.')
    return null
  }
  return (hold - rest) / big
}

function peakOf(main: Recording, pulses: readonly RecordedPulse[], notes: NoteList): number | null {
  let peak: number | null = null
  for (let index = firstAt(main.samples, pulses[0]?.startsAt ?? 0); index < main.samples.length; index++) {
    peak = Math.max(peak ?? 0, (main.samples[index] as Sample).anonymous)
  }
  if (peak === null) {
    const text = pulses.length === 0 ? 'No sample was taken.' : 'No sample was taken after the first pulse began.'
    notes.add('peak-unknown', text)
  }
  return peak
}

/** Returns how many releases the server reported, and the longest of their pauses, ms. */
function releasesOf(main: Recording, notes: NoteList): [number | null, number | null] {
  let count = 0
  let longest: number | null = null
  let reports = false
  for (const event of main.events) {
    if (event.event === 'cycle') reports = true
    if (event.event !== 'release') continue
    count++
    if (event.pauseMs !== null) longest = Math.max(longest ?? 0, event.pauseMs)
  }
  if (count > 0) {
    if (longest === null) notes.add('pauses-unknown', 'The server reports its releases but not their pauses.')
    return [count, longest]
  }
  if (reports) return [0, 0]
  const text =
    main.header.output === false
      ? 'ebb did not start the server and cannot see what it prints, so its releases are not known.'
      : 'The server prints no Cycle or Release lines, so its releases are not known.'
  notes.add('releases-unknown', text)
  return [null, null]
}

function cpuPerThousand(main: Recording, pulses: readonly RecordedPulse[], notes: NoteList): number | null {
  const first = pulses[0]
  if (!first) return null
  const unknown = (why: string): null => {
    notes.add('cpu-unknown', `${why}, so the CPU time per 1,000 connections is not known.`)
    return null
  }
  const lastIndex = pulses.findLastIndex((pulse) => pulse.closedAt !== null)
  const closedAt = pulses[lastIndex]?.closedAt ?? null
  if (closedAt === null) return unknown('No pulse was closed')
  const measured = pulses.slice(0, lastIndex + 1)
  const connects = sumOf(measured, 'connected') + sumOf(measured, 'replaced')
  if (connects === 0) return unknown('No connect succeeded')
  const before = main.samples[firstAt(main.samples, first.startsAt) - 1]
  if (!before) return unknown('No sample was taken before the first pulse')
  // The connections of a pulse that was cut off are not counted, so its CPU time must not be counted either.
  const until = Math.min(closedAt + SETTLE, pulses[lastIndex + 1]?.startsAt ?? Infinity)
  const from = firstAt(main.samples, closedAt)
  const after = main.samples[Math.max(from, firstAt(main.samples, until) - 1)]
  if (!after) return unknown('No sample was taken after the last pulse')
  return ((after.cpu - before.cpu) / connects) * 1000
}

function connectsPerSecond(bigs: readonly RecordedPulse[], notes: NoteList): number | null {
  const rates = bigs.flatMap(({ startsAt, connectedAt, connected }) =>
    connectedAt === null || connectedAt === startsAt ? [] : [(connected / (connectedAt - startsAt)) * 1000]
  )
  if (rates.length === 0 && bigs.length > 0) {
    notes.add('connect-rate-unknown', 'No big pulse was connected, so connects per second are not known.')
  }
  return medianOf(rates)
}

function runtimeName({ header }: Recording): string | null {
  if (!header.runtime) return null
  const name = Object.hasOwn(RUNTIMES, header.runtime.name) ? RUNTIMES[header.runtime.name] : header.runtime.name
  return header.runtime.version ? `${name} ${header.runtime.version}` : `${name}`
}

function anonymousOf(samples: readonly Sample[]): number | null {
  return medianOf(samples.map((sample) => sample.anonymous))
}

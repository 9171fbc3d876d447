/** The verdict on a box: a pure function of its recording. */
import type { BoxRecording, BoxRun, BoxServer } from '../../record/box/recording.js'
import { ANSWERS_MISSING, LINES_LEFT_OUT, ONE_OF_SEVERAL } from '../../record/notes.js'
import type { Recording, RecordingEvent } from '../../record/recording.js'
import { integer, megabytes } from '../../units/format.js'
import { oneLine } from '../../units/text.js'
import { broken, type Limits } from '../limits.js'
import { medianOf } from '../median.js'
import { NoteList, type VerdictNote, withNotes } from '../notes.js'
import { roundTo } from '../rounding.js'
import type { Range } from '../spread.js'
import { connectionsLost, howEnded } from '../troubles.js'
import { judge, type Verdict } from '../verdict.js'
import { type VerdictJson, verdictToJson } from '../verdict-json.js'
import { goneAt, type Moment, stackOf } from './stack.js'

/**
 * What the recording of a run shows about a box. Sizes are in bytes, times in milliseconds. A figure that is not known
 * is null, and `notes` says why.
 */
export interface BoxVerdict {
  /** Name of the variant. */
  name: string
  /** Limit of the memory cgroup that the servers ran in; null without one. */
  limit: number | null
  /** In the order of the file. */
  servers: ServerVerdict[]
  /** Memory of all servers together before the first connection: the median of the last 500 ms. */
  rest: number | null
  /** The most that all servers together held at one moment: what the box needs. */
  peakOfSums: number | null
  /** When the peak of sums was, from the beginning of the run. */
  peakAt: number | null
  /** The most that each server ever held, added up: what the box needs if servers release nothing. */
  sumOfPeaks: number | null
  /** Multiplexing gain, sumOfPeaks / peakOfSums. 1 if all servers peak at once, or keep what they took. */
  gain: number | null
  /** How many such servers fit into the memory that was asked about; null if the recording asks about none. */
  fit: BoxFit | null
  /**
   * The most that the memory cgroup was charged, which includes socket memory in the kernel and file pages; null
   * without a cgroup.
   */
  charged: number | null
  /** Connects that failed, connections lost, answers that did not arrive, and servers that did not run to the end. */
  failures: number
  /** Why figures are missing or not to be trusted, one sentence each: the texts of `notes`. */
  missing: string[]
  /** Why figures are missing or not to be trusted, with a code for programs. */
  notes: VerdictNote[]
  /** Number of runs, if the box ran several times. Then figures are medians; `failures` is the sum. */
  runs?: number
  /** Lowest and highest value of each figure over the runs. Undefined for a single run. */
  spread?: BoxSpread
}

/** Figures of a box that have a spread over several runs. */
export const BOX_SPREAD_FIGURES = ['rest', 'peakOfSums', 'sumOfPeaks', 'gain', 'charged'] as const

/** Ranges of the figures of a box. A figure that no run knows has none. */
export type BoxSpread = Partial<Record<(typeof BOX_SPREAD_FIGURES)[number], Range>>

/** How many whole servers like these a memory holds. */
export interface BoxFit {
  /** Bytes. */
  memory: number
  /** Number of servers that fit if their peaks are spread as in the recording: memory / (peak of sums per server). */
  servers: number
  /** How many more than the servers of the box fit; 0 if the box itself does not fit. */
  more: number
  /** Number of servers that fit if all peak at once, or release nothing: memory / (sum of peaks per server). */
  unspread: number
}

/**
 * How a server ended:
 * - `ran`: it ran to the end of the recording.
 * - `killed`: the kernel killed it for memory.
 * - `ended`: it ended by itself, or by a signal.
 * - `failed`: it never listened.
 */
export type ServerState = 'ran' | 'killed' | 'ended' | 'failed'

/** What the recording of a run shows about one server. */
export interface ServerVerdict {
  /** Name of the server. */
  name: string
  /** Whether it ran with `ebb/auto`. */
  governed: boolean
  state: ServerState
  /** How it ended, in a sentence; null if it ran to the end. */
  fate: string | null
  /** The most that it held, bytes: its own memory and its part of the file pages that the servers share. */
  peak: number | null
  /** The verdict of `judge()` on its own recording; null if it never listened. */
  verdict: Verdict | null
}

/** A verdict on a box in JSON; see `VerdictJson`. */
export type BoxVerdictJson = Omit<BoxVerdict, 'servers'> & {
  servers: (Omit<ServerVerdict, 'verdict'> & { verdict: VerdictJson | null })[]
}

/** Limits that {@link brokenBoxes} checks for a box. */
export interface BoxLimits {
  /** Highest peak of sums, bytes. */
  maxPeak?: number
}

/** Time before the first connection that counts as "at rest", ms. */
const REST = 500

/**
 * Judges each main run of a box. A control run serves the main run of the same variant that follows it.
 *
 * @param memory bytes for which to compute how many such servers fit; default: what the recording asks
 */
export function judgeBox(box: BoxRecording, memory = box.header.memory): BoxVerdict[] {
  return box.runs.flatMap((run, index) => {
    if (run.role === 'control') return []
    const control = box.runs
      .slice(0, index)
      .findLast((other) => other.role === 'control' && other.variant === run.variant)
    const notes = new NoteList()
    if (!run.complete && box.complete) {
      notes.add('run-stopped', 'The run was stopped before its end, so the figures cover only what was recorded.')
    } else if (!run.complete) {
      notes.add('recording-cut-off', 'The recording was cut off, so the figures cover only what was recorded.')
    }
    return [judgeRun(run, control, memory, notes)]
  })
}

/** Returns one sentence for each limit that boxes and their servers break. */
export function brokenBoxes(boxes: readonly BoxVerdict[], limits: Limits & BoxLimits): string[] {
  return boxes.flatMap((box) => {
    const verdicts = box.servers.flatMap(({ verdict }) => verdict ?? [])
    const prefix = boxes.length > 1 ? `${box.name}: ` : ''
    return [
      ...brokenBox(box, limits),
      ...verdicts.flatMap((verdict) => broken(verdict, limits)).map((text) => prefix + text)
    ]
  })
}

function brokenBox({ name, peakOfSums }: BoxVerdict, { maxPeak }: BoxLimits): string[] {
  if (maxPeak === undefined) return []
  const limit = megabytes(maxPeak)
  if (peakOfSums === null) {
    return [`${name}: the peak of sums is not known, so it cannot be compared with the limit of ${limit}.`]
  }
  return peakOfSums <= maxPeak ? [] : [`${name}: the peak of sums is ${megabytes(peakOfSums)}, the limit is ${limit}.`]
}

/** Returns the verdict as it goes into JSON. */
export function boxVerdictToJson(verdict: BoxVerdict): BoxVerdictJson {
  const servers = verdict.servers.map((server) => ({
    ...server,
    peak: whole(server.peak),
    verdict: server.verdict === null ? null : verdictToJson(server.verdict)
  }))
  return {
    ...verdict,
    rest: whole(verdict.rest),
    peakOfSums: whole(verdict.peakOfSums),
    sumOfPeaks: whole(verdict.sumOfPeaks),
    gain: verdict.gain === null ? null : roundTo(verdict.gain, 4),
    ...(verdict.spread !== undefined && { spread: roundedSpread(verdict.spread) }),
    servers
  }
}

function roundedSpread(spread: BoxSpread): BoxSpread {
  return Object.fromEntries(
    Object.entries(spread).map(([figure, { low, high }]) => {
      const digits = figure === 'gain' ? 4 : 0
      return [figure, { low: roundTo(low, digits), high: roundTo(high, digits) }]
    })
  )
}

function whole(bytes: number | null): number | null {
  return bytes === null ? null : Math.round(bytes)
}

/** What a run needs, without the verdicts on its servers. */
export type BoxSums = Pick<BoxVerdict, 'name' | 'limit' | 'peakOfSums' | 'sumOfPeaks' | 'gain'> & {
  servers: Pick<ServerVerdict, 'name' | 'state' | 'peak'>[]
}

/** Returns the sums of a run. A live page asks for them once a second. */
export function sumUp(run: BoxRun): BoxSums {
  const stack = stackOf(run)
  const servers = run.servers.map((server, i) => {
    const { name } = server
    return { name, state: fateOf(server, run).state, peak: peakOf(stack, i) }
  })
  return { name: run.variant, limit: run.limit, servers, ...sumsOf(stack, servers) }
}

/** Returns the most that a server held. */
function peakOf(stack: readonly Moment[], server: number): number | null {
  const peak = stack.reduce((most, { parts }) => Math.max(most, parts[server] ?? 0), 0)
  return peak === 0 ? null : peak
}

function sumsOf(stack: readonly Moment[], servers: readonly Pick<ServerVerdict, 'peak'>[]) {
  const highest = stack.reduce<Moment | null>(
    (most, moment) => (most === null || moment.sum > most.sum ? moment : most),
    null
  )
  const peakOfSums = highest?.sum ?? null
  const sumOfPeaks = highest === null ? null : servers.reduce((sum, { peak }) => sum + (peak ?? 0), 0)
  const gain = peakOfSums === null || sumOfPeaks === null || peakOfSums === 0 ? null : sumOfPeaks / peakOfSums
  return { peakOfSums, peakAt: highest?.t ?? null, sumOfPeaks, gain }
}

function judgeRun(run: BoxRun, control: BoxRun | undefined, memory: number | null, notes: NoteList): BoxVerdict {
  const stack = stackOf(run)
  const servers = run.servers.map((server, i) => ({ ...judgeServer(server, run, control), peak: peakOf(stack, i) }))
  const { peakOfSums, peakAt, sumOfPeaks, gain } = sumsOf(stack, servers)
  if (peakOfSums === null) notes.add('nothing-sampled', 'No server was ever sampled, so there is nothing to add up.')
  noteSharedPages(run, notes)
  // A server that was killed before it listened has no part in the sums.
  const listened = servers.filter(({ verdict }) => verdict !== null)
  const endedEarly = listened.filter(({ state }) => state !== 'ran').length
  if (memory !== null && peakOfSums !== null && endedEarly > 0) {
    const ended = `${endedEarly} of ${listened.length} listening servers ended early and held nothing from then on`
    notes.add('servers-ended', `${ended}, so such servers need more than this.`)
  }
  return {
    name: run.variant,
    limit: run.limit,
    servers,
    rest: atRest(run, stack),
    peakOfSums,
    peakAt,
    sumOfPeaks,
    gain,
    fit: fitInto(memory, listened.length, peakOfSums, sumOfPeaks),
    charged: run.machine.reduce<number | null>(
      (most, { group }) => (group === null ? most : Math.max(most ?? 0, group)),
      null
    ),
    failures: servers.reduce((sum, server, i) => sum + failuresOf(server, run.servers[i] as BoxServer), 0),
    ...withNotes(notes.notes)
  }
}

/** Adds a note if the shared file pages of a server could not be measured. */
function noteSharedPages({ servers }: BoxRun, notes: NoteList): void {
  const unknown = servers.filter(({ recording, files }) => recording !== null && files.length === 0)
  if (unknown.length === 0) return
  const names = unknown.map(({ name }) => name).join(', ')
  const text = `The file pages that other servers share with ${names} could not be read, so PSS is used instead.`
  notes.add('shared-pages-unknown', text)
}

/** Returns the number of failures of a server, as in {@link BoxVerdict.failures}. */
function failuresOf({ state, verdict }: ServerVerdict, { recording }: BoxServer): number {
  const unanswered = recording === null ? 0 : answersMissingIn(recording)
  return (state === 'ran' ? 0 : 1) + (verdict?.failed ?? 0) + (verdict?.lost ?? 0) + unanswered
}

/** Returns the notes of a recording that have a code. */
function notesOf({ events }: Recording, code: string): Extract<RecordingEvent, { event: 'note' }>[] {
  return events.filter((event) => event.event === 'note').filter((note) => note.code === code)
}

function answersMissingIn(recording: Recording): number {
  return notesOf(recording, ANSWERS_MISSING).reduce((sum, { answers = 0 }) => sum + answers, 0)
}

function judgeServer(server: BoxServer, run: BoxRun, control: BoxRun | undefined): ServerVerdict {
  const { name, governed, recording } = server
  const controlRecording = control?.servers.find((other) => other.name === server.control)?.recording ?? undefined
  const fate = fateOf(server, run)
  if (recording === null) return { name, governed, ...fate, peak: null, verdict: null }
  const verdict = server.levels.length > 0 ? judgeLevels({ ...server, recording }) : judge(recording, controlRecording)
  // The server's fate says how it ended.
  const notes = fate.fate === null ? verdict.notes : verdict.notes.filter(({ code }) => code !== 'server-ended')
  const all = [...notes, ...notesOfRecording(recording)]
  return { name, governed, ...fate, peak: null, verdict: { ...verdict, ...withNotes(all) } }
}

/** Returns the notes of a server's recording that belong under its figures. */
function notesOfRecording(recording: Recording): VerdictNote[] {
  const notes: VerdictNote[] = []
  if (notesOf(recording, LINES_LEFT_OUT).length > 0) {
    const text = 'It prints too many lines per second, so its output is recorded only in part.'
    notes.push({ code: 'output-incomplete', text })
  }
  for (const { text } of notesOf(recording, ONE_OF_SEVERAL)) notes.push({ code: ONE_OF_SEVERAL, text })
  const unanswered = answersMissingIn(recording)
  if (unanswered > 0) notes.push({ code: ANSWERS_MISSING, text: `${integer(unanswered)} answers did not arrive.` })
  return notes
}

function fateOf(server: BoxServer, run: BoxRun): Pick<ServerVerdict, 'state' | 'fate'> {
  const { recording, failure, oom } = server
  if (recording === null) {
    // Recordings of earlier versions quote several lines of the server.
    const text = oneLine(failure ?? 'It did not listen before the recording ended.')
    return oom
      ? { state: 'killed', fate: `The kernel killed it for memory before it listened: ${text}` }
      : { state: 'failed', fate: text }
  }
  const end = recording.events.findLast((event) => event.event === 'end')
  const gone = goneAt(server, run)
  if (end?.event !== 'end' || gone === null) return { state: 'ran', fate: null }
  const when = `after ${(gone / 1000).toFixed(1)} s`
  if (oom) return { state: 'killed', fate: `The kernel killed it for memory ${when}.` }
  return { state: 'ended', fate: `It ended ${howEnded(end)}${when}.` }
}

/** Notes of `judge()` that say nothing about a load without pulses. */
const PULSE_NOTES: ReadonlySet<string> = new Set(['no-pulse', 'no-control'])

/** Judges a server whose load has levels instead of pulses: its rest, its peak, and its connections. */
function judgeLevels({ recording, levels }: BoxServer & { recording: Recording }): Verdict {
  const verdict = judge(recording)
  const { samples } = recording
  const start = levels.find(({ connections }) => connections > 0)?.t ?? Number.POSITIVE_INFINITY
  const before = samples.filter(({ t }) => t >= start - REST && t < start)
  const after = samples.filter(({ t }) => t >= start)
  const sum = (key: 'connected' | 'failed' | 'lost'): number => levels.reduce((total, level) => total + level[key], 0)
  const [connects, failed, lost] = [sum('connected'), sum('failed'), sum('lost')]
  const notes = new NoteList()
  const text = 'The load has no pulses, so need, retention and release time are not known.'
  notes.add('load-without-pulses', text)
  if (failed > 0) {
    notes.add('connects-failed', `${integer(failed)} of ${integer(failed + connects)} connects failed.`)
  }
  if (lost > 0) notes.add('connections-lost', connectionsLost(lost))
  return {
    ...verdict,
    connects,
    failed,
    lost,
    rest: medianOf(before.map(({ anonymous }) => anonymous)),
    peak: after.length === 0 ? null : after.reduce((most, { anonymous }) => Math.max(most, anonymous), 0),
    ...withNotes([...verdict.notes.filter(({ code }) => !PULSE_NOTES.has(code)), ...notes.notes])
  }
}

/** Returns the memory of all servers together before the first of them got its first connection. */
function atRest(run: BoxRun, stack: readonly Moment[]): number | null {
  const starts = run.servers.flatMap(({ recording, levels }) => [
    ...(recording?.events.filter(({ event }) => event === 'pulse').map(({ t }) => t) ?? []),
    ...levels.filter(({ connections }) => connections > 0).map(({ t }) => t)
  ])
  const first = starts.reduce((least, t) => Math.min(least, t), Number.POSITIVE_INFINITY)
  return medianOf(stack.filter(({ t }) => t >= first - REST && t < first).map(({ sum }) => sum))
}

/** Returns how many servers fit into `memory`; null if it is not asked for or not known. */
export function fitInto(
  memory: number | null,
  servers: number,
  peak: number | null,
  peaks: number | null
): BoxFit | null {
  if (memory === null || servers === 0 || peak === null || peaks === null || peak === 0) return null
  const fit = Math.floor((memory * servers) / peak)
  return { memory, servers: fit, more: Math.max(0, fit - servers), unspread: Math.floor((memory * servers) / peaks) }
}

/** The verdict on a box: a pure function of its recording. Sizes in bytes, times in milliseconds. */
import {
  answersMissing,
  type BoxRecording,
  type BoxRun,
  type BoxServer,
  ONE_OF_SEVERAL
} from '../../record/box/recording.js'
import { linesLeftOut } from '../../record/follow.js'
import type { Recording } from '../../record/recording.js'
import { integer, megabytes } from '../../units/format.js'
import {
  broken,
  judge,
  type Limits,
  medianOf,
  NO_PULSE,
  type Verdict,
  type VerdictJson,
  verdictToJson
} from '../verdict.js'
import { goneAt, type Moment, stackOf } from './stack.js'

/** A run of a box, judged. A figure that could not be had is null, and `missing` says why. */
export interface BoxVerdict {
  /** The variant. */
  name: string
  /** Of the memory cgroup that it ran in, or null. */
  limit: number | null
  /** In the order of the file. */
  servers: ServerVerdict[]
  /** All servers together before the first connection: the median of the last half second. */
  rest: number | null
  /** The most that all servers together held at one moment: what the box needs. */
  peakOfSums: number | null
  /** When that was, ms since the run began. */
  peakAt: number | null
  /** The most that each server ever held, added up: what the box must have for servers that give nothing back. */
  sumOfPeaks: number | null
  /** sumOfPeaks / peakOfSums, the multiplexing gain: 1 when all peak at once, or keep what they took. */
  gain: number | null
  fit: Fit | null
  /** The most that the memory cgroup was charged, the sockets' memory in the kernel and pages of files with it; null without one. */
  charged: number | null
  /** Connects that failed, connections that were lost, answers that did not come, and servers that did not live to the end. */
  failures: number
  missing: string[]
}

/** How many such servers a memory holds, whole ones. */
interface Fit {
  memory: number
  /** With peaks that are spread as they were: each adds its part of the peak of sums. */
  servers: number
  /** The same, less those that the box has; 0: it does not hold even these. */
  more: number
  /** With nothing given back, or all peaks at once: each adds its part of the sum of peaks. */
  unspread: number
}

/**
 * What became of a server. `ran`: it lived to the end. `killed`: the kernel killed it for memory. `ended`: by itself, or by somebody's
 * signal. `failed`: it never listened.
 */
type State = 'ran' | 'killed' | 'ended' | 'failed'

export interface ServerVerdict {
  name: string
  governed: boolean
  state: State
  /** What became of it, in a sentence, where it did not run to the end. */
  fate: string | null
  /** The most that it held: its own memory, and its part of what the servers share. */
  peak: number | null
  /** Of its anonymous memory, as `ebb bench` has it; null: it never listened. */
  verdict: Verdict | null
}

/** As JSON has it. */
export type BoxVerdictJson = Omit<BoxVerdict, 'servers'> & {
  servers: (Omit<ServerVerdict, 'verdict'> & { verdict: VerdictJson | null })[]
}

/** Limits for {@link brokenBox}. */
export interface BoxLimits {
  /** Of the peak of sums, bytes. */
  maxPeak?: number
}

const FLOODED = 'It floods its log, which is left out for the most part.'
const NO_CONTROL = 'There is no control'
const SERVER_ENDED = 'The server ended'

/** How far before the first connection memory counts as "at rest", ms. */
const REST = 500

/** Judges each run of a box but the controls. `memory`: in place of the one that the recording asks about. */
export function judgeBox(box: BoxRecording, memory = box.header.memory): BoxVerdict[] {
  const cut = box.complete ? [] : ['The recording was cut off: figures cover what is there.']
  return box.runs.flatMap((run, index) => {
    if (run.role === 'control') return []
    const control = box.runs
      .slice(0, index)
      .findLast((other) => other.role === 'control' && other.variant === run.variant)
    const stopped =
      run.complete || !box.complete ? [] : ['The run was stopped before its end: figures cover what is there.']
    return [judgeRun(run, control, memory, run.complete ? stopped : [...cut, ...stopped])]
  })
}

/** The limits that boxes and their servers break, one sentence each. */
export function brokenBoxes(boxes: readonly BoxVerdict[], limits: Limits & BoxLimits): string[] {
  return boxes.flatMap((box) => {
    const verdicts = box.servers.flatMap(({ verdict }) => verdict ?? [])
    const several = boxes.length > 1 ? `${box.name}: ` : ''
    return [
      ...brokenBox(box, limits),
      ...verdicts.flatMap((verdict) => broken(verdict, limits)).map((text) => several + text)
    ]
  })
}

function brokenBox({ name, peakOfSums }: BoxVerdict, { maxPeak }: BoxLimits): string[] {
  if (maxPeak === undefined) return []
  const limit = megabytes(maxPeak)
  if (peakOfSums === null) return [`${name}: the peak of sums is not known, so it cannot be at most ${limit}.`]
  return peakOfSums <= maxPeak ? [] : [`${name}: the peak of sums is ${megabytes(peakOfSums)}, the limit is ${limit}.`]
}

export function boxVerdictToJson(verdict: BoxVerdict): BoxVerdictJson {
  const servers = verdict.servers.map((server) => ({
    ...server,
    verdict: server.verdict === null ? null : verdictToJson(server.verdict)
  }))
  return { ...verdict, servers }
}

function judgeRun(run: BoxRun, control: BoxRun | undefined, memory: number | null, missing: string[]): BoxVerdict {
  const servers = run.servers.map((server) => judgeServer(server, run, control))
  const stack = stackOf(run)
  servers.forEach((server, i) => {
    const peak = stack.reduce((most, { parts }) => Math.max(most, parts[i] ?? 0), 0)
    server.peak = peak === 0 ? null : peak
  })
  const highest = stack.reduce<(typeof stack)[number] | null>(
    (most, moment) => (most === null || moment.sum > most.sum ? moment : most),
    null
  )
  const peakOfSums = highest?.sum ?? null
  const sumOfPeaks = highest === null ? null : servers.reduce((sum, { peak }) => sum + (peak ?? 0), 0)
  if (highest === null) missing.push('No server was ever sampled: there is nothing to add up.')
  const approximate = run.servers.filter(({ recording, files }) => recording !== null && files.length === 0)
  if (approximate.length > 0) {
    missing.push(
      `What ${approximate.map(({ name }) => name).join(', ')} shares with the others could not be read: PSS stands in for it.`
    )
  }
  // One that was killed before it listened has no part in the sums either.
  const began = servers.filter(({ verdict }) => verdict !== null)
  const short = began.filter(({ state }) => state !== 'ran').length
  if (memory !== null && highest !== null && short > 0) {
    missing.push(
      `${short} of ${began.length} servers that began did not live to the end, and held nothing from then on: to hold such servers takes more.`
    )
  }
  return {
    name: run.variant,
    limit: run.limit,
    servers,
    rest: atRest(run, stack),
    peakOfSums,
    peakAt: highest?.t ?? null,
    sumOfPeaks,
    gain: peakOfSums === null || sumOfPeaks === null || peakOfSums === 0 ? null : sumOfPeaks / peakOfSums,
    fit: fitInto(memory, began.length, peakOfSums, sumOfPeaks),
    charged: run.machine.reduce<number | null>(
      (most, { group }) => (group === null ? most : Math.max(most ?? 0, group)),
      null
    ),
    failures: servers.reduce((sum, server, i) => sum + failuresOf(server, run.servers[i] as BoxServer), 0),
    missing
  }
}

function failuresOf({ state, verdict }: ServerVerdict, { recording }: BoxServer): number {
  const unanswered = recording === null ? 0 : unansweredOf(recording)
  return (state === 'ran' ? 0 : 1) + (verdict?.failed ?? 0) + (verdict?.lost ?? 0) + unanswered
}

function unansweredOf({ events }: Recording): number {
  return events.reduce((sum, event) => (event.event === 'note' ? sum + answersMissing(event.text) : sum), 0)
}

function judgeServer(server: BoxServer, run: BoxRun, control: BoxRun | undefined): ServerVerdict {
  const { name, governed, recording } = server
  const own = control?.servers.find((other) => other.name === server.control)?.recording ?? undefined
  const fate = fateOf(server, run)
  if (recording === null) return { name, governed, ...fate, peak: null, verdict: null }
  const verdict = server.levels.length > 0 ? judgeLevels({ ...server, recording }) : judge(recording, own)
  // How it ended is said by its fate.
  if (fate.fate !== null) verdict.missing = verdict.missing.filter((sentence) => !sentence.startsWith(SERVER_ENDED))
  if (recording.events.some((event) => event.event === 'note' && linesLeftOut(event.text) > 0))
    verdict.missing.push(FLOODED)
  for (const event of recording.events) {
    if (event.event === 'note' && event.text.startsWith(ONE_OF_SEVERAL)) verdict.missing.push(event.text)
  }
  const unanswered = unansweredOf(recording)
  if (unanswered > 0) verdict.missing.push(`${integer(unanswered)} answers did not come.`)
  return { name, governed, ...fate, peak: null, verdict }
}

function fateOf(server: BoxServer, run: BoxRun): Pick<ServerVerdict, 'state' | 'fate'> {
  const { recording, failure, oom } = server
  if (recording === null) {
    const text = failure ?? 'It never listened: the recording ends before.'
    return oom
      ? { state: 'killed', fate: `Killed for memory before it listened: ${text}` }
      : { state: 'failed', fate: text }
  }
  const end = recording.events.findLast((event) => event.event === 'end')
  const gone = goneAt(server, run)
  if (end?.event !== 'end' || gone === null) return { state: 'ran', fate: null }
  const when = `after ${(gone / 1000).toFixed(1)} s`
  if (oom) return { state: 'killed', fate: `The kernel killed it for memory ${when}.` }
  const how = end.signal ? ` by ${end.signal}` : end.exitCode === null ? '' : ` with exit code ${end.exitCode}`
  return { state: 'ended', fate: `It ended${how} ${when}.` }
}

/** For a load that is not one of pulses: what can be told of it. */
function judgeLevels({ recording, levels }: BoxServer & { recording: Recording }): Verdict {
  const verdict = judge(recording)
  const { samples } = recording
  const start = levels.find(({ connections }) => connections > 0)?.t ?? Number.POSITIVE_INFINITY
  const before = samples.filter(({ t }) => t >= start - REST && t < start)
  const after = samples.filter(({ t }) => t >= start)
  const sum = (key: 'connected' | 'failed' | 'lost'): number => levels.reduce((total, level) => total + level[key], 0)
  const [connects, failed, lost] = [sum('connected'), sum('failed'), sum('lost')]
  const missing = verdict.missing.filter((sentence) => sentence !== NO_PULSE && !sentence.startsWith(NO_CONTROL))
  missing.push('Its load is not one of pulses: need, retention and release time are not known.')
  if (failed > 0) missing.push(`${integer(failed)} of ${integer(failed + connects)} connects failed.`)
  if (lost > 0)
    missing.push(`The server closed ${integer(lost)} connection${lost === 1 ? '' : 's'} that should have been held.`)
  return {
    ...verdict,
    connects,
    failed,
    lost,
    rest: medianOf(before.map(({ anonymous }) => anonymous)),
    peak: after.length === 0 ? null : after.reduce((most, { anonymous }) => Math.max(most, anonymous), 0),
    missing
  }
}

/** All together, before the first server got its first connection. */
function atRest(run: BoxRun, stack: readonly Moment[]): number | null {
  const starts = run.servers.flatMap(({ recording, levels }) => [
    ...(recording?.events.filter(({ event }) => event === 'pulse').map(({ t }) => t) ?? []),
    ...levels.filter(({ connections }) => connections > 0).map(({ t }) => t)
  ])
  const first = starts.reduce((least, t) => Math.min(least, t), Number.POSITIVE_INFINITY)
  return medianOf(stack.filter(({ t }) => t >= first - REST && t < first).map(({ sum }) => sum))
}

function fitInto(memory: number | null, servers: number, peak: number | null, peaks: number | null): Fit | null {
  if (memory === null || servers === 0 || peak === null || peaks === null || peak === 0) return null
  const fit = Math.floor((memory * servers) / peak)
  return { memory, servers: fit, more: Math.max(0, fit - servers), unspread: Math.floor((memory * servers) / peaks) }
}

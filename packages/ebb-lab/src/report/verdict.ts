/** The verdict: a pure function of a recording and its control. Sizes in bytes, times in milliseconds. */
import type { Recording, Sample } from '../record/recording.js'
import { integer } from '../units/format.js'
import { firstAt, holdOf, pulsesOf, type RecordedPulse, samplesBetween } from './phases.js'

/** A figure that could not be had is null, and `missing` says why in one sentence. */
export interface Verdict {
  name: string
  /** The runtime as a person writes it: `Node 20.20.2`, or null. */
  runtime: string | null
  /**
   * The connections that a big (small) pulse really held: the median over the pulses, so that one pulse that half
   * failed does not speak for all. `iterations`: how many big pulses there were.
   */
  big: number
  small: number
  iterations: number
  /** Connections made over the whole run. */
  connects: number
  /** Connects that failed, and connections that the server closed first. */
  failed: number
  lost: number
  /** Anonymous memory before any pulse; while the big pulses were open; the highest seen. */
  rest: number | null
  hold: number | null
  peak: number | null
  /** Resident memory while the big pulses were open. */
  resident: number | null
  /** (hold - rest) / big, bytes per connection. Negative where the server held less under load than at rest. */
  footprint: number | null
  /** Anonymous memory while holding a small pulse after the big ones, and in the control. */
  kept: number | null
  need: number | null
  /** kept / need. */
  retention: number | null
  /**
   * From the last big pulse's last close until anonymous memory is, and stays, within 5 % (or 0.5 MB) of need, or as low as the control
   * was at some time of the same phase: while it held, or while it did not. (Closing a thousand sockets of `net` takes 2 MB more than
   * holding them, in a process that never saw a spike as well.)
   * 0: it was there at the first sample after the close and stayed. `Infinity`: never.
   *
   * "Stays" is strict with one exception: a lone sample above, with none above among the five before it and the five
   * after it (or as many as there are), does not count. A sample is one instant, and a collection in progress shows up
   * in just one; two that are close together are memory that is held. The first sample after the close is never alone.
   */
  release: number | null
  /** Give-backs that the server told of; null where it tells nothing. */
  giveBacks: number | null
  longestPause: number | null
  /** CPU time of the server per thousand connections made and closed, ms. */
  cpuPerThousand: number | null
  /** How fast the big pulses were connected, by a client on the same machine: the median over the pulses. */
  connectsPerSecond: number | null
  /** Why figures are missing or not to be trusted, one sentence each. */
  missing: string[]
}

/** A verdict in JSON, which knows no `Infinity`: memory that never went back has the release time `"never"`. */
export type VerdictJson = Omit<Verdict, 'release'> & { release: number | 'never' | null }

/** Limits for {@link broken}. */
export interface Limits {
  maxRetention?: number
  /** Bytes per connection. */
  maxFootprint?: number
  /** Milliseconds. */
  maxRelease?: number
}

/** @internal */
export const NO_PULSE = 'The recording holds no pulse: no phase of it can be told from another.'

/** How far before the first pulse memory counts as "at rest", ms. */
const REST = 500
/** Fewer samples than this are a figure, but not one to lean on. */
const FEW = 3
/** The share of a hold phase in which a server may still be busy with its accepts, and the samples that must remain without it. */
const BUSY = 0.2
const REMAIN = 5
/** Memory has gone back when it is within 5 % of need or 0.5 MB, the larger. */
const NEAR = 0.05
const NEAR_BYTES = 0.5e6
/** A sample above need is alone when so many on either side of it are not. */
const ALONE = 5
/** A recording must go on for so long after the last big pulse before it can tell whether memory went back, ms. */
const SETTLE = 1000
/** A server has so long after its last close to finish the work of it, ms. */
const AFTERWORK = 1000

const RUNTIMES: Record<string, string> = { node: 'Node', bun: 'Bun', deno: 'Deno', go: 'Go', java: 'Java' }

/**
 * Judges a recording. `control`: a recording of a fresh process of the same server that saw small pulses only;
 * without it, need, retention and release time are not known. Never throws for a recording that was cut off: what
 * cannot be told is null, and `missing` says why.
 */
export function judge(main: Recording, control?: Recording): Verdict {
  const missing: string[] = []
  const say = (sentence: string): void => {
    if (!missing.includes(sentence)) missing.push(sentence)
  }
  const pulses = pulsesOf(main)
  const bigs = pulses.filter((pulse) => pulse.size === 'big')
  const smalls = pulses.filter((pulse) => pulse.size === 'small')

  tellTroubles(main, pulses, '', say)
  if (pulses.length === 0) say(NO_PULSE)
  else if (bigs.length === 0)
    say('There was no big pulse: footprint, retention, release time and the like are not known.')

  const rest = atRest(main, pulses, say)
  const big = medianOf(bigs.filter(wasOpen).map((pulse) => pulse.connected)) ?? 0
  const hold = bigs.length === 0 ? null : held(main, bigs, 'the big pulses', say)
  const need = needed(control, bigs.length > 0, say)
  const kept = bigs.length === 0 ? null : keptAfter(main, pulses, say)
  const small = medianOf(smalls.filter(wasOpen).map((pulse) => pulse.connected)) ?? 0
  if (kept !== null && control && need !== null) compareSmall(small, control, say)
  if (need === 0) say('Need is 0 bytes: there is no retention to speak of.')
  if (hold !== null && rest !== null && hold < rest) {
    say('The footprint is below zero: the server held more at rest, from its start, than under the crowd.')
  }
  if (hold !== null && rest !== null && big === 0) say('No connection of a big pulse succeeded: there is no footprint.')
  const [giveBacks, longestPause] = toldGiveBacks(main, say)

  return {
    name: main.header.name,
    runtime: runtimeName(main),
    big,
    small,
    iterations: bigs.length,
    connects: sum(pulses, 'connected'),
    failed: sum(pulses, 'failed'),
    lost: sum(pulses, 'lost'),
    rest,
    hold,
    peak: peakOf(main, pulses, say),
    resident: medianOf(bigs.flatMap((pulse) => holdOf(main, pulse)).map((sample) => sample.resident)),
    footprint: hold === null || rest === null || big === 0 ? null : (hold - rest) / big,
    kept,
    need,
    retention: kept === null || need === null || need === 0 ? null : kept / need,
    release:
      need === null || bigs.length === 0 ? null : releaseTime(main, pulses, linesOf(need, control as Recording), say),
    giveBacks,
    longestPause,
    cpuPerThousand: cpuPerThousand(main, pulses, say),
    connectsPerSecond: connectsPerSecond(bigs, say),
    missing
  }
}

/** The limits that the verdict breaks, one sentence each. A figure that is missing breaks its limit. */
export function broken(verdict: Verdict, limits: Limits): string[] {
  const sentences: string[] = []
  const check = (figure: string, value: number | null, limit: number | undefined, unit: Unit): void => {
    if (limit === undefined) return
    if (value === null) {
      sentences.push(
        `${verdict.name}: ${figure} is not known, so it cannot be at most ${numberIn(unit, limit, unit.digits)}.`
      )
      // Written this way round, a limit that is not a number is broken, not passed.
    } else if (!(value <= limit)) {
      const what = value === Infinity ? 'memory never went back' : `${figure} is ${apart(unit, value, limit)}`
      sentences.push(`${verdict.name}: ${what}, the limit is ${numberIn(unit, limit, unit.digits)}.`)
    }
  }
  check('retention', verdict.retention, limits.maxRetention, { scale: 1, digits: 2, name: '' })
  check('footprint', verdict.footprint, limits.maxFootprint, { scale: 1, digits: 0, name: ' B per connection' })
  check('release time', verdict.release, limits.maxRelease, { scale: 1000, digits: 2, name: ' s' })
  return sentences
}

/** The verdict as it goes into JSON. */
export function verdictToJson(verdict: Verdict): VerdictJson {
  return { ...verdict, release: verdict.release === Infinity ? 'never' : verdict.release }
}

/** What makes every figure of a recording less sure: it was cut, its server ended, connections failed. */
function tellTroubles(
  recording: Recording,
  pulses: RecordedPulse[],
  whose: '' | 'control',
  say: (sentence: string) => void
): void {
  const the = whose === '' ? 'The recording' : "The control's recording"
  const server = whose === '' ? 'The server' : "The control's server"
  const within = whose === '' ? '' : ' in the control'
  if (!recording.complete) {
    const last = Math.max(recording.samples.at(-1)?.t ?? 0, recording.events.at(-1)?.t ?? 0)
    say(`${the} was cut off after ${(last / 1000).toFixed(1)} s: figures cover what is there.`)
  }
  const end = recording.events.findLast((event) => event.event === 'end')
  if (end?.event === 'end' && end.reason === 'exited') {
    const open = pulses.some((pulse) => pulse.closedAt === null)
    const crashed = (end.exitCode ?? 0) !== 0 || (end.signal !== null && !['SIGTERM', 'SIGINT'].includes(end.signal))
    const how = end.signal ? ` by ${end.signal}` : end.exitCode === null ? '' : ` with exit code ${end.exitCode}`
    if (open || crashed) {
      say(`${server} ended${how} after ${(end.t / 1000).toFixed(1)} s${open ? ', in the middle of a pulse' : ''}.`)
    }
  }
  const failed = sum(pulses, 'failed')
  if (failed > 0) {
    say(`${integer(failed)} of ${integer(failed + sum(pulses, 'connected'))} connects failed${within}.`)
  }
  const lost = sum(pulses, 'lost')
  if (lost > 0) say(`${server} closed ${integer(lost)} connection${lost === 1 ? '' : 's'} that should have been held.`)
}

function atRest(main: Recording, pulses: RecordedPulse[], say: (sentence: string) => void): number | null {
  const first = pulses[0]
  if (!first) return null
  const near = samplesBetween(main.samples, first.startsAt - REST, first.startsAt)
  const before = near.length > 0 ? near : samplesBetween(main.samples, 0, first.startsAt)
  if (before.length === 0) say('No sample was taken before the first pulse: the memory at rest is not known.')
  return anonymousOf(before)
}

/** The median of anonymous memory over all samples of the hold phases. */
function held(
  recording: Recording,
  pulses: RecordedPulse[],
  what: string,
  say: (sentence: string) => void,
  choose: (samples: Sample[]) => Sample[] = (samples) => samples
): number | null {
  const samples = pulses.flatMap((pulse) => choose(holdOf(recording, pulse)))
  if (samples.length === 0) say(`No sample was taken while ${what} were held.`)
  else if (samples.length < FEW)
    say(
      `Only ${samples.length === 1 ? '1 sample was' : `${samples.length} samples were`} taken while ${what} were held.`
    )
  return anonymousOf(samples)
}

function keptAfter(main: Recording, pulses: RecordedPulse[], say: (sentence: string) => void): number | null {
  const after = pulses.slice(pulses.findLastIndex((pulse) => pulse.size === 'big') + 1)
  if (after.length === 0) {
    say('There was no small pulse after the big ones: what is kept is not known.')
    return null
  }
  return held(main, after, 'the small pulses after the big ones', say, calm)
}

function needed(control: Recording | undefined, judged: boolean, say: (sentence: string) => void): number | null {
  if (!control) {
    if (judged) say('There is no control: need, retention and release time are not known.')
    else say('There is no control: need is not known.')
    return null
  }
  const pulses = pulsesOf(control)
  tellTroubles(control, pulses, 'control', say)
  if (pulses.some((pulse) => pulse.size === 'big')) {
    say('The control saw big pulses: it cannot tell what a fresh process needs.')
    return null
  }
  if (pulses.length === 0) {
    say('The control holds no small pulse: need is not known.')
    return null
  }
  return held(control, pulses, "the control's small pulses", say, calm)
}

/** A hold phase without its busy beginning, if enough of it remains. */
function calm(samples: Sample[]): Sample[] {
  const rest = samples.slice(Math.ceil(samples.length * BUSY))
  return rest.length >= REMAIN ? rest : samples
}

function compareSmall(small: number, control: Recording, say: (sentence: string) => void): void {
  const other =
    medianOf(
      pulsesOf(control)
        .filter(wasOpen)
        .map((pulse) => pulse.connected)
    ) ?? 0
  if (Math.abs(other - small) > small * NEAR) {
    say(`The control held ${integer(other)} connections, the small pulses ${integer(small)}: kept and need are unlike.`)
  }
}

function peakOf(main: Recording, pulses: RecordedPulse[], say: (sentence: string) => void): number | null {
  const first = pulses[0]
  if (!first) return null
  let peak: number | null = null
  for (let index = firstAt(main.samples, first.startsAt); index < main.samples.length; index++) {
    peak = Math.max(peak ?? 0, (main.samples[index] as Sample).anonymous)
  }
  if (peak === null) say('No sample was taken after the first pulse began.')
  return peak
}

/** Memory has gone back when it is no higher, bytes: in a hold phase without its busy beginning, and at any other time. */
interface Lines {
  holding: number
  otherwise: number
}

function linesOf(need: number, control: Recording): Lines {
  const near = need + Math.max(need * NEAR, NEAR_BYTES)
  const pulses = pulsesOf(control)
  const isHeld = heldIn(control, pulses)
  const lines = { holding: near, otherwise: near }
  for (const sample of samplesBetween(control.samples, pulses[0]?.startsAt ?? 0, Infinity)) {
    const phase = isHeld(sample) ? 'holding' : 'otherwise'
    lines[phase] = Math.max(lines[phase], sample.anonymous)
  }
  return lines
}

/** Whether a sample was taken while a pulse was held, its busy beginning left out. */
function heldIn(recording: Recording, pulses: RecordedPulse[]): (sample: Sample) => boolean {
  const samples = new Set(pulses.flatMap((pulse) => calm(holdOf(recording, pulse))))
  return (sample) => samples.has(sample)
}

function releaseTime(
  main: Recording,
  pulses: RecordedPulse[],
  { holding, otherwise }: Lines,
  say: (sentence: string) => void
): number | null {
  const closedAt = pulses.findLast((pulse) => pulse.size === 'big')?.closedAt ?? null
  if (closedAt === null) {
    say('The last big pulse was not closed: the release time is not known.')
    return null
  }
  const after = main.samples.slice(firstAt(main.samples, closedAt))
  if ((after.at(-1)?.t ?? 0) - closedAt < SETTLE) {
    say('The recording ends within a second of the last big pulse: the release time is not known.')
    return null
  }
  const isHeld = heldIn(main, pulses)
  const isAbove = (index: number): boolean => {
    const sample = after[index]
    return sample !== undefined && sample.anonymous > (isHeld(sample) ? holding : otherwise)
  }
  const hasCompany = (index: number): boolean => {
    for (let distance = 1; distance <= ALONE; distance++) {
      if (isAbove(index - distance) || isAbove(index + distance)) return true
    }
    return false
  }
  // Back from the end to the last sample that is above and not alone.
  let index = after.length - 1
  while (index >= 0) {
    if (isAbove(index) && (index === 0 || hasCompany(index))) break
    index--
  }
  if (index < 0) return 0
  const back = after[index + 1]
  return back === undefined ? Infinity : back.t - closedAt
}

function toldGiveBacks(main: Recording, say: (sentence: string) => void): [number | null, number | null] {
  let count = 0
  let longest: number | null = null
  let tells = false
  for (const event of main.events) {
    if (event.event === 'cycle') tells = true
    if (event.event !== 'release') continue
    count++
    if (event.pauseMs !== null) longest = Math.max(longest ?? 0, event.pauseMs)
  }
  if (count > 0) {
    if (longest === null) say('The server tells of its give-backs but not of their pauses.')
    return [count, longest]
  }
  if (tells) return [0, 0]
  say('The server prints no Cycle or Release lines: its give-backs are not known.')
  return [null, null]
}

function cpuPerThousand(main: Recording, pulses: RecordedPulse[], say: (sentence: string) => void): number | null {
  const first = pulses[0]
  if (!first) return null
  const unknown = (why: string): null => {
    say(`${why}: the CPU time per thousand connections is not known.`)
    return null
  }
  const lastIndex = pulses.findLastIndex((pulse) => pulse.closedAt !== null)
  const closedAt = pulses[lastIndex]?.closedAt ?? null
  if (closedAt === null) return unknown('No pulse was closed')
  const connects = sum(pulses.slice(0, lastIndex + 1), 'connected')
  if (connects === 0) return unknown('No connect succeeded')
  const before = main.samples[firstAt(main.samples, first.startsAt) - 1]
  if (!before) return unknown('No sample was taken before the first pulse')
  // A pulse that was cut off after the last whole one is not counted, so its work must not be either.
  const until = Math.min(closedAt + AFTERWORK, pulses[lastIndex + 1]?.startsAt ?? Infinity)
  const from = firstAt(main.samples, closedAt)
  const after = main.samples[Math.max(from, firstAt(main.samples, until) - 1)]
  if (!after) return unknown('No sample was taken after the last pulse')
  return ((after.cpu - before.cpu) / connects) * 1000
}

function connectsPerSecond(bigs: RecordedPulse[], say: (sentence: string) => void): number | null {
  const rates = bigs.flatMap(({ startsAt, connectedAt, connected }) =>
    connectedAt === null || connectedAt === startsAt ? [] : [(connected / (connectedAt - startsAt)) * 1000]
  )
  if (rates.length === 0 && bigs.length > 0) say('No big pulse was connected: connects per second are not known.')
  return medianOf(rates)
}

function runtimeName({ header }: Recording): string | null {
  if (!header.runtime) return null
  const name = Object.hasOwn(RUNTIMES, header.runtime.name) ? RUNTIMES[header.runtime.name] : header.runtime.name
  return header.runtime.version ? `${name} ${header.runtime.version}` : `${name}`
}

function wasOpen(pulse: RecordedPulse): boolean {
  return pulse.connectedAt !== null
}

function sum(pulses: RecordedPulse[], key: 'connected' | 'failed' | 'lost'): number {
  return pulses.reduce((total, pulse) => total + pulse[key], 0)
}

function anonymousOf(samples: Sample[]): number | null {
  return medianOf(samples.map((sample) => sample.anonymous))
}

/** @internal */
export function medianOf(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length >>> 1
  const upper = sorted[middle] as number
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2
}

interface Unit {
  /** How many of the figure's own unit make one of the unit shown. */
  scale: number
  digits: number
  name: string
}

function numberIn(unit: Unit, value: number, digits: number): string {
  return `${(value / unit.scale).toFixed(digits)}${unit.name}`
}

/** The value with as many digits as tell it from the limit: not "1.10, the limit is 1.10". */
function apart(unit: Unit, value: number, limit: number): string {
  let { digits } = unit
  while (digits < 12 && (value / unit.scale).toFixed(digits) === (limit / unit.scale).toFixed(digits)) digits++
  return numberIn(unit, value, digits)
}

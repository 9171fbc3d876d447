/** Traffic lights: which figures of a verdict are good, fair or poor, and why. */
import { bytes, duration, integer, ratio } from '../units/format.js'
import type { ClientProtocol } from './clients.js'
import { NEAR_BYTES } from './release-time.js'
import type { Verdict } from './verdict.js'

/** How good a figure is, beside the servers that ebb is compared with. */
export type Light = 'good' | 'fair' | 'poor'

/** The rating of a figure. */
export interface Rating {
  light: Light
  /** One sentence: what the figure was compared with. */
  reason: string
}

/** A figure that has a rating. The other figures depend on the machine, or on what the program does. */
export type RatedFigure = 'retention' | 'release' | 'footprint' | 'longestPause' | 'failed' | 'lost'

/** Ratings of the figures. A figure that is not known, or for which there is nothing to compare with, has none. */
export type Ratings = Partial<Record<RatedFigure, Rating>>

/** The highest value that is good, and the highest that is fair. */
export interface Threshold {
  good: number
  fair: number
}

/**
 * Thresholds, and where they come from. `docs/reference/verdict.md` has them as a table.
 */
export const THRESHOLDS = {
  /** kept / need. In bench/RESULTS.md, servers that release are at 0.90 to 1.14, and those that do not from 1.94 on. */
  retention: { good: 1.1, fair: 1.5 },
  /** Milliseconds. ebb releases within a second of a spike's end. Later is fair, and never is poor. */
  release: { good: 1000, fair: Number.MAX_VALUE },
  /** Bytes per connection, by what the clients speak. */
  footprint: {
    /** In bench/RESULTS.md, C, Bun and Tokio take up to 754; an object or a goroutine takes 3,500 to 6,200 */
    tcp: { good: 1000, fair: 8000 },
    /** In docs/performance.md, parked `ws` and Bun take 785 to 1,591; `ws` 3,724 to 7,304; socket.io from 11,807 on. */
    ws: { good: 1600, fair: 8000 },
    /** aedes over `ws`: 10,700 with its WebSockets parked; 13,048 to 21,853 without. */
    mqtt: { good: 11_000, fair: 22_000 }
  },
  /** Milliseconds. `maxPause` of the governor is 50 by default. People notice a pause from about 100 on (RAIL). */
  longestPause: { good: 50, fair: 100 }
} as const satisfies Record<string, Threshold | Record<string, Threshold>>

/** A word and a sign for each light, so that nobody depends on its colour. */
export const SIGNS: Record<Light, string> = { good: '✓', fair: '~', poor: '✗' }

/** The lights, the worst first. */
export const LIGHTS: readonly Light[] = ['poor', 'fair', 'good']

/** Rates the figures of a verdict. A pure function of it. */
export function rate(verdict: Verdict): Ratings {
  const ratings = {
    retention: retentionOf(verdict),
    release: releaseOf(verdict),
    footprint: footprintOf(verdict),
    longestPause: pauseOf(verdict),
    failed:
      verdict.failed > 0 ? poor('Connects failed, so the figures are about fewer connections than planned.') : null,
    lost: verdict.lost > 0 ? poor('The server closed connections that the clients still held.') : null
  }
  return Object.fromEntries(Object.entries(ratings).filter(([, rating]) => rating !== null))
}

/** Returns the light of a figure, or null if it has no rating. */
export function lightOf(verdict: Verdict, figure: RatedFigure): Light | null {
  return rate(verdict)[figure]?.light ?? null
}

/** Returns the light of a value by its thresholds. */
function lightFor(value: number, { good, fair }: Threshold): Light {
  return value <= good ? 'good' : value <= fair ? 'fair' : 'poor'
}

function poor(reason: string): Rating {
  return { light: 'poor', reason }
}

function retentionOf({ retention, kept, need }: Verdict): Rating | null {
  if (retention === null || kept === null || need === null) return null
  const { good, fair } = THRESHOLDS.retention
  const light = kept - need <= NEAR_BYTES ? 'good' : lightFor(retention, THRESHOLDS.retention)
  const reasons: Record<Light, string> = {
    good: `At most ${ratio(good)}, or 0.5 MB above need: the spike's memory was released.`,
    fair: `From ${ratio(good)} to ${ratio(fair)}: a part of the spike's memory was kept.`,
    poor: `Above ${ratio(fair)}: most of the spike's memory was kept, as by servers that do not release it.`
  }
  return { light, reason: reasons[light] }
}

function releaseOf(verdict: Verdict): Rating | null {
  const { release } = verdict
  if (release === null) return null
  const { good } = THRESHOLDS.release
  if (release <= good) return { light: 'good', reason: `Memory was back within ${duration(good)} of the spike's end.` }
  if (release !== Infinity) {
    return { light: 'fair', reason: `Memory was back, but later than ${duration(good)} after the spike's end.` }
  }
  if (retentionOf(verdict)?.light === 'good') {
    return { light: 'fair', reason: 'Memory fell close to need, but did not stay within 5 % (or 0.5 MB) of it.' }
  }
  return poor('Memory was not back when the recording ended.')
}

function footprintOf({ footprint, protocol }: Verdict): Rating | null {
  const thresholds = footprint === null ? undefined : thresholdsFor(protocol)
  if (footprint === null || thresholds === undefined) return null
  const { threshold, peers } = thresholds
  const light = lightFor(footprint, threshold)
  const reasons: Record<Light, string> = {
    good: `At most ${bytes(threshold.good)}, as ${peers.good}.`,
    fair: `From ${bytes(threshold.good)} to ${bytes(threshold.fair)}, as ${peers.fair}.`,
    poor: `Above ${bytes(threshold.fair)}, as ${peers.poor}.`
  }
  const below = 'Below 0: a connection takes less than can be measured.'
  return { light, reason: footprint < 0 ? below : reasons[light] }
}

/** Thresholds of a footprint, and servers that are like that. */
interface FootprintThreshold {
  threshold: Threshold
  peers: Record<Light, string>
}

const TCP: FootprintThreshold = {
  threshold: THRESHOLDS.footprint.tcp,
  peers: {
    good: 'servers that keep no object for a connection',
    fair: 'servers with an object or a goroutine for each connection',
    poor: 'servers with buffers or a thread for each connection'
  }
}
const WEBSOCKET: FootprintThreshold = {
  threshold: THRESHOLDS.footprint.ws,
  peers: {
    good: 'parked WebSockets',
    fair: 'the package ws',
    poor: 'WebSockets with compression contexts, buffers or sessions of their own'
  }
}
const MQTT: FootprintThreshold = {
  threshold: THRESHOLDS.footprint.mqtt,
  peers: {
    good: 'a broker on parked WebSockets',
    fair: 'the broker aedes over the package ws',
    poor: 'brokers with more state for each session'
  }
}

/** Returns the thresholds for what clients speak; undefined for HTTP, for which no peers were measured. */
function thresholdsFor(protocol: ClientProtocol): FootprintThreshold | undefined {
  if (protocol === undefined) return TCP
  return { ws: WEBSOCKET, mqtt: MQTT, http: undefined }[protocol]
}

function pauseOf({ longestPause }: Verdict): Rating | null {
  if (longestPause === null || longestPause === 0) return null
  const { good, fair } = THRESHOLDS.longestPause
  const light = lightFor(longestPause, THRESHOLDS.longestPause)
  const reasons: Record<Light, string> = {
    good: `At most ${integer(good)} ms, the governor's default limit.`,
    fair: `From ${integer(good)} to ${integer(fair)} ms: above the governor's default limit.`,
    poor: `Above ${integer(fair)} ms, which people notice.`
  }
  return { light, reason: reasons[light] }
}

/** What a report calls the rated figures. */
const LABELS: Record<RatedFigure, string> = {
  retention: 'retention',
  release: 'release time',
  footprint: 'footprint',
  longestPause: 'longest pause',
  failed: 'failed connects',
  lost: 'lost connections'
}

/** Why figures of some servers have a light. */
export interface Reason {
  light: Light
  /** What a report calls the figure. */
  label: string
  reason: string
  /** Names of the servers. */
  names: string[]
}

/**
 * Returns why figures are fair or poor, the poor ones first. Servers with the same reason share one.
 *
 * @param servers verdicts; null for a server without one
 */
export function reasonsFor(servers: readonly { name: string; verdict: Verdict | null }[]): Reason[] {
  const reasons = new Map<string, Reason>()
  for (const { name, verdict } of servers) {
    for (const [figure, { light, reason }] of Object.entries(verdict === null ? {} : rate(verdict))) {
      if (light === 'good') continue
      const label = LABELS[figure as RatedFigure]
      const key = JSON.stringify([light, label, reason])
      const one = reasons.get(key) ?? { light, label, reason, names: [] }
      if (!one.names.includes(name)) one.names.push(name)
      reasons.set(key, one)
    }
  }
  return [...reasons.values()].sort((a, b) => LIGHTS.indexOf(a.light) - LIGHTS.indexOf(b.light))
}

/** Servers that a reason names. */
const MOST_NAMED = 4

/** Returns what a reason is about: `retention of net, go`. */
export function subjectOf({ label, names }: Reason): string {
  const [named, more] = [names.slice(0, MOST_NAMED), names.length - MOST_NAMED]
  return `${label} of ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

/** Returns a figure with the sign of its light before it. */
export function withSign(text: string, light: Light | null | undefined): string {
  return light === null || light === undefined ? text : `${SIGNS[light]} ${text}`
}

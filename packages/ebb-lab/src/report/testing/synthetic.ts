/** Makes recordings of servers that look like real ones, for tests. */
import type { Header, Recording, RecordingEvent, Sample } from '../../record/recording.js'

/** Options of {@link synthetic}. */
export interface SyntheticOptions {
  name?: string
  role?: 'main' | 'control'
  runtime?: Header['runtime']
  command?: string[]
  big?: number
  iterations?: number
  small?: number
  pulses?: number
  /** Milliseconds for which a pulse holds its connections. */
  linger?: number
  /** Milliseconds between two pulses. */
  separation?: number
  /** Anonymous memory without connections, bytes. */
  rest?: number
  /** Anonymous memory of a connection, bytes. */
  perConnection?: number
  /** Share of the largest pulse's memory that the server never releases, 0 to 1. */
  keeps?: number
  /** Milliseconds from the last close of a pulse to the release of memory. */
  releasesAfter?: number
  /** Resident memory besides anonymous memory, bytes. */
  file?: number
  /** CPU time for a connection made and closed, ms. */
  cpuPerConnection?: number
  /** Whether the server prints Cycle lines. */
  cycles?: boolean
}

const DEFAULTS = {
  name: 'ebb serve',
  role: 'main',
  runtime: { name: 'node', version: '20.20.2' },
  command: ['node', 'server.js'],
  big: 10_000,
  iterations: 3,
  small: 1_000,
  pulses: 4,
  linger: 4000,
  separation: 3000,
  rest: 8.1e6,
  perConnection: 43,
  keeps: 0,
  releasesAfter: 400,
  file: 42e6,
  cpuPerConnection: 0.05,
  cycles: true
} satisfies SyntheticOptions

type Settings = Required<SyntheticOptions>

/** The load of a server over time. */
interface Load {
  events: RecordingEvent[]
  /** Number of open connections, linear between two points: `[ms, connections]`. */
  points: [number, number][]
  /** End of the recording, ms. */
  end: number
}

/**
 * Returns the recording of a server. It gets pulses, its memory follows them, and it prints a Cycle line at every 500
 * clients and a Release line after each big pulse. By default, a control has no big pulses.
 */
export function synthetic(options: SyntheticOptions = {}): Recording {
  const iterations = options.role === 'control' ? 0 : DEFAULTS.iterations
  const settings: Settings = { ...DEFAULTS, iterations, ...options }
  const { name, role, command, runtime } = settings
  const { events, points, end } = loadOf(settings)
  const samples = samplesOf(settings, points, end)
  for (const event of events) if (event.event === 'cycle') fillCycle(event, samples, settings)
  return {
    header: {
      type: 'header',
      format: 1,
      name,
      role,
      pid: 4242,
      command,
      runtime,
      startedAt: '2026-03-14T09:26:53.589Z',
      machine: { cpus: 2, memory: 8_341_712_896, arch: 'x64' },
      kernel: 'Linux 6.1.0-28-amd64',
      every: { status: 100, smaps: 1000 }
    },
    samples,
    events,
    complete: true,
    notes: []
  }
}

/** Returns the events of all pulses in the order of time, and the number of connections over time. */
function loadOf(settings: Settings): Load {
  const { big, iterations, small, pulses, linger, separation, rest, perConnection, keeps, releasesAfter } = settings
  const sizes = [
    ...Array.from({ length: iterations }, () => ['big', big] as const),
    ...Array.from({ length: pulses }, () => ['small', small] as const)
  ]
  const events: RecordingEvent[] = []
  const points: [number, number][] = [[0, 0]]
  let t = 2000
  for (const [index, [size, n]] of sizes.entries()) {
    // Milliseconds in which the pulse opens or closes its connections.
    const ramp = n / 12
    events.push({ type: 'event', t, event: 'pulse', index, size, n })
    points.push([t, 0], [t + ramp, n])
    if (settings.cycles) events.push(...cycleLines(index, t, ramp, 0, n))
    t += ramp
    events.push({ type: 'event', t, event: 'connected', index, connected: n, failed: 0 })
    t += linger
    events.push({ type: 'event', t, event: 'closing', index })
    points.push([t, n], [t + ramp, 0])
    if (settings.cycles) events.push(...cycleLines(index + 1, t, ramp, n, 0))
    t += ramp
    events.push({ type: 'event', t, event: 'closed', index, lost: 0 })
    if (keeps < 1 && size === 'big' && settings.cycles) {
      const before = rest + n * perConnection + 9e6
      const [ms, pauseMs] = [18.2 + index, 9.1 + index]
      events.push({ type: 'event', t: t + releasesAfter, event: 'release', before, after: rest, ms, pauseMs })
    }
    t += separation
  }
  events.push({ type: 'event', t, event: 'end', reason: 'stopped', exitCode: null, signal: null })
  return { events: events.sort((a, b) => a.t - b.t), points, end: t }
}

/** Returns a sample for every 100 ms. */
function samplesOf(settings: Settings, points: [number, number][], end: number): Sample[] {
  const { name, role, rest, perConnection, keeps, releasesAfter, file, cpuPerConnection } = settings
  const noise = noiseOf(name + role)
  const samples: Sample[] = []
  let made = 0
  // The largest number of connections ever, and the largest since the last release.
  let most = 0
  let sinceRelease = 0
  let open = 0
  let closedAt = 0
  for (let t = 0; t <= end; t += 100) {
    const now = connectionsAt(points, t)
    made += Math.max(0, now - open)
    if (open > 0 && now === 0) closedAt = t
    open = now
    most = Math.max(most, now)
    if (now > 0) sinceRelease = Math.max(sinceRelease, now)
    else if (t >= closedAt + releasesAfter) sinceRelease = 0
    const inUse = Math.max(now, sinceRelease * (now > 0 ? 0 : 0.6), keeps * most)
    const anonymous = Math.round(rest + inUse * perConnection + (now > 0 ? 2e5 : 0) + noise() * 6e4)
    samples.push({
      type: 'sample',
      t,
      resident: anonymous + file,
      anonymous,
      file,
      private: t % 1000 === 0 ? anonymous + 2e6 : null,
      proportional: t % 1000 === 0 ? anonymous + 9e6 : null,
      threads: 11,
      descriptors: 20 + now,
      cpu: Math.round(60 + made * cpuPerConnection),
      kernel: now * 4096
    })
  }
  return samples
}

/** Sets the runtime's view of memory of a Cycle line, from the memory at that time. */
function fillCycle(
  event: Extract<RecordingEvent, { event: 'cycle' }>,
  samples: readonly Sample[],
  { rest, big, perConnection, keeps }: Settings
): void {
  const anonymous = samples[Math.min(samples.length - 1, Math.ceil(event.t / 100))]?.anonymous ?? rest
  event.inuse = Math.round(anonymous * 0.55)
  event.system = Math.round(Math.max(anonymous * 0.9, rest))
  event.released = Math.round(Math.max(0, rest + big * perConnection * 0.9 - event.system) * (1 - keeps))
}

/** Returns a recording as if its file had been cut off after `lines` lines, not counting the header. */
export function cutAfter(recording: Recording, lines: number): Recording {
  const all = [...recording.samples, ...recording.events].sort((a, b) => a.t - b.t).slice(0, lines)
  const samples = all.filter((line) => line.type === 'sample')
  const events = all.filter((line) => line.type === 'event')
  return { ...recording, samples, events, complete: events.some((event) => event.event === 'end'), notes: ['cut off'] }
}

/** Returns the recordings of a server that releases memory and of a server that does not, each with its control. */
export function sideBySide(): Recording[] {
  const plain = {
    name: 'node:net',
    rest: 7.2e6,
    perConnection: 5900,
    keeps: 0.85,
    cpuPerConnection: 0.1,
    command: ['node', 'net.js']
  }
  return [synthetic(), synthetic({ role: 'control' }), synthetic(plain), synthetic({ ...plain, role: 'control' })]
}

/** Returns the Cycle lines of a number of clients that goes from `start` to `end`, without the figures of memory. */
function cycleLines(cycle: number, from: number, ramp: number, start: number, end: number): RecordingEvent[] {
  const steps = Math.round(Math.abs(end - start) / 500)
  return Array.from({ length: steps }, (_, step) => ({
    type: 'event' as const,
    t: from + (ramp * (step + 1)) / steps,
    event: 'cycle' as const,
    cycle,
    clients: Math.round(start + ((end - start) * (step + 1)) / steps),
    system: 0,
    inuse: 0,
    released: 0,
    objects: null
  }))
}

/** Returns the number of open connections at a time, ms. */
function connectionsAt(points: [number, number][], t: number): number {
  const after = points.findIndex(([at]) => at > t)
  if (after < 0) return 0
  const [t0, n0] = points[after - 1] ?? [0, 0]
  const [t1, n1] = points[after] ?? [0, 0]
  return Math.round(n0 + ((n1 - n0) * (t - t0)) / (t1 - t0))
}

/** Returns a generator of noise between -1 and 1. The same seed gives the same noise. */
function noiseOf(seed: string): () => number {
  let state = [...seed].reduce((sum, character) => sum + (character.codePointAt(0) ?? 0), 7)
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return (state / 2_147_483_648) * 2 - 1
  }
}

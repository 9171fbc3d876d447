/** Recordings that look like real ones, without a server: for tests only. */
import type { Header, Recording, RecordingEvent, Sample } from '../../record/recording.js'

export interface SyntheticOptions {
  name?: string
  role?: 'main' | 'control'
  runtime?: Header['runtime']
  command?: string[]
  big?: number
  iterations?: number
  small?: number
  pulses?: number
  /** Milliseconds. */
  linger?: number
  separation?: number
  /** Bytes. */
  rest?: number
  perConnection?: number
  /** The share of what the pulses took that stays after they are closed, 0 to 1. */
  keeps?: number
  /** From the last close of a pulse until memory is given back, ms. */
  givesBackAfter?: number
  /** Resident beyond anonymous: the runtime's own files, bytes. */
  file?: number
  /** CPU milliseconds for a connection made and closed. */
  cpuPerConnection?: number
  /** Whether the server prints Cycle lines. */
  cycles?: boolean
}

/** A server's run: pulses, memory that follows them (or does not), Cycle lines every 500 clients, give-backs. */
export function synthetic(options: SyntheticOptions = {}): Recording {
  const {
    name = 'ebb serve',
    role = 'main',
    runtime = { name: 'node', version: '20.20.2' },
    command = ['node', 'server.js'],
    big = 10_000,
    iterations = role === 'control' ? 0 : 3,
    small = 1_000,
    pulses = 4,
    linger = 4000,
    separation = 3000,
    rest = 8.1e6,
    perConnection = 43,
    keeps = 0,
    givesBackAfter = 400,
    file = 42e6,
    cpuPerConnection = 0.05,
    cycles = true
  } = options

  const events: RecordingEvent[] = []
  const sizes = [
    ...Array.from({ length: iterations }, () => ['big', big] as const),
    ...Array.from({ length: pulses }, () => ['small', small] as const)
  ]
  const noise = noiseOf(name + role)
  // The load over time: [t, open connections], straight lines in between.
  const load: [number, number][] = [[0, 0]]
  let t = 2000
  sizes.forEach(([size, n], index) => {
    const ramp = n / 12
    events.push({ type: 'event', t, event: 'pulse', index, size, n })
    load.push([t, 0], [t + ramp, n])
    if (cycles) events.push(...cycleLines(index, t, ramp, 0, n))
    t += ramp
    events.push({ type: 'event', t, event: 'connected', index, connected: n, failed: 0 })
    t += linger
    events.push({ type: 'event', t, event: 'closing', index })
    load.push([t, n], [t + ramp, 0])
    if (cycles) events.push(...cycleLines(index + 1, t, ramp, n, 0))
    t += ramp
    events.push({ type: 'event', t, event: 'closed', index, lost: 0 })
    if (keeps < 1 && size === 'big' && cycles) {
      const before = rest + n * perConnection + 9e6
      events.push({
        type: 'event',
        t: t + givesBackAfter,
        event: 'release',
        before,
        after: rest,
        ms: 18.2 + index,
        pauseMs: 9.1 + index
      })
    }
    t += separation
  })
  events.push({ type: 'event', t, event: 'end', reason: 'stopped', exitCode: null, signal: null })
  events.sort((a, b) => a.t - b.t)

  const samples: Sample[] = []
  let made = 0
  // The largest crowd ever, and the largest since memory was last given back.
  let most = 0
  let taken = 0
  let open = 0
  let closedAt = 0
  for (let at = 0; at <= t; at += 100) {
    const now = loadAt(load, at)
    made += Math.max(0, now - open)
    if (open > 0 && now === 0) closedAt = at
    open = now
    most = Math.max(most, now)
    if (now > 0) taken = Math.max(taken, now)
    else if (at >= closedAt + givesBackAfter) taken = 0
    const inUse = Math.max(now, taken * (now > 0 ? 0 : 0.6), keeps * most)
    const anonymous = Math.round(rest + inUse * perConnection + (now > 0 ? 2e5 : 0) + noise() * 6e4)
    samples.push({
      type: 'sample',
      t: at,
      resident: anonymous + file,
      anonymous,
      file,
      private: at % 1000 === 0 ? anonymous + 2e6 : null,
      proportional: at % 1000 === 0 ? anonymous + 9e6 : null,
      threads: 11,
      descriptors: 20 + now,
      cpu: Math.round(60 + made * cpuPerConnection),
      kernel: now * 4096
    })
  }

  for (const event of events) {
    if (event.event !== 'cycle') continue
    const anonymous = samples[Math.min(samples.length - 1, Math.ceil(event.t / 100))]?.anonymous ?? rest
    event.inuse = Math.round(anonymous * 0.55)
    event.system = Math.round(Math.max(anonymous * 0.9, rest))
    event.released = Math.round(Math.max(0, rest + big * perConnection * 0.9 - event.system) * (1 - keeps))
  }

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

/** The recording as if its file had been cut after so many of its lines (the header not counted). */
export function cutAfter(recording: Recording, lines: number): Recording {
  const all = [...recording.samples, ...recording.events].sort((a, b) => a.t - b.t).slice(0, lines)
  const samples = all.filter((line) => line.type === 'sample')
  const events = all.filter((line) => line.type === 'event')
  return { ...recording, samples, events, complete: events.some((event) => event.event === 'end'), notes: ['cut off'] }
}

/** The experiment of the design: a server that gives back beside one that does not, and the control of each. */
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

function loadAt(load: [number, number][], t: number): number {
  const after = load.findIndex(([at]) => at > t)
  if (after < 0) return 0
  const [t0, n0] = load[after - 1] ?? [0, 0]
  const [t1, n1] = load[after] ?? [0, 0]
  return Math.round(n0 + ((n1 - n0) * (t - t0)) / (t1 - t0))
}

/** The same noise for the same seed, between -1 and 1. */
function noiseOf(seed: string): () => number {
  let state = [...seed].reduce((sum, character) => sum + (character.codePointAt(0) ?? 0), 7)
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return (state / 2_147_483_648) * 2 - 1
  }
}

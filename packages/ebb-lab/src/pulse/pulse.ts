/** `pulse()`: makes pulses at a server, and counts what came of them. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { invalidArgument, SocketAddress } from 'ebb/sys'
import { addCauses, type Causes, type ClientOptions, type Opened, total } from './client.js'
import { type Crowd, crowdOf, MOST_PROCESSES, processesFor } from './crowd.js'
import type { Quantiles } from './histogram.js'
import { pause } from './pause.js'
import { type Plan, type Pulse, planSchema, pulsesOf } from './plan.js'
import type { Coordinator, SwarmReport } from './swarm/coordinator.js'
import { SwarmCrowd } from './swarm/swarm-crowd.js'

/** The server: a host (a name is looked up once) and port, or a Unix socket. */
export type Server = { host: string; port: number } | { path: string }

/** What `pulse()` takes beside the plan. All optional; times are milliseconds. */
export interface PulseOptions {
  /** Connects per second over all processes. Default: as fast as the server answers. */
  rate?: number
  /** Processes that hold the connections. Default: as many as the descriptor limit asks for. */
  procs?: number
  /** Local addresses to connect from. Default: the kernel's choice, and more of 127.0.0.0/8 when the ports of one run out. */
  sources?: readonly string[]
  /** Most that a connect, or an awaited answer, may take. Default: 10 s. */
  timeout?: number
  /** How to close. Default: `fin`. */
  close?: 'fin' | 'rst'
  /** Sent once by the active connections. */
  payload?: string | Uint8Array
  /** The share of connections that are active, 0 to 1. Default: 1 with a payload. */
  active?: number
  /** Active connections wait until as many bytes, the same, have come back. Default: false. */
  expectEcho?: boolean
  /** Agents on several machines make the connections, from their own `sources` and in their own processes. */
  swarm?: Coordinator
  /** Ends the run: all connections are closed, and the report covers what was. */
  signal?: AbortSignal
  /** Told of each step. */
  onEvent?: (event: PulseEvent) => void
}

/** The steps of a pulse, and how it goes on while it connects. */
export type PulseEvent =
  | { event: 'pulse'; pulse: Pulse }
  | { event: 'progress'; pulse: Pulse; open: number; failed: number }
  | { event: 'connected'; pulse: Pulse; opened: Opened }
  | { event: 'closing'; pulse: Pulse }
  | { event: 'closed'; pulse: Pulse; lost: Causes }

/** What came of a run. Times are milliseconds. */
export interface PulseReport {
  pulses: number
  connected: number
  /** Connects that failed, by errno. */
  failed: Causes
  /** Connections that the server closed first, by what was seen: `FIN`, `ECONNRESET`. */
  lost: Causes
  /** Connects that `signal` left undone. */
  abandoned: number
  echoed: number
  unanswered: Causes
  latency: Quantiles
  /** The same whole: an HdrHistogram of microseconds (V2, compressed, base64). */
  histogram: string
  /** Over the time that was spent connecting; 0 when nothing was connected. */
  connectsPerSecond: number
  /** Why it ended before its plan did. `agents lost`: one, with `strict`, or all. */
  stopped: 'signal' | 'nobody answers' | 'agents lost' | null
  /** With a swarm: what its agents did, over all runs that it has made. */
  swarm?: SwarmReport
}

const PROGRESS = 500

/**
 * Makes the pulses of a plan.
 *
 * Ends by itself when not one connection of a pulse could be made: nobody answers.
 *
 * @param plan what is left out is as in {@link Plan}'s defaults
 * @throws TypeError, ZodError for what cannot be; the error of `dns.lookup` for a name that is not known
 */
export async function pulse(
  server: Server,
  plan: Partial<Plan> = {},
  options: PulseOptions = {}
): Promise<PulseReport> {
  const whole = planSchema.parse(plan)
  checkOptions(options)
  const { swarm, onEvent = () => {} } = options
  const signal = either(options.signal, swarm?.stopped)
  const most = Math.max(whole.iterations > 0 ? whole.big : 0, whole.pulses > 0 ? whole.small : 0)
  const crowd =
    swarm === undefined ? await crowdHere(server, most, options) : await crowdOfAgents(server, most, options, swarm)
  const report = emptyReport()
  let connecting = 0
  try {
    for (const next of pulsesOf(whole)) {
      if (signal?.aborted) break
      const opened = await pulseOnce(crowd, next, report, signal, onEvent)
      connecting += opened.ms
      if (opened.connected === 0 && next.n > 0 && !signal?.aborted) {
        report.stopped = swarm?.pulsing.length === 0 ? 'agents lost' : 'nobody answers'
        break
      }
      await pause(next.after, signal)
    }
  } finally {
    await crowd.close()
    await crowd.dispose()
  }
  if (signal?.aborted) report.stopped = options.signal?.aborted ? 'signal' : 'agents lost'
  report.latency = crowd.latency.quantiles()
  report.histogram = crowd.latency.encoded()
  report.connectsPerSecond = connecting > 0 ? (report.connected / connecting) * 1000 : 0
  if (swarm !== undefined) report.swarm = swarm.report()
  return report
}

/** Of a run in which nothing has been done yet. */
export function emptyReport(): PulseReport {
  return {
    pulses: 0,
    connected: 0,
    failed: {},
    lost: {},
    abandoned: 0,
    echoed: 0,
    unanswered: {},
    latency: { p50: 0, p90: 0, p99: 0, max: 0 },
    histogram: '',
    connectsPerSecond: 0,
    stopped: null
  }
}

/** Held by this process and its children. */
async function crowdHere(server: Server, most: number, options: PulseOptions): Promise<Crowd> {
  const { procs: processes = processesFor(most), sources = [] } = options
  if (processes > MOST_PROCESSES) {
    throw invalidArgument(
      `${most} connections take ${processes} processes under the descriptor limit, ${MOST_PROCESSES} at most: raise it (ulimit -n)`
    )
  }
  const address = await resolve(server)
  checkAddresses(address, sources)
  return await crowdOf({ address, sources, ...howOf(options), part: { index: 0, of: 1 } }, processes)
}

async function crowdOfAgents(server: Server, most: number, options: PulseOptions, swarm: Coordinator): Promise<Crowd> {
  if ('path' in server) throw invalidArgument('a Unix socket is on one machine: give a swarm HOST:PORT')
  for (const own of ['sources', 'procs'] as const) {
    if (options[own] !== undefined) throw invalidArgument(`${own} are each agent's own: give them to ebb agent`)
  }
  const { rate, payload, ...how } = howOf(options)
  const json = {
    server,
    ...how,
    rate: rate === Number.POSITIVE_INFINITY ? null : rate,
    payload: payload === null ? null : Buffer.from(payload).toString('base64')
  }
  return await SwarmCrowd.of(swarm, json, most)
}

/** How a client is to connect, with what was left out. */
export function howOf(options: PulseOptions): Omit<ClientOptions, 'address' | 'sources' | 'part'> {
  const payload = typeof options.payload === 'string' ? Buffer.from(options.payload) : (options.payload ?? null)
  return {
    rate: options.rate ?? Number.POSITIVE_INFINITY,
    timeout: options.timeout ?? 10_000,
    close: options.close ?? 'fin',
    payload: payload?.length === 0 ? null : payload,
    active: options.active ?? 1,
    expectEcho: options.expectEcho ?? false
  }
}

/** One pulse, from its first connect to its last close; what came of it is added to the report. */
export async function pulseOnce(
  crowd: Crowd,
  pulse: Pulse,
  report: PulseReport,
  signal: AbortSignal | undefined,
  onEvent: (event: PulseEvent) => void
): Promise<Opened> {
  onEvent({ event: 'pulse', pulse })
  const timer = setInterval(
    () => onEvent({ event: 'progress', pulse, open: crowd.open, failed: crowd.failed }),
    PROGRESS
  )
  let opened: Opened
  try {
    opened = await crowd.connect(pulse.n, signal)
  } finally {
    clearInterval(timer)
  }
  report.pulses++
  report.connected += opened.connected
  report.abandoned += opened.abandoned
  report.echoed += opened.echoed
  addCauses(report.failed, opened.failed)
  addCauses(report.unanswered, opened.unanswered)
  onEvent({ event: 'connected', pulse, opened })
  if (opened.connected > 0) await pause(pulse.linger, either(signal, crowd.gone))
  // Asked before closing: what the server closes after us is not lost.
  const lost = await crowd.takeLost()
  onEvent({ event: 'closing', pulse })
  await crowd.close()
  addCauses(lost, await crowd.takeLost())
  addCauses(report.lost, lost)
  onEvent({ event: 'closed', pulse, lost })
  return opened
}

function either(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  return one === undefined || other === undefined ? (one ?? other) : AbortSignal.any([one, other])
}

/** @throws TypeError for what would never end, or means nothing */
function checkOptions({ rate = 1, procs = 1, timeout = 1, active = 1 }: PulseOptions): void {
  if (!(rate > 0)) throw invalidArgument(`rate must be above 0 connects per second, not ${rate}`)
  if (!(timeout > 0)) throw invalidArgument(`timeout must be above 0 ms, not ${timeout}`)
  if (!(active >= 0 && active <= 1)) throw invalidArgument(`active must be a share from 0 to 1, not ${active}`)
  if (!Number.isInteger(procs) || procs < 1 || procs > MOST_PROCESSES) {
    throw invalidArgument(`procs must be a whole number from 1 to ${MOST_PROCESSES}, not ${procs}`)
  }
}

/** Here, and not in each process that connects. @throws TypeError */
function checkAddresses(server: Server, sources: readonly string[]): void {
  const target = new SocketAddress(server)
  if ('path' in server && sources.length > 0)
    throw invalidArgument('a Unix socket has no source addresses: leave sources out')
  for (const host of sources) {
    if (isIP(host) === 0) throw invalidArgument(`a source must be an IPv4 or IPv6 address, not ${JSON.stringify(host)}`)
    if (new SocketAddress({ host, port: 0 }).family !== target.family) {
      const { host: to } = server as { host: string }
      throw invalidArgument(`the source ${host} cannot connect to ${to}: one is IPv4, the other IPv6`)
    }
  }
}

/** Whether all went as planned: nothing failed, nothing was lost, every answer came. */
export function succeeded(report: PulseReport): boolean {
  return failuresOf(report) === 0 && report.stopped !== 'nobody answers'
}

/** Connects that failed, connections lost, and answers that did not come. */
export function failuresOf(report: PulseReport): number {
  return total(report.failed) + total(report.lost) + total(report.unanswered)
}

async function resolve(server: Server): Promise<Server> {
  if ('path' in server || isIP(server.host) !== 0) return server
  const { address } = await lookup(server.host, { verbatim: false })
  return { host: address, port: server.port }
}

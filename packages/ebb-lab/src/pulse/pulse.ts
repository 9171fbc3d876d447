/** `pulse()`: makes pulses at a server, and counts what came of them. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { invalidArgument, SocketAddress } from 'ebb/sys'
import { addCauses, type Causes, type Opened, total } from './client.js'
import { type Crowd, crowdOf, processesFor } from './crowd.js'
import type { Quantiles } from './histogram.js'
import { pause } from './pause.js'
import { type Plan, type Pulse, planSchema, pulsesOf } from './plan.js'

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
  /** Over the time that was spent connecting; 0 when nothing was connected. */
  connectsPerSecond: number
  /** Why it ended before its plan did. */
  stopped: 'signal' | 'nobody answers' | null
}

const PROGRESS = 500
/** Each is a Node process of some 40 MB. */
const MOST_PROCESSES = 256

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
  const { signal, onEvent = () => {} } = options
  const most = Math.max(whole.iterations > 0 ? whole.big : 0, whole.pulses > 0 ? whole.small : 0)
  const processes = options.procs ?? processesFor(most)
  if (processes > MOST_PROCESSES) {
    throw invalidArgument(
      `${most} connections take ${processes} processes under the descriptor limit, ${MOST_PROCESSES} at most: raise it (ulimit -n)`
    )
  }
  const address = await resolve(server)
  checkAddresses(address, options.sources ?? [])
  const payload = typeof options.payload === 'string' ? Buffer.from(options.payload) : (options.payload ?? null)
  const crowd = await crowdOf(
    {
      address,
      sources: options.sources ?? [],
      rate: options.rate ?? Number.POSITIVE_INFINITY,
      timeout: options.timeout ?? 10_000,
      close: options.close ?? 'fin',
      payload: payload?.length === 0 ? null : payload,
      active: options.active ?? 1,
      expectEcho: options.expectEcho ?? false,
      part: { index: 0, of: 1 }
    },
    processes
  )
  const report: PulseReport = {
    pulses: 0,
    connected: 0,
    failed: {},
    lost: {},
    abandoned: 0,
    echoed: 0,
    unanswered: {},
    latency: { p50: 0, p90: 0, p99: 0, max: 0 },
    connectsPerSecond: 0,
    stopped: null
  }
  let connecting = 0
  try {
    for (const next of pulsesOf(whole)) {
      if (signal?.aborted) break
      const opened = await once(crowd, next, report, signal, onEvent)
      connecting += opened.ms
      if (opened.connected === 0 && next.n > 0 && !signal?.aborted) {
        report.stopped = 'nobody answers'
        break
      }
      await pause(next.after, signal)
    }
  } finally {
    await crowd.close()
    await crowd.dispose()
  }
  if (signal?.aborted) report.stopped = 'signal'
  report.latency = crowd.latency.quantiles()
  report.connectsPerSecond = connecting > 0 ? (report.connected / connecting) * 1000 : 0
  return report
}

async function once(
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
  if (opened.connected > 0) await pause(pulse.linger, signal)
  // Asked before closing: what the server closes after us is not lost.
  const lost = await crowd.takeLost()
  onEvent({ event: 'closing', pulse })
  await crowd.close()
  addCauses(lost, await crowd.takeLost())
  addCauses(report.lost, lost)
  onEvent({ event: 'closed', pulse, lost })
  return opened
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

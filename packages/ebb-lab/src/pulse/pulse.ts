/** `pulse()` makes pulses of connections at a server and counts the results. */
import { isIP } from 'node:net'
import { descriptorLimit, invalidArgument, SocketAddress, shown } from 'ebb/sys'
import { LabError } from '../units/errors.js'
import { integer } from '../units/format.js'
import { warnOfShortTimes } from '../units/short-times.js'
import { addressesFor, addressesOf, answeringAddress } from './addresses.js'
import { addCauses, type Causes, total } from './causes.js'
import { checkPlan, checkPulseOptions } from './check-options.js'
import { holdWithChurn } from './churn.js'
import type { ClientOptions } from './client-options.js'
import { type Crowd, crowdCapacity, MAX_PROCESSES, processesFor } from './crowd.js'
import { checkKernel } from './kernel.js'
import { type Latencies, Latency, type LatencyReport } from './latencies.js'
import { addTargets, type Opened, type TargetResult } from './opened.js'
import { crowdOf } from './own-crowd.js'
import { pause } from './pause.js'
import { type Plan, type Pulse, planSchema, pulsesOf } from './plan.js'
import { type ProtocolOptions, protocolSettings } from './protocols/settings.js'
import { crowdOfAll, MAX_TARGETS } from './shared-crowd.js'
import { checkOwn, localPorts, MAX_SOURCES } from './sources.js'
import { type CommonOptions, connectSettings } from './swarm/connect-settings.js'
import type { Coordinator } from './swarm/coordinator.js'
import type { SwarmReport } from './swarm/report.js'
import { type CrowdPlan, SwarmCrowd } from './swarm/swarm-crowd.js'
import { bare, parseServer, type ServerAddress, type Target } from './target.js'
import { addTraffic, emptyTraffic, type Traffic } from './traffic.js'
import { type RunStats, WatchedCrowd } from './watched-crowd.js'

/**
 * The server to connect to: a URL (`ws://localhost:3033/chat`), or an address for bare TCP. A host name is looked up
 * once; of several addresses, the first that answers is used.
 */
export type Server = string | ServerAddress

/** How `pulse()` connects, and what the connections say. */
export interface PulseOptions extends ProtocolOptions {
  /** Connects per second, over all processes. Default: as fast as the server answers. */
  rate?: number
  /**
   * Number of processes that hold the connections, from 1 to 256. Default: as many as the descriptor limit requires.
   */
  procs?: number
  /**
   * Local IP addresses to connect from, in turn. Default: the kernel chooses; on loopback, more addresses of
   * 127.0.0.0/8 are used when the ports of one run out.
   */
  sources?: readonly string[]
  /** Milliseconds after which a connect, or an awaited answer, has failed. Default: 10,000. */
  timeout?: number
  /** How to close connections: with a FIN or with a reset. Default: `fin`. */
  close?: 'fin' | 'rst'
  /**
   * Message that each active connection sends once it is open: bytes, or a text in which `{id}`, `{n}` and `{time}`
   * stand for values. Default: nothing.
   */
  payload?: string | Uint8Array
  /**
   * Connections per second that leave while a pulse is held, or a shape lasts. Each of them is replaced by a new
   * connection. Default: 0.
   */
  churn?: number
  /** Share of connections that send the payload, from 0 to 1. Default: 1. */
  active?: number
  /** Whether active connections wait until the server has sent the message back. Default: false. */
  expectEcho?: boolean
  /**
   * Agents on several machines that make the connections. They use their own `sources` and `procs`, so these options
   * must not be given. Default: this machine makes the connections.
   */
  swarm?: Coordinator
  /**
   * More servers. The connections are shared out evenly over all servers, to within one. Up to 15.
   *
   * @default none
   */
  others?: readonly (Server | Target)[]
  /** Ends the run. All connections are closed, and the report covers the run so far. */
  signal?: AbortSignal
  /** Called every second with the statistics of the run, and once more at its end. */
  onStats?: (stats: RunStats, latencies: Latencies) => void
  /** Called at each step of a pulse, and regularly while a pulse connects. */
  onEvent?: (event: PulseEvent) => void
}

/** Names of the options of `pulse()`. */
export const PULSE_NAMES: readonly string[] = Object.keys({
  ...{ rate: 0, procs: 0, sources: 0, timeout: 0, close: 0, payload: 0, churn: 0, active: 0, expectEcho: 0 },
  ...{ swarm: 0, others: 0, signal: 0, onStats: 0, onEvent: 0 },
  ...{ every: 0, ping: 0, method: 0, headers: 0, body: 0, subprotocols: 0, clientId: 0, subscribe: 0, topic: 0 },
  ...{ qos: 0, keepAlive: 0, tls: 0 }
} satisfies Record<keyof PulseOptions, 0>)

/** A step of a pulse, or its progress while it connects. */
export type PulseEvent =
  /** The pulse begins to connect. */
  | { event: 'pulse'; pulse: Pulse }
  /** Number of open connections and failed connects so far, about every 500 ms. */
  | { event: 'progress'; pulse: Pulse; open: number; failed: number }
  /** All connects have ended, and the pulse begins to hold its connections. */
  | { event: 'connected'; pulse: Pulse; opened: Opened }
  /** The pulse begins to close its connections. */
  | { event: 'closing'; pulse: Pulse }
  /** All connections are closed. `lost` counts those that the server closed first, `replaced` those of `churn`. */
  | { event: 'closed'; pulse: Pulse; lost: Causes; traffic: Traffic; replaced: number }

/**
 * Results of a run. `latency`, `histogram` and `uncorrected` are the connect times: from the time at which a connection
 * was meant to start until it is open.
 */
export interface PulseReport extends LatencyReport {
  /** Number of pulses that were begun. */
  pulses: number
  /** Number of connections that were opened. */
  connected: number
  /** Connects that failed, by errno. */
  failed: Causes
  /** Connections that the server closed first, by what the client saw: `FIN`, `ECONNRESET`. */
  lost: Causes
  /** Number of connects that `signal` cancelled. */
  abandoned: number
  /** Number of connections that left and were replaced (`churn`). */
  replaced: number
  /** Number of active connections that received their whole payload back. */
  echoed: number
  /** Answers that did not come or were wrong, by cause: see {@link Opened}. */
  unanswered: Causes
  /**
   * Number of connects that could not begin within 10 ms of the time that the rate or the shape prescribes: too many
   * others were in progress, the server's backlog was full, or this machine was busy. 0 if neither prescribes one.
   */
  late: number
  /** Latencies from the start of a connection, or the time at which a message was due, until its answer. Null: none. */
  answers: LatencyReport | null
  /** What the connections sent and received. */
  traffic: Traffic
  /** Connections per second, over the time spent connecting. 0 if nothing was connected. */
  connectsPerSecond: number
  /**
   * Why the run ended before its plan did, or null. `agents lost`: all agents of the swarm were lost, or one of them
   * with the coordinator's option `strict`.
   */
  stopped: 'signal' | 'nobody answers' | 'agents lost' | null
  /** Results by server. Only if there are several. */
  targets?: TargetResult[] | undefined
  /** Results by agent, over all runs of the swarm's coordinator. */
  swarm?: SwarmReport
}

/** Milliseconds between two `progress` events. */
const PROGRESS_INTERVAL = 500

/** Default of `timeout`, in ms. */
const DEFAULT_TIMEOUT = 10_000

/**
 * Makes the pulses of a plan at a server and returns the results.
 *
 * The run ends early when a pulse could not open a single connection. It does not reject then: see
 * {@link PulseReport.stopped}.
 *
 * @param plan fields that are left out have the defaults of {@link Plan}
 * @throws TypeError for an option that is out of its range or does not fit the server
 * @throws ZodError for a plan that is not valid
 * @throws LabError if the descriptors (`EMFILE`) or local ports (`EADDRNOTAVAIL`) of this machine do not suffice, if a
 *   source is not an address of this machine (`EADDRNOTAVAIL`), or without koffi (`ERR_EBB_UNSUPPORTED`)
 * @throws SwarmError if the agents cannot hold that many connections, or refuse the server
 * @throws Error of `dns.lookup` for a host name that is not known
 */
export async function pulse(
  server: Server,
  plan: Partial<Plan> = {},
  options: PulseOptions = {}
): Promise<PulseReport> {
  checkPlan(plan, 'plan of pulse()')
  checkPulseOptions(options, PULSE_NAMES, 'pulse()')
  warnOfShortTimes({ ...plan, timeout: options.timeout })
  return await sendPulses(targetOf(server), plan, options)
}

/** Does what {@link pulse} does, for callers whose times have units: it warns of no short time. */
export async function sendPulses(target: Target, plan: Partial<Plan>, options: PulseOptions): Promise<PulseReport> {
  const wholePlan = planSchema.parse(plan)
  const { swarm, onEvent = () => {} } = options
  const signal = either(options.signal, swarm?.stopped)
  const crowd = await crowdFor(target, mostOf(wholePlan), options)
  const report = emptyReport()
  let connectMs = 0
  let connected = 0
  try {
    for (const next of pulsesOf(wholePlan)) {
      if (signal?.aborted) break
      const opened = await pulseOnce(crowd, next, report, signal, onEvent, options.churn)
      connectMs += opened.ms
      connected += opened.connected
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
  addLatencies(report, crowd.latencies)
  report.connectsPerSecond = connectMs > 0 ? (connected / connectMs) * 1000 : 0
  if (swarm !== undefined) report.swarm = swarm.report()
  return report
}

/** Returns the number of connections of the largest pulse of a plan. */
export function mostOf({ big, iterations, small, pulses }: Plan): number {
  return Math.max(iterations > 0 ? big : 0, pulses > 0 ? small : 0)
}

/** Returns the report of a run in which nothing has happened yet. */
export function emptyReport(): PulseReport {
  return {
    pulses: 0,
    connected: 0,
    failed: {},
    lost: {},
    abandoned: 0,
    echoed: 0,
    unanswered: {},
    late: 0,
    replaced: 0,
    ...new Latency().report(),
    answers: null,
    traffic: emptyTraffic(),
    connectsPerSecond: 0,
    stopped: null
  }
}

/** Sets the latencies of a report. */
export function addLatencies(report: PulseReport, { connects, answers }: Latencies): void {
  Object.assign(report, connects.report())
  report.answers = answers.corrected.count === 0 ? null : answers.report()
}

/** Adds the result of opening connections to a report. */
export function addResult(report: PulseReport, opened: Opened): void {
  report.connected += opened.connected
  report.abandoned += opened.abandoned
  report.late += opened.late
  report.replaced += opened.replaced
  report.echoed += opened.echoed
  addCauses(report.failed, opened.failed)
  addCauses(report.unanswered, opened.unanswered)
  addTargets(report, opened)
}

/** Makes the crowd that the options describe, for up to `most` connections. */
export async function crowdFor(target: Target, most: number, options: PulseOptions): Promise<Crowd> {
  checkOptions(options)
  const { swarm, onStats } = options
  const crowd =
    swarm === undefined ? await localCrowd(target, most, options) : await swarmCrowd(target, most, options, swarm)
  return onStats === undefined ? crowd : new WatchedCrowd(crowd, onStats)
}

/** Makes a crowd that this process and its children hold. */
async function localCrowd(target: Target, most: number, options: PulseOptions): Promise<Crowd> {
  checkKernel('this machine cannot open the connections', 'send pulses from another machine')
  const { procs: processes = processesFor(most), sources = [] } = options
  if (processes > MAX_PROCESSES) {
    throw invalidArgument(
      `${most} connections need ${processes} processes under the descriptor limit, ` +
        `but ${MAX_PROCESSES} is the maximum: raise the limit (ulimit -n)`
    )
  }
  if (most > crowdCapacity(processes)) {
    throw new LabError(
      `${integer(most)} connections do not fit into ${processes} ${processes === 1 ? 'process' : 'processes'} with ` +
        `${integer(descriptorLimit())} descriptors each: leave procs out, or raise the limit (ulimit -n)`,
      'EMFILE'
    )
  }
  const targets = allTargets(target, options)
  const clients: [string, ClientOptions][] = []
  for (const one of targets) {
    const client = clientOptions(one, options)
    const address = await resolve(one.address, sources, options)
    checkAddresses(address, sources)
    checkPorts(address, Math.ceil(most / targets.length), sources)
    clients.push([one.text, { address, sources, ...client, part: { index: 0, of: 1 } }])
  }
  const each = options.procs === undefined ? undefined : Math.ceil(options.procs / targets.length)
  return await crowdOfAll(clients, most, crowdOf, each)
}

/**
 * Returns all servers of a run.
 *
 * @throws TypeError if there are too many, or one is there twice
 */
function allTargets(target: Target, { others = [] }: PulseOptions): Target[] {
  const targets = [target, ...others.map((other) => (isTarget(other) ? other : targetOf(other)))]
  if (targets.length > MAX_TARGETS) {
    throw invalidArgument(`a run has at most ${MAX_TARGETS} servers, not ${targets.length}`)
  }
  const texts = targets.map(({ text }) => text)
  const twice = texts.find((text, i) => texts.indexOf(text) !== i)
  if (twice !== undefined) throw invalidArgument(`the server ${twice} is there twice: leave it out once`)
  return targets
}

function isTarget(server: Server | Target): server is Target {
  return typeof server === 'object' && 'protocol' in server
}

/**
 * Makes a crowd that the agents of a swarm hold.
 *
 * @param plan what agents go on with if they lose the coordinator. Default: they close everything
 */
export async function swarmCrowd(
  target: Target,
  most: number,
  options: PulseOptions,
  swarm: Coordinator,
  plan?: CrowdPlan
): Promise<SwarmCrowd> {
  for (const name of ['sources', 'procs'] as const) {
    if (options[name] !== undefined) throw invalidArgument(`${name} are each agent's own: give them to ebb agent`)
  }
  const [first, ...others] = allTargets(target, options).map((one): [Target, CommonOptions] => [
    one,
    clientOptions(one, options)
  ])
  const settings = connectSettings([first as [Target, CommonOptions], ...others])
  return await SwarmCrowd.create(swarm, settings, most, plan)
}

/**
 * Returns the options of a client, with the defaults filled in.
 *
 * @throws TypeError for an option that does not fit the target
 */
export function clientOptions(
  target: Target,
  options: PulseOptions
): Omit<ClientOptions, 'address' | 'sources' | 'part'> {
  const { expectEcho = false } = options
  const payload = options.payload?.length === 0 ? null : (options.payload ?? null)
  return {
    ...protocolSettings(target, options, { payload, expectEcho }),
    rate: options.rate ?? Number.POSITIVE_INFINITY,
    timeout: options.timeout ?? DEFAULT_TIMEOUT,
    close: options.close ?? 'fin',
    payload,
    active: options.active ?? 1,
    expectEcho
  }
}

/** Makes one pulse, from its first connect to its last close, and adds its results to the report. */
export async function pulseOnce(
  crowd: Crowd,
  pulse: Pulse,
  report: PulseReport,
  signal: AbortSignal | undefined,
  onEvent: (event: PulseEvent) => void,
  churn = 0
): Promise<Opened> {
  onEvent({ event: 'pulse', pulse })
  const timer = setInterval(
    () => onEvent({ event: 'progress', pulse, open: crowd.open, failed: crowd.failed }),
    PROGRESS_INTERVAL
  )
  let opened: Opened
  try {
    opened = await crowd.connect(pulse.n, signal)
  } finally {
    clearInterval(timer)
  }
  report.pulses++
  addResult(report, opened)
  onEvent({ event: 'connected', pulse, opened })
  let replaced = 0
  if (opened.connected > 0) {
    const stop = either(signal, crowd.gone)
    if (churn === 0) await pause(pulse.linger, stop)
    else {
      const arrived = await holdWithChurn(crowd, churn, pulse.linger, stop)
      addResult(report, arrived)
      replaced = arrived.replaced
    }
  }
  // Asks before it closes, because connections that the server closes after us are not lost.
  const traffic = await crowd.takeTraffic()
  const lost = await crowd.takeLost()
  onEvent({ event: 'closing', pulse })
  await crowd.close()
  addCauses(lost, await crowd.takeLost())
  addCauses(report.lost, lost)
  // What has come since the first look, such as the answers that connections have lost.
  addTraffic(traffic, await crowd.takeTraffic())
  addTraffic(report.traffic, traffic)
  addCauses(report.unanswered, traffic.unanswered)
  onEvent({ event: 'closed', pulse, lost, traffic, replaced })
  return opened
}

/** Returns a signal that aborts when either of two signals does; undefined if neither is given. */
export function either(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  return one === undefined || other === undefined ? (one ?? other) : AbortSignal.any([one, other])
}

/** @throws TypeError for an option that is out of its range */
export function checkOptions({ rate = 1, procs = 1, timeout = 1, active = 1, churn = 0 }: PulseOptions): void {
  if (!(rate > 0)) throw invalidArgument(`rate must be above 0 connects per second, not ${rate}`)
  if (!(churn >= 0 && churn < Number.POSITIVE_INFINITY)) {
    throw invalidArgument(`churn must be 0 or more connections per second, not ${churn}`)
  }
  if (!(timeout > 0)) throw invalidArgument(`timeout must be above 0 ms, not ${timeout}`)
  if (!(active >= 0 && active <= 1)) throw invalidArgument(`active must be a share from 0 to 1, not ${active}`)
  if (!Number.isInteger(procs) || procs < 1 || procs > MAX_PROCESSES) {
    throw invalidArgument(`procs must be a whole number from 1 to ${MAX_PROCESSES}, not ${procs}`)
  }
}

/** Checks addresses once, here, so that not every client process reports the same error. */
function checkAddresses(server: ServerAddress, sources: readonly string[]): void {
  const target = new SocketAddress(server)
  if ('path' in server && sources.length > 0)
    throw invalidArgument('a Unix socket has no source addresses: leave sources out')
  for (const host of sources) {
    if (isIP(host) === 0) throw invalidArgument(`a source must be an IPv4 or IPv6 address, not ${JSON.stringify(host)}`)
    if (new SocketAddress({ host, port: 0 }).family !== target.family) {
      const { host: to } = server as { host: string }
      throw invalidArgument(`the source ${host} cannot connect to ${to}: one is IPv4, the other IPv6`)
    }
    checkOwn(host)
  }
}

/**
 * Checks that there are enough local ports. Each source address can use each of its ports once per address and port of
 * a server.
 *
 * @throws LabError (`EADDRNOTAVAIL`) if there are not
 */
function checkPorts(server: ServerAddress, most: number, sources: readonly string[]): void {
  if ('path' in server) return
  const isAutomatic = sources.length === 0 && server.host.startsWith('127.')
  const addresses = isAutomatic ? MAX_SOURCES : Math.max(1, new Set(sources).size)
  const ports = addresses * localPorts()
  if (most <= ports) return
  const lacking = Math.ceil(most / localPorts()) - addresses
  const more = `${lacking} more source address${lacking === 1 ? '' : 'es'}`
  throw new LabError(
    `${integer(most)} connections to ${server.host}:${server.port} need more local ports than there are: ` +
      `${integer(ports)} on ${addresses} source address${addresses === 1 ? '' : 'es'}; give ${more} with sources, ` +
      'widen net.ipv4.ip_local_port_range, or use a swarm',
    'EADDRNOTAVAIL'
  )
}

/**
 * Returns the target that a server stands for.
 *
 * @throws ValueError for a URL that is not valid
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for anything but a URL or an address
 */
export function targetOf(server: Server): Target {
  if (typeof server === 'string') return parseServer(server)
  const { path, host, port } = Object(server ?? {}) as Partial<Record<'path' | 'host' | 'port', unknown>>
  const isAddress = typeof path === 'string' || (typeof host === 'string' && Number.isInteger(port))
  if (isAddress) return bare(server)
  const forms = "a URL, 'HOST:PORT', { host, port } or { path }"
  throw invalidArgument(`a server to connect to must be ${forms}, not ${shown(server)}`)
}

/** Returns whether the server answered, and no connect failed, no connection was lost and no answer is missing. */
export function succeeded(report: PulseReport): boolean {
  return failuresOf(report) === 0 && report.stopped !== 'nobody answers'
}

/** Returns the number of failed connects, lost connections and missing answers. */
export function failuresOf(report: PulseReport): number {
  return total(report.failed) + total(report.lost) + total(report.unanswered)
}

/** Returns the server with the address of its host at which it answers. */
async function resolve(
  server: ServerAddress,
  sources: readonly string[],
  options: PulseOptions
): Promise<ServerAddress> {
  if ('path' in server || isIP(server.host) !== 0) return server
  const { timeout = DEFAULT_TIMEOUT, signal } = options
  const addresses = addressesFor(await addressesOf(server.host), sources)
  return { host: await answeringAddress(addresses, server.port, timeout, signal), port: server.port }
}

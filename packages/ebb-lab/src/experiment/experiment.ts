/**
 * `experiment()`: starts a server, records it, sends pulses, repeats with a fresh server as the control, and judges
 * both recordings. Servers run one after the other, because two at once would compete for the CPU.
 */
import { join } from 'node:path'
import { checkObject, invalidArgument, shown, warnOfUnknown } from 'ebb/sys'
import { describe } from '../process/describe.js'
import { checkAlone, find, type Running, start } from '../process/target.js'
import { total } from '../pulse/causes.js'
import { checkPlan, checkPulseOptions } from '../pulse/check-options.js'
import { checkKernel } from '../pulse/kernel.js'
import { pause } from '../pulse/pause.js'
import { countsOf, type Plan, planSchema } from '../pulse/plan.js'
import {
  clientOptions,
  failuresOf,
  mostOf,
  PULSE_NAMES,
  type PulseEvent,
  type PulseOptions,
  type PulseReport,
  sendPulses
} from '../pulse/pulse.js'
import type { LevelShape } from '../pulse/shapes.js'
import { checkOwn } from '../pulse/sources.js'
import type { SwarmReport } from '../pulse/swarm/report.js'
import { portOfUrl, spokenAt, targetAt } from '../pulse/target.js'
import { removeEarlier } from '../record/earlier.js'
import { Recorder } from '../record/recorder.js'
import type { Recording, Sample } from '../record/recording.js'
import { broken, type Limits } from '../report/limits.js'
import { report } from '../report/report.js'
import { howEnded, lastWords } from '../report/troubles.js'
import type { Verdict } from '../report/verdict.js'
import { defined } from '../units/defined.js'
import { RecordError } from '../units/errors.js'
import { duration } from '../units/format.js'
import { warnOfShortTimes } from '../units/short-times.js'
import type { DistributiveOmit } from '../units/types.js'
import { closedMark } from './box/load.js'
import { lackOfInherited, lackOfRunning } from './capacity.js'
import { fileNamesOf, prepareDirectory } from './files.js'
import { RemoteRecorder } from './remote-recorder.js'
import { numbered, type Repeat, repeatsOf } from './repeats.js'
import { peaksOf, sendShape } from './spike.js'

/** A server to test. Give exactly one of `command`, `server`, and `pid` or `port` (or both). */
export interface Target {
  /** Name in tables, pictures and file names. It must differ from the names of the other targets. */
  name: string
  /** Program and arguments, started for the main run and again for the control run. `{port}` becomes a free port. */
  command?: readonly string[]
  /**
   * Process id of a running server. There is no control run, so the verdict has no need, retention and release time.
   */
  pid?: number
  /** TCP port of a running server, without a control run. */
  port?: number
  /**
   * Adds up the server's process and all its descendants, for a server with workers.
   *
   * @default false
   */
  tree?: boolean
  /**
   * Address of a server on another machine, where an agent of the swarm records it. There is a control run if the agent
   * has a command that starts the server.
   */
  server?: { host: string; port: number }
}

/** Options of {@link experiment}. Times are milliseconds. */
export interface ExperimentOptions {
  /**
   * Plan of the pulses. Fields that are left out come from the default.
   *
   * @default BENCH_PLAN
   */
  plan?: Partial<Plan>
  /**
   * Number of small pulses in the control run.
   *
   * @default 2
   */
  controlPulses?: number
  /**
   * How often each server is measured, from 1 to 100, each time in a fresh process. Then figures are medians, with
   * their spread: {@link Verdict.spread}. The servers take turns, so that a change of the machine affects all of them.
   *
   * @default 1
   */
  runs?: number
  /**
   * Load in place of the big pulses of the main run: a shape with an end. Each of its peaks counts as a big pulse.
   * Default: the big pulses of the plan.
   */
  shape?: LevelShape
  /** How to connect: `rate`, `procs`, `sources`, `timeout`, `close`, `payload`, `swarm`, ... */
  pulse?: Omit<PulseOptions, 'signal' | 'onEvent'>
  /**
   * URL at which clients reach each server, if they speak more than bare TCP: `ws://127.0.0.1:{port}/chat`. `{port}`
   * becomes the server's port.
   */
  url?: string
  /**
   * Milliseconds without connections before the first pulse.
   *
   * @default 1500
   */
  rest?: number
  /** Directory for the recordings, `report.html`, `memory.svg` and `runtime.svg`. Nothing is written without it. */
  out?: string
  /**
   * Replaces files of these names in `out`, and removes the recordings of more runs on the same targets that an earlier
   * experiment left there. If false, such files are an error (`EEXIST`).
   *
   * @default true
   */
  overwrite?: boolean
  /** URL of Go's expvar of the server, polled every second. `{port}` is not replaced in it. */
  expvar?: string
  /** Limits of each verdict. Exceeded limits are listed in {@link Experiment.broken}. */
  limits?: Limits
  /** Aborts the experiment: it ends every process that it started and rejects with the signal's reason. */
  signal?: AbortSignal
  /** Called for every event of the experiment. */
  onEvent?: (event: ExperimentEvent) => void
}

const NAMES = Object.keys({
  ...{ plan: 0, controlPulses: 0, runs: 0, shape: 0, pulse: 0, url: 0, rest: 0, out: 0, overwrite: 0, expvar: 0 },
  ...{ limits: 0, signal: 0, onEvent: 0 }
} satisfies Record<keyof ExperimentOptions, 0>)

/** An event of an experiment, with the name of the target, the role of the run, and its number if there are several. */
export type ExperimentEvent = {
  name: string
  role: 'main' | 'control'
  run?: { index: number; of: number }
} /** A run begins. `recording` grows while it lasts. */ & (
  | { event: 'start'; running: Running; pulses: number; out: string | null; recording: Recording }
  | { event: 'sample'; sample: Sample }
  | { event: 'note'; code?: string | undefined; text: string }
  | { event: 'end' }
  | PulseEvent
)

/** The result of {@link experiment}. */
export interface Experiment {
  /** A verdict for each target, in the order of the targets. */
  verdicts: Verdict[]
  /** A sentence for each exceeded limit, beginning with the server's name. */
  broken: string[]
  /**
   * Number of failed connects, lost connections and missing echoes, over all targets. At least 1 for each server that
   * ended during its run.
   */
  failures: number
  /** Report of the agents, if a swarm made the connections. */
  swarm?: SwarmReport
  /** Paths of the files written. */
  files: string[]
  /** Remarks about the recordings, one sentence each. */
  notes: string[]
}

/** The plan of `ebb bench`: 3 pulses of 10,000 connections, then 4 of 1,000. Times are milliseconds. */
export const BENCH_PLAN: Plan = {
  big: 10_000,
  iterations: 3,
  bigSeparation: 5000,
  small: 1000,
  smallSeparation: 1000,
  linger: 4000,
  pulses: 4
}

/**
 * The plan of `ebb bench --quick`: a fifth of the connections in a third of the time. Too short for reliable figures.
 */
export const QUICK_PLAN: Plan = {
  big: 2000,
  iterations: 3,
  bigSeparation: 2500,
  small: 200,
  smallSeparation: 500,
  linger: 1000,
  pulses: 4
}

/** Recording time after the last pulse, ms, so that the recording shows how the server reacts to the last close. */
const TAIL = 1000

/**
 * Runs the experiment on each target, one after the other.
 *
 * ```ts
 * const { verdicts } = await experiment([{ name: 'mine', command: ['node', 'server.js', '{port}'] }])
 * ```
 *
 * If a target fails after others have finished, or `signal` is aborted, what has finished is still written to `out`:
 * recordings, report.html and pictures.
 *
 * @throws ZodError if the plan is invalid; RecordError if two targets have the same name, or a server cannot be
 *   started, found or recorded; SwarmError if the swarm cannot make the connections; ReportError if `out` cannot be
 *   written, or has files of an earlier experiment on the targets (`EEXIST`)
 */
export async function experiment(targets: readonly Target[], options: ExperimentOptions = {}): Promise<Experiment> {
  if (!Array.isArray(targets)) {
    throw invalidArgument(`targets of experiment() must be a list of servers, not ${shown(targets)}`)
  }
  checkObject(options, 'options of experiment()')
  warnOfUnknown(options, NAMES, 'experiment()')
  checkPlan(options.plan ?? {}, 'plan of experiment()')
  checkPulseOptions(options.pulse ?? {}, PULSE_NAMES, 'pulse of experiment()')
  warnOfShortTimes({ ...options.plan, timeout: options.pulse?.timeout, rest: options.rest })
  const { result, failure } = await experimentUntilFailure(targets, options)
  if (failure !== undefined) throw failure.error
  return result
}

/** What {@link experimentUntilFailure} found. */
export interface PartialExperiment {
  /** The verdicts on all targets whose main run is complete. */
  result: Experiment
  /** Why the experiment ended before its last run, and which run failed. */
  failure?: { error: unknown; run: FailedRun }
}

/** The run in which an experiment failed. */
interface FailedRun {
  /** Name of the target. */
  name: string
  role: 'main' | 'control'
  /** Number of the run, if the target has several. */
  run?: { index: number; of: number }
}

/**
 * Runs the experiment as {@link experiment} does. If a run fails or is aborted after others have finished, returns the
 * verdicts on the others, and the error.
 *
 * @throws as `experiment()`, if nothing has finished
 */
export async function experimentUntilFailure(
  targets: readonly Target[],
  options: ExperimentOptions = {}
): Promise<PartialExperiment> {
  const plan = planOf(options)
  checkNames(targets)
  const repeats = repeatsOf(options)
  for (const source of options.pulse?.sources ?? []) checkOwn(source)
  if (options.pulse?.swarm === undefined) {
    checkKernel('the experiment cannot send pulses from this machine', 'ebb record and ebb report work here')
  }
  if (options.url !== undefined) checkUrl(options.url, targets, options)
  for (const target of targets) checkTarget(target, plan, options)
  const { out, overwrite = true } = options
  const names = targets.map(({ name }) => name)
  const fileNames = fileNamesOf(names)
  if (out !== undefined) await prepareDirectory(out, { names, files: fileNames, repeats }, overwrite)
  const runs: Run[] = []
  let failure: PartialExperiment['failure']
  let present: FailedRun = { name: targets[0]?.name ?? '', role: 'main' }
  try {
    for (const repeat of repeats) {
      await runAll(targets, fileNames, repeat, plan, options, runs, (name, role) => {
        present = { name, role, ...defined({ run: repeat }) }
      })
    }
  } catch (error) {
    if (!runs.some(({ recording }) => recording.header.role === 'main')) throw error
    failure = { error, run: present }
  }
  const recordings = runs.map(({ recording }) => recording)
  const { verdicts, ...drawn } = await report(recordings, defined({ out }))
  const swarm = options.pulse?.swarm?.report()
  const result: Experiment = {
    verdicts,
    broken: verdicts.flatMap((verdict) => broken(verdict, options.limits ?? {})),
    failures: runs.reduce((sum, { report, died }) => sum + Math.max(failuresOf(report), died ? 1 : 0), 0),
    ...(swarm !== undefined && { swarm }),
    files: [...runs.flatMap(({ files }) => files), ...drawn.files],
    notes: drawn.notes
  }
  return { result, ...(failure !== undefined && { failure }) }
}

/** Returns the plan of an experiment. The peaks of a shape are its big pulses. */
function planOf({ plan, shape }: ExperimentOptions): Plan {
  const whole = planSchema.parse({ ...BENCH_PLAN, ...plan })
  if (shape === undefined) return whole
  const { connections, count } = peaksOf(shape)
  return { ...whole, big: connections, iterations: count }
}

/** Adds the runs on all targets to `runs`, each when it is complete. Calls `begins` before each of them. */
async function runAll(
  targets: readonly Target[],
  fileNames: readonly string[],
  repeat: Repeat | undefined,
  plan: Plan,
  options: ExperimentOptions,
  runs: Run[],
  begins: (name: string, role: 'main' | 'control') => void
): Promise<void> {
  for (const [i, target] of targets.entries()) {
    const file = fileNames[i] as string
    begins(target.name, 'main')
    const main = await run(target, { role: 'main', repeat, file }, plan, options)
    runs.push(main)
    // Without a complete main run, need has nothing to be compared with.
    if (!main.hasFreshServers || plan.small === 0 || main.died) continue
    const controlPlan = { ...plan, big: 0, pulses: options.controlPulses ?? 2 }
    begins(target.name, 'control')
    runs.push(await run(target, { role: 'control', repeat, file }, controlPlan, options))
  }
}

/** Checks that clients can speak as the options say, and that a URL with a port is not for servers with other ports. */
function checkUrl(url: string, targets: readonly Target[], { pulse = {} }: ExperimentOptions): void {
  const port = portOfUrl(url)
  clientOptions(targetAt(url, { host: '127.0.0.1', port: port ?? 1 }), pulse)
  if (port !== undefined && targets.some(({ command }) => command?.some((word) => word.includes('{port}')))) {
    throw invalidArgument('a command with {port} gets a free port: write {port} in the URL, too')
  }
}

/**
 * Checks that a server that is not started here runs, and that a server can hold the connections of the plan, so that
 * this is reported before the experiment spends minutes on the other targets.
 */
function checkTarget(target: Target, plan: Plan, { pulse, runs = 1 }: ExperimentOptions): void {
  const { name, command, server, tree = false } = target
  const recorder = server === undefined ? undefined : pulse?.swarm?.recorderOf(server.port)
  if (runs > 1 && command === undefined && recorder?.startsServer !== true) {
    const need = server === undefined ? 'runs need a command to start' : 'start its agent with --record-command'
    throw invalidArgument(`${name} runs already and would remember its earlier runs: ${need}`)
  }
  if (recorder !== undefined) return
  if (command === undefined) checkDescriptors(name, plan, find(target), tree)
  else if (!tree) refuse(lackOfInherited(name, mostOf(plan), command))
}

/** Checks that a running server can hold the connections of a plan. Each worker of a tree has a limit of its own. */
function checkDescriptors(name: string, plan: Plan, { pid }: Running, tree: boolean): void {
  if (!tree) refuse(lackOfRunning(name, mostOf(plan), pid))
}

/** @throws RecordError (`EMFILE`) if the server lacks descriptors */
function refuse(lack: string | undefined): void {
  if (lack !== undefined) throw new RecordError(lack, 'EMFILE')
}

/** Which run on a target it is. */
interface Which {
  role: 'main' | 'control'
  /** Undefined if there is only one. */
  repeat: Repeat | undefined
  /** Name of the recordings of the target, without number and extension. */
  file: string
}

/** Returns the path of the recording of a run; undefined if none is written. */
function pathOf({ role, repeat, file }: Which, { out }: ExperimentOptions): string | undefined {
  if (out === undefined) return undefined
  return join(out, `${numbered(file, repeat)}${role === 'control' ? '.control' : ''}.ndjson`)
}

/** Whether a run is the first on its target, so that recordings of the target are those of an earlier experiment. */
function isFirst({ role, repeat }: Which): boolean {
  return role === 'main' && (repeat === undefined || repeat.index === 1)
}

/** A run on one server, main or control. */
interface Run {
  recording: Recording
  report: PulseReport
  files: string[]
  /** Whether the server ended during the run. */
  died: boolean
  /** Whether another run on the target would have a fresh server. */
  hasFreshServers: boolean
}

/** Returns the sentence on a server that ended before its recording was stopped, or null. */
function diedOf(recording: Recording): string | null {
  const end = recording.events.findLast((event) => event.event === 'end')
  if (end?.event !== 'end' || end.reason !== 'exited') return null
  return `the server ended ${howEnded(end)}after ${duration(end.t)}${lastWords(recording)}`
}

/** Records the server while it gets the pulses of a plan. */
async function run(target: Target, which: Which, plan: Plan, options: ExperimentOptions): Promise<Run> {
  const { signal } = options
  const { name } = target
  const { role, repeat, file } = which
  const emit = (event: DistributiveOmit<ExperimentEvent, 'name' | 'role'>): void =>
    options.onEvent?.({ name, role, ...(repeat !== undefined && { run: repeat }), ...event } as ExperimentEvent)
  const path = pathOf(which, options)
  const { running, recorder } =
    target.server === undefined
      ? await recordHere(target, which, path, plan, options)
      : await recordThere({ ...target, server: target.server }, which, path, plan, options)
  // The pulses end when the recording does: when the server ends, or when the disk is full.
  const recordingEnded = new AbortController()
  const ended = recorder.done.finally(() => recordingEnded.abort())
  ended.catch(() => {})
  recorder.on('sample', (sample) => emit({ event: 'sample', sample }))
  recorder.on('event', (event) => {
    if (event.event === 'note') emit({ event: 'note', code: event.code, text: event.text })
  })
  try {
    // Only now: if the server cannot be started, they are still there.
    if (path !== undefined && isFirst(which)) await removeEarlier({ type: 'header', file, name }, path)
    const { big, small } = countsOf(plan)
    emit({ event: 'start', running, pulses: big + small, out: path ?? null, recording: recorder.recording })
    const stop = signal === undefined ? recordingEnded.signal : AbortSignal.any([signal, recordingEnded.signal])
    await pause(options.rest ?? 1500, stop)
    if (target.tree !== true) checkAlone(running)
    const server = targetAt(options.url, running)
    const onEvent = (event: PulseEvent): void => {
      // Once the server has ended, what its clients see says nothing more.
      if (recordingEnded.signal.aborted) return
      recordPulse(recorder, event)
      emit(event)
    }
    const how = { ...options.pulse, signal: stop, onEvent }
    const { shape } = options
    const pulses =
      shape === undefined || role === 'control'
        ? await sendPulses(server, plan, how)
        : await sendShape(server, shape, plan, how)
    await pause(TAIL, stop)
    const recording = await recorder.stop()
    const died = diedOf(recording)
    if (died !== null) emit({ event: 'note', code: 'server-ended', text: died })
    return {
      recording,
      report: pulses,
      files: path === undefined ? [] : [path],
      died: died !== null,
      hasFreshServers: recorder instanceof RemoteRecorder ? recorder.startsServers : target.command !== undefined
    }
  } finally {
    await recorder.stop().catch(() => {})
    emit({ event: 'end' })
    signal?.throwIfAborted()
  }
}

/** A server that is being recorded. */
interface Recorded {
  running: Running
  recorder: Recorder | RemoteRecorder
}

/** Starts the server on this machine, or finds a running one, and records it. */
async function recordHere(
  target: Target,
  { role, repeat }: Which,
  path: string | undefined,
  plan: Plan,
  { expvar, url, signal }: ExperimentOptions
): Promise<Recorded> {
  const { tree = false } = target
  const running = target.command === undefined ? find(target) : await start(target.command, { signal, tree })
  try {
    checkDescriptors(target.name, plan, running, tree)
    const recorder = new Recorder(
      running.pid,
      await describe(running.pid),
      {
        name: target.name,
        role,
        ...defined({ run: repeat, protocol: spokenAt(url) }),
        tree,
        keep: true,
        ...(path !== undefined && { out: path }),
        ...(expvar !== undefined && { expvar })
      },
      running.launched ?? undefined
    )
    return { running, recorder }
  } catch (error) {
    await running.launched?.stop()
    throw error
  }
}

/** Lets an agent of the swarm record the server on another machine. */
async function recordThere(
  { name, server }: Target & { server: { host: string; port: number } },
  { role, repeat }: Which,
  path: string | undefined,
  plan: Plan,
  { pulse, url, signal }: ExperimentOptions
): Promise<Recorded> {
  if (pulse?.swarm === undefined) {
    throw new RecordError(
      `${server.host}:${server.port} needs an agent on its machine to record it: give a swarm`,
      'EINVAL'
    )
  }
  const recorder = await RemoteRecorder.start(pulse.swarm, {
    port: server.port,
    name,
    role,
    connections: mostOf(plan),
    signal,
    protocol: spokenAt(url),
    ...(repeat !== undefined && { run: repeat }),
    ...(path !== undefined && { out: path })
  })
  return { running: { pid: recorder.pid, ...server, launched: null }, recorder }
}

/** Writes an event of the pulses into the recording. */
function recordPulse(recorder: Recorder | RemoteRecorder, event: PulseEvent): void {
  const { index, size, n } = event.pulse
  switch (event.event) {
    case 'pulse':
      recorder.mark({ event: 'pulse', index, size, n })
      break
    case 'connected': {
      const { connected, failed } = event.opened
      recorder.mark({ event: 'connected', index, connected, failed: total(failed) })
      break
    }
    case 'closing':
      recorder.mark({ event: 'closing', index })
      break
    case 'closed':
      recorder.mark(closedMark(event))
  }
}

/** Refuses equal names, because a report finds the control of a server by its name. */
function checkNames(targets: readonly Target[]): void {
  const names = targets.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice === undefined) return
  throw new RecordError(`two servers are called ${JSON.stringify(twice)}: give each a name of its own`, 'EEXIST')
}

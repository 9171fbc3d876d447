/**
 * `experiment()`: starts a server, records it, pulses it, runs the control, and judges. One server after the other, never two
 * at once: they would take the processor from each other.
 */
import { join } from 'node:path'
import { describe } from '../process/describe.js'
import { checkAlone, find, type Running, start } from '../process/target.js'
import { total } from '../pulse/causes.js'
import { pause } from '../pulse/pause.js'
import { countsOf, type Plan, planSchema } from '../pulse/plan.js'
import { failuresOf, type PulseEvent, type PulseOptions, type PulseReport, pulse } from '../pulse/pulse.js'
import type { SwarmReport } from '../pulse/swarm/report.js'
import { Recorder } from '../record/recorder.js'
import type { Recording, Sample } from '../record/recording.js'
import { broken, type Limits } from '../report/limits.js'
import { report } from '../report/report.js'
import type { Verdict } from '../report/verdict.js'
import { makeDirectory } from '../report/write-file.js'
import { RecordError } from '../units/errors.js'
import { type RemoteOptions, RemoteRecorder } from './remote-recorder.js'

/** A server to be judged. One of `command`, `pid` and `port` (or the last two together), and `server`. */
export interface Target {
  /** In tables, pictures and file names. */
  name: string
  /** Started for the run, and once more for its control. `{port}` is replaced by a free port. */
  command?: readonly string[]
  /** Already running: there is no control, hence no need, retention and release time. */
  pid?: number
  port?: number
  /** Record it with all that it started, as one: a server with workers. Default: false. */
  tree?: boolean
  /** On another machine, where an agent of the swarm records that port. There is no control then, either. */
  server?: { host: string; port: number }
}

export interface ExperimentOptions {
  /** What is left out is as in {@link BENCH_PLAN}. */
  plan?: Partial<Plan>
  /** Small pulses of the control. Default: 2. */
  controlPulses?: number
  /** How connections are made: `rate`, `procs`, `sources`, `timeout`, `close`, `payload`, ... */
  pulse?: Omit<PulseOptions, 'signal' | 'onEvent'>
  /** The server rests this long before the first pulse, ms. Default: 1500. */
  rest?: number
  /** A directory for the recordings, `report.html`, `memory.svg` and `runtime.svg`. */
  out?: string
  /** Go's expvar of the server, polled every second; `{port}` is not replaced. */
  expvar?: string
  limits?: Limits
  /** Ends the experiment and every process that it started; it rejects with the signal's reason. */
  signal?: AbortSignal
  onEvent?: (event: ExperimentEvent) => void
}

export type ExperimentEvent = { name: string; role: 'main' | 'control' } & (
  | { event: 'start'; running: Running; pulses: number }
  | { event: 'sample'; sample: Sample }
  | { event: 'note'; text: string }
  | { event: 'end' }
  | PulseEvent
)

export interface Experiment {
  /** One for each target, in their order. */
  verdicts: Verdict[]
  /** Limits that were broken, one sentence each, with the server's name. */
  broken: string[]
  /** Connects that failed, connections lost, and answers that did not come, over all targets. */
  failures: number
  /** What the agents did, where a swarm made the connections. */
  swarm?: SwarmReport
  /** Paths written. */
  files: string[]
  notes: string[]
}

/** The experiment at its real size: 10,000 connections three times, then 1,000 four times. */
export const BENCH_PLAN: Plan = {
  big: 10_000,
  iterations: 3,
  bigSeparation: 5000,
  small: 1000,
  smallSeparation: 1000,
  linger: 4000,
  pulses: 4
}

/** The same in a third of the time and at a fifth of the size: for a look, not for figures. */
export const QUICK_PLAN: Plan = {
  big: 2000,
  iterations: 3,
  bigSeparation: 2500,
  small: 200,
  smallSeparation: 500,
  linger: 1000,
  pulses: 4
}

/** After the last pulse, for the server to notice and the recording to show it, ms. */
const TAIL = 1000

/**
 * Runs the experiment on each target.
 *
 * ```ts
 * const { verdicts } = await experiment([{ name: 'mine', command: ['node', 'server.js', '{port}'] }])
 * ```
 *
 * @throws ZodError for a plan that cannot be; RecordError for two servers of one name, a server that does not start or may not be recorded; ReportError for an `out` that cannot be written
 */
export async function experiment(targets: readonly Target[], options: ExperimentOptions = {}): Promise<Experiment> {
  const plan = planSchema.parse({ ...BENCH_PLAN, ...options.plan })
  checkNames(targets)
  if (options.out !== undefined) await makeDirectory(options.out)
  const recordings: Recording[] = []
  const files: string[] = []
  const taken = new Set<string>()
  let failures = 0
  for (const target of targets) {
    const file = fileName(target.name, taken)
    const main = await run(target, 'main', file, plan, options)
    files.push(...main.files)
    recordings.push(main.recording)
    failures += failuresOf(main.report)
    if (target.command !== undefined && plan.small > 0) {
      const calm = await run(
        target,
        'control',
        `${file}.control`,
        { ...plan, big: 0, pulses: options.controlPulses ?? 2 },
        options
      )
      files.push(...calm.files)
      recordings.push(calm.recording)
      failures += failuresOf(calm.report)
    }
  }
  const { verdicts, ...drawn } = await report(recordings, options.out === undefined ? {} : { out: options.out })
  const exceeded = verdicts.flatMap((verdict) => broken(verdict, options.limits ?? {}))
  const swarm = options.pulse?.swarm?.report()
  return {
    verdicts,
    broken: exceeded,
    failures,
    ...(swarm !== undefined && { swarm }),
    files: [...files, ...drawn.files],
    notes: drawn.notes
  }
}

interface Run {
  recording: Recording
  report: PulseReport
  files: string[]
}

async function run(
  target: Target,
  role: 'main' | 'control',
  file: string,
  plan: Plan,
  options: ExperimentOptions
): Promise<Run> {
  const { signal } = options
  const { name } = target
  const tell = (event: DistributiveOmit<ExperimentEvent, 'name' | 'role'>): void =>
    options.onEvent?.({ name, role, ...event } as ExperimentEvent)
  const path = options.out === undefined ? undefined : join(options.out, `${file}.ndjson`)
  const { running, recorder } =
    target.server === undefined
      ? await recordHere(target, role, path, options)
      : await recordThere(target.server, { name, role, ...(path !== undefined && { out: path }) }, options)
  // A server that ends, or a disk that is full, ends the pulses as well.
  const over = new AbortController()
  const ended = recorder.done.finally(() => over.abort())
  ended.catch(() => {})
  recorder.on('sample', (sample) => tell({ event: 'sample', sample }))
  recorder.on('event', (event) => {
    if (event.event === 'note') tell({ event: 'note', text: event.text })
  })
  try {
    const { big, small } = countsOf(plan)
    tell({ event: 'start', running, pulses: big + small })
    const stop = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
    await pause(options.rest ?? 1500, stop)
    if (target.tree !== true) checkAlone(running)
    const made = await pulse({ host: running.host, port: running.port }, plan, {
      ...options.pulse,
      signal: stop,
      onEvent: (event) => {
        mark(recorder, event)
        tell(event)
      }
    })
    await pause(TAIL, stop)
    return { recording: await recorder.stop(), report: made, files: path === undefined ? [] : [path] }
  } finally {
    await recorder.stop().catch(() => {})
    tell({ event: 'end' })
    signal?.throwIfAborted()
  }
}

interface Recorded {
  running: Running
  recorder: Recorder | RemoteRecorder
}

async function recordHere(
  target: Target,
  role: 'main' | 'control',
  path: string | undefined,
  { expvar, signal }: ExperimentOptions
): Promise<Recorded> {
  const { tree = false } = target
  const running = target.command === undefined ? find(target) : await start(target.command, { signal, tree })
  try {
    const recorder = new Recorder(
      running.pid,
      await describe(running.pid),
      {
        name: target.name,
        role,
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

async function recordThere(
  server: { host: string; port: number },
  options: Omit<RemoteOptions, 'port'>,
  { pulse }: ExperimentOptions
): Promise<Recorded> {
  if (pulse?.swarm === undefined) {
    throw new RecordError(`${server.host}:${server.port} is recorded by an agent beside it: give a swarm`, 'EINVAL')
  }
  const recorder = await RemoteRecorder.start(pulse.swarm, { port: server.port, ...options })
  return { running: { pid: recorder.pid, ...server, launched: null }, recorder }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

function mark(recorder: Recorder | RemoteRecorder, event: PulseEvent): void {
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
      recorder.mark({ event: 'closed', index, lost: total(event.lost) })
  }
}

/** A report finds the control of a server by its name. */
function checkNames(targets: readonly Target[]): void {
  const names = targets.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice === undefined) return
  throw new RecordError(`two servers are called ${JSON.stringify(twice)}: give each a name of its own`, 'EEXIST')
}

/** File systems take 255 bytes; the rest is for `.control.ndjson` and a number. */
const LONGEST_NAME = 200

/** A name as a person typed it, as the name of a file, without its ending, that is none of `taken`. */
function fileName(name: string, taken: Set<string>): string {
  const safe =
    name
      .replace(/[^\w.-]+/g, '_')
      .replace(/^\.+/, '')
      .slice(0, LONGEST_NAME) || 'server'
  let free = safe
  for (let i = 2; taken.has(free) || taken.has(`${free}.control`); i++) free = `${safe}-${i}`
  taken.add(free).add(`${free}.control`)
  return free
}

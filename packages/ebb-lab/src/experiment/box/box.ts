/**
 * `box()`: several servers on one machine, each with a load of its own, recorded by one sampler and judged together. With variants: the
 * same servers and loads again, each time in another way.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe } from '../../process/describe.js'
import type { Exit, Launched } from '../../process/launch.js'
import { type Member, MemoryGroup } from '../../process/memory-group.js'
import { freePorts } from '../../process/ports.js'
import { checkAlone, start } from '../../process/target.js'
import { total } from '../../pulse/causes.js'
import { type OwnCrowd, processesFor } from '../../pulse/crowd.js'
import { type DriveEvent, drive } from '../../pulse/drive.js'
import { crowdOf } from '../../pulse/own-crowd.js'
import { pause } from '../../pulse/pause.js'
import { clientOptions } from '../../pulse/pulse.js'
import { endOf, maxConnections, type Shape } from '../../pulse/shapes.js'
import { BoxRecorder } from '../../record/box/recorder.js'
import { answersMissing, oneOfSeveral } from '../../record/notes.js'
import { type BoxReport, reportBoxes } from '../../report/box/report.js'
import { type BoxLimits, brokenBoxes } from '../../report/box/verdict.js'
import type { Limits } from '../../report/limits.js'
import { makeDirectory } from '../../report/write-file.js'
import { messageOf, RecordError } from '../../units/errors.js'
import { integer, short } from '../../units/format.js'
import { checkClients, checkFolders, checkServer } from './capacity.js'
import { type BoxPlan, readBoxFile, type ServerPlan, type Variant } from './file.js'

/** Sizes are bytes. */
export interface BoxOptions {
  /** A directory for `box.ndjson`, the recording, `report.html` and `box.svg`. */
  out?: string
  /** How many such servers fit into so much? Default: what the file asks. */
  memory?: number
  /** All servers are in a memory cgroup of this size. Default: what the file says. */
  limit?: number
  /** These variants of the file alone. */
  variants?: readonly string[]
  /** Fresh servers under small pulses first, to know what they need. Default: true. */
  control?: boolean
  /** Limits of each server, and of the box. */
  limits?: Limits & BoxLimits
  /** Ends the box and every process that it started; it rejects with the signal's reason. The recording so far can be read. */
  signal?: AbortSignal
  onEvent?: (event: BoxProgress) => void
}

/** How it goes on. */
export type BoxProgress =
  | { event: 'run'; variant: string; role: 'main' | 'control'; servers: number /** ms */; duration: number }
  | { event: 'listening'; server: string; pid: number; port: number }
  | { event: 'failed'; server: string; text: string }
  | { event: 'ended'; server: string; how: string }
  | { event: 'note'; server: string; text: string }
  | { event: 'load'; server: string; load: DriveEvent }
  | { event: 'tick' /** ms since the run began */; t: number; anonymous: number; servers: number }

export interface BoxResult extends BoxReport {
  /** Limits that were broken, one sentence each. */
  broken: string[]
  /** Connects that failed, connections lost, answers that did not come, and servers that did not live to the end. */
  failures: number
}

/** After the last connection is closed, for servers to notice and the recording to show it, ms. */
const TAIL = 1000
/** Small pulses of a control, and the longest time between them, ms. */
const CONTROL_PULSES = 2
const CONTROL_SEPARATION = 1000
/** From one look at whether a server listens to the next, for each server that is waited for, ms. */
const LOOK = 25

/**
 * Runs a box.
 *
 * ```ts
 * const { boxes } = await box('box.yaml', { memory: 8e9 })
 * console.log(boxes[0]?.peakOfSums, boxes[0]?.gain)
 * ```
 *
 * @param file the path of its file, or what `readBoxFile()` made of it
 * @throws BoxFileError: what is wrong with the file, or cannot be on this machine; RecordError: no cgroup for a limit, a recording that
 *   cannot be written; ReportError for an `out` that cannot be written
 */
export async function box(file: string | BoxPlan, options: BoxOptions = {}): Promise<BoxResult> {
  const plan = typeof file === 'string' ? readBoxFile(file) : file
  const variants = variantsFor(plan, options.variants)
  const { out, signal } = options
  const memory = options.memory ?? plan.memory
  const limit = options.limit ?? plan.limit
  if (out !== undefined) await makeDirectory(out)
  // Before anything is started: whether it may be made at all.
  if (limit !== null) await new MemoryGroup(limit).remove()
  const path = out === undefined ? undefined : join(out, 'box.ndjson')
  const recorder = new BoxRecorder({
    name: plan.name,
    ...(path !== undefined && { out: path }),
    ...(memory !== null && { memory })
  })
  const failed = new AbortController()
  recorder.failed.catch((error) => failed.abort(error))
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal])
  const context: Context = { recorder, plan, stop, onEvent: options.onEvent ?? (() => {}) }
  let done = false
  try {
    for (const variant of variants) {
      const control = options.control === false ? [] : controls(variant)
      if (control.length > 0) await run(context, variant.name, 'control', control, null)
      await run(context, variant.name, 'main', mains(variant, control), limit)
    }
    done = true
  } finally {
    recorder.close(done ? 'done' : 'stopped')
  }
  const report = await reportBoxes([recorder.box], {
    ...(out !== undefined && { out })
  })
  const sentences = brokenBoxes(report.boxes, options.limits ?? {})
  const failures = report.boxes.reduce((sum, verdict) => sum + verdict.failures, 0)
  return { ...report, files: [...(path === undefined ? [] : [path]), ...report.files], broken: sentences, failures }
}

interface Context {
  recorder: BoxRecorder
  plan: BoxPlan
  stop: AbortSignal
  onEvent: (event: BoxProgress) => void
}

/** A server of a run, and the one of the control run that tells what it needs. */
interface Planned {
  server: ServerPlan
  control: string | null
  /** Of a control: the server that it is one of. */
  whole?: ServerPlan
}

/**
 * The variants of these names, or all, if this machine can hold their clients.
 *
 * @throws RecordError for a name that the file does not have; BoxFileError for what cannot be on this machine
 */
export function variantsFor({ variants }: BoxPlan, names?: readonly string[]): Variant[] {
  for (const { servers } of variants) {
    checkClients(servers)
    checkFolders(servers)
  }
  if (names === undefined || names.length === 0) return variants
  const unknown = names.find((name) => !variants.some((variant) => variant.name === name))
  if (unknown !== undefined) {
    const known = variants.map(({ name }) => name).join(', ')
    throw new RecordError(
      `there is no variant ${JSON.stringify(unknown)}: the file has ${known}`,
      'ERR_INVALID_ARG_VALUE'
    )
  }
  return variants.filter(({ name }) => names.includes(name))
}

/** One of each kind: servers that differ in their names and times need the same. */
function controls({ servers }: Variant): Planned[] {
  const kinds = new Map<string, Planned>()
  for (const server of servers) {
    const kind = kindOf(server)
    if (kind === null || kinds.has(kind)) continue
    const { shape } = server
    if (shape.shape !== 'pulse') continue
    const { small, linger, seed, smallSeparation, bigSeparation } = shape
    const calm: Shape = {
      shape: 'pulse',
      offset: 0,
      jitter: 0,
      seed,
      big: 0,
      iterations: 0,
      bigSeparation,
      small,
      linger,
      pulses: CONTROL_PULSES,
      smallSeparation: Math.min(smallSeparation, CONTROL_SEPARATION)
    }
    kinds.set(kind, { server: { ...server, shape: calm }, control: null, whole: server })
  }
  return [...kinds.values()]
}

function mains({ servers }: Variant, control: readonly Planned[]): Planned[] {
  const kinds = new Map(control.map(({ server }) => [kindOf(server), server.name]))
  return servers.map((server) => ({ server, control: kinds.get(kindOf(server)) ?? null }))
}

/** What a control of it is a control of; null: none is of use. */
function kindOf({ command, cwd, env, governed, connect, shape }: ServerPlan): string | null {
  if (shape.shape !== 'pulse' || shape.small === 0 || shape.pulses === 0) return null
  return JSON.stringify([command, cwd, env, governed, connect, shape.small, shape.linger])
}

/** All servers at once: started, recorded, loaded, stopped. */
async function run(
  context: Context,
  variant: string,
  role: 'main' | 'control',
  planned: readonly Planned[],
  limit: number | null
): Promise<void> {
  const { recorder, plan, stop, onEvent } = context
  stop.throwIfAborted()
  const until = role === 'main' ? plan.duration : Math.max(...planned.map(({ server }) => endOf(server.shape)))
  onEvent({ event: 'run', variant, role, servers: planned.length, duration: until })
  const group = limit === null ? undefined : new MemoryGroup(limit)
  recorder.run(variant, role, group, limit ?? undefined)
  const ports = await freePorts(planned.length)
  const starting = planned.map(({ server, control }, i): Starting => {
    const { name, governed, shape } = server
    const id = recorder.server({ name, governed, load: loadOf(shape), control })
    const over = new AbortController()
    return { id, server, over, freePort: ports[i] as number, look: LOOK * planned.length, member: group?.member() }
  })
  const started: Started[] = []
  const crowds: OwnCrowd[] = []
  const quiet = watch(context, starting)
  try {
    await allOf(
      starting.map(async (one) => {
        const running = await startOne(context, one)
        if (running !== null) started.push(running)
      })
    )
    stop.throwIfAborted()
    for (const { server, pid, host } of started) {
      const { whole = server } = planned.find((one) => one.server === server) ?? {}
      checkServer(whole, { pid, host })
    }
    // Before the run begins: on a busy machine a process may take a second to be there, and a pulse would come so much later.
    await allOf(
      started.map(async (one, i) => {
        crowds[i] = await crowdFor(one)
      })
    )
    await pause(plan.rest, stop)
    for (const one of started) {
      noteWorkers(context, one)
      // Each looks at all processes of the machine: the sampler has its turn in between.
      await pause(1, stop)
    }
    const start = performance.now()
    await Promise.all(started.map((one, i) => load(context, one, crowds[i] as OwnCrowd, start, until)))
    await pause(TAIL, stop)
  } finally {
    recorder.endRun()
    quiet()
    try {
      await allOf([...crowds.map((crowd) => crowd.dispose()), ...started.map(({ launched }) => launched.stop())])
    } finally {
      await group?.remove()
    }
  }
  stop.throwIfAborted()
}

/** As `Promise.all()`, but nothing goes on any more when it rejects: what is still being started then would be left behind. */
async function allOf(promises: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(promises)
  await Promise.all(promises)
}

/** A server that is about to be started. */
interface Starting {
  id: number
  server: ServerPlan
  /** Given when it has ended. */
  over: AbortController
  freePort: number
  /** ms */
  look: number
  member: Member | undefined
}

interface Started extends Starting {
  pid: number
  host: string
  port: number
  launched: Launched
}

/** Passes on what the recorder sees of the servers of a run. Returns what ends that. */
function watch({ recorder, onEvent }: Context, starting: readonly Starting[]): () => void {
  const begun = performance.now()
  const nameOf = (id: number): string => starting.find((one) => one.id === id)?.server.name ?? ''
  const tick = ({ anonymous, servers }: { anonymous: number; servers: number }): void =>
    onEvent({ event: 'tick', t: performance.now() - begun, anonymous, servers })
  const note = (id: number, text: string): void => onEvent({ event: 'note', server: nameOf(id), text })
  const ended = (id: number, exit: Exit | null, oom: boolean): void => {
    starting.find((one) => one.id === id)?.over.abort()
    const how = oom ? 'killed for memory' : `ended (${exit?.signal ?? `exit code ${exit?.exitCode ?? 'not known'}`})`
    onEvent({ event: 'ended', server: nameOf(id), how })
  }
  recorder.on('tick', tick).on('note', note).on('ended', ended)
  return () => recorder.off('tick', tick).off('note', note).off('ended', ended)
}

/** Null: it never listened, which is in the recording. */
async function startOne({ recorder, stop, onEvent }: Context, starting: Starting): Promise<Started | null> {
  const { id, server, freePort, look, member } = starting
  const { name, command, cwd, startWithin, governed } = server
  let launched: Launched | null = null
  try {
    const running = await start(command, {
      signal: stop,
      cwd,
      look,
      hasTree: false,
      within: startWithin,
      env: environmentOf(server),
      port: server.port ?? freePort,
      fixed: server.port !== null,
      ...(member !== undefined && { cgroup: member.procs })
    })
    launched = running.launched as Launched
    const { pid, port, host } = running
    const description = await describe(pid)
    // That may have taken a while, and the run may be over.
    stop.throwIfAborted()
    recorder.listening(id, { pid, port, description, launched, ...(member !== undefined && { member }) })
    onEvent({ event: 'listening', server: name, pid, port })
    if (governed && description.runtime?.name !== 'node') {
      const text = 'governed has no effect: it does not run on Node'
      recorder.mark(id, { event: 'note', text })
      onEvent({ event: 'note', server: name, text })
    }
    return { ...starting, pid, host, port, launched }
  } catch (error) {
    await launched?.stop()
    stop.throwIfAborted()
    const text = messageOf(error)
    recorder.unable(id, text, (member?.oomKills() ?? 0) > 0)
    onEvent({ event: 'failed', server: name, text })
    return null
  }
}

/** Of workers that began to listen later: what they hold is in no figure. */
function noteWorkers({ recorder, onEvent }: Context, { id, server, port, launched }: Started): void {
  try {
    checkAlone({ port, launched }, false)
  } catch (error) {
    if (!(error instanceof RecordError)) throw error
    const note = oneOfSeveral(error.message)
    recorder.mark(id, note)
    onEvent({ event: 'note', server: server.name, text: note.text })
  }
}

/** `--import` of the governor, for whatever Node process the command starts. */
function environmentOf({ env, governed }: ServerPlan): Record<string, string> {
  if (!governed) return { ...env }
  // The governor's lines join the recording.
  const auto = pathToFileURL(createRequire(import.meta.url).resolve('ebb/auto')).href
  const options = `${env.NODE_OPTIONS ?? process.env.NODE_OPTIONS ?? ''} --import=${auto}`.trim()
  return { EBB_LOG: '1', ...env, NODE_OPTIONS: options }
}

/** In processes of their own: a thousand connects in a burst do not keep the sampler waiting. */
function crowdFor({ server: { connect, shape }, host, port }: Started): Promise<OwnCrowd> {
  const options = { address: { host, port }, sources: [], ...clientOptions(connect), part: { index: 0, of: 1 } }
  return crowdOf(options, processesFor(maxConnections(shape)), true)
}

async function load(context: Context, one: Started, crowd: OwnCrowd, start: number, until: number): Promise<void> {
  const { recorder, stop, onEvent } = context
  const { id, server, over } = one
  const { name, shape } = server
  const report = await drive(crowd, shape, {
    start,
    until,
    signal: AbortSignal.any([stop, over.signal]),
    onEvent: (event) => {
      mark(recorder, id, event)
      onEvent({ event: 'load', server: name, load: event })
    }
  })
  const unanswered = total(report.unanswered)
  if (unanswered === 0) return
  const note = answersMissing(unanswered)
  recorder.mark(id, note)
  onEvent({ event: 'note', server: name, text: note.text })
}

function mark(recorder: BoxRecorder, id: number, event: DriveEvent): void {
  switch (event.event) {
    case 'level': {
      const { connections, open, opened, lost } = event
      const [connected, failed] = [opened?.connected ?? 0, total(opened?.failed ?? {})]
      recorder.mark(id, { event: 'level', connections, open, connected, failed, lost: total(lost) })
      break
    }
    case 'pulse': {
      const { index, size, n } = event.pulse
      recorder.mark(id, { event: 'pulse', index, size, n })
      break
    }
    case 'connected': {
      const { connected, failed } = event.opened
      recorder.mark(id, { event: 'connected', index: event.pulse.index, connected, failed: total(failed) })
      break
    }
    case 'closing':
      recorder.mark(id, { event: 'closing', index: event.pulse.index })
      break
    case 'closed':
      recorder.mark(id, { event: 'closed', index: event.pulse.index, lost: total(event.lost) })
  }
}

/** A load in words. */
export function loadOf(shape: Shape): string {
  const from = shape.offset === 0 ? '' : `, from ${shape.offset / 1000} s on`
  const s = (ms: number): string => (ms === Number.POSITIVE_INFINITY ? '' : ` for ${ms / 1000} s`)
  switch (shape.shape) {
    case 'pulse': {
      const times = (n: number): string =>
        n === Number.POSITIVE_INFINITY ? ' again and again' : n === 1 ? '' : ` x ${n}`
      const parts = [
        shape.big > 0 && shape.iterations > 0 ? `${integer(shape.big)}${times(shape.iterations)}` : '',
        shape.small > 0 && shape.pulses > 0 ? `${integer(shape.small)}${times(shape.pulses)}` : ''
      ]
      return `pulses of ${parts.filter((part) => part !== '').join(', then ')}${from}`
    }
    case 'steady':
      return `${integer(shape.connections)} connections${s(shape.duration)}${from}`
    case 'sawtooth':
      return `a sawtooth from ${short(shape.low)} to ${short(shape.high)} every ${shape.period / 1000} s${s(shape.duration)}${from}`
    case 'poisson':
      return `${shape.rate} connects a second at random, held for ${shape.hold / 1000} s on average${s(shape.duration)}${from}`
    case 'trace':
      return `the trace ${shape.file}${from}`
  }
}

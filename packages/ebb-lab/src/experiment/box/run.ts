/** One run of a box: starts all servers of a variant at once, records them, loads them, and ends them. */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { describe } from '../../process/describe.js'
import type { Exit, Launched } from '../../process/launch.js'
import { type Member, MemoryGroup } from '../../process/memory-group.js'
import { freePorts } from '../../process/ports.js'
import { checkAlone, start } from '../../process/target.js'
import { total } from '../../pulse/causes.js'
import { type Crowd, processesFor } from '../../pulse/crowd.js'
import { type DriveEvent, drive } from '../../pulse/drive.js'
import { crowdOf } from '../../pulse/own-crowd.js'
import { pause } from '../../pulse/pause.js'
import { clientOptions } from '../../pulse/pulse.js'
import { endOf, maxConnections } from '../../pulse/shapes.js'
import { spokenAt, targetAt } from '../../pulse/target.js'
import type { BoxRecorder } from '../../record/box/recorder.js'
import type { BoxRecording } from '../../record/box/recording.js'
import { answersMissing, governedIgnored, type NoteMark, oneOfSeveral } from '../../record/notes.js'
import { defined } from '../../units/defined.js'
import { messageOf, RecordError } from '../../units/errors.js'
import { checkServer } from './capacity.js'
import { describeLoad, recordLoad } from './load.js'
import type { BoxPlan, ServerPlan } from './plan.js'
import type { Planned } from './variants.js'

/** The progress of a box. Times are milliseconds, sizes are bytes. */
export type BoxProgress =
  /** A run begins. It takes `duration` once all servers listen. `box` is the recording of all runs, which grows. */
  | {
      event: 'run'
      variant: string
      role: 'main' | 'control'
      /** Which of several runs of the box it is, counted from 1. Only if there are several. */
      repeat?: { index: number; of: number }
      servers: number
      duration: number
      box: BoxRecording
    }
  /** A server listens. */
  | { event: 'listening'; server: string; pid: number; port: number }
  /** A server could not be started, or did not listen in time. */
  | { event: 'failed'; server: string; text: string }
  /** A server ended. `how` is text for people: `ended (exit code 7)`. */
  | { event: 'ended'; server: string; how: string }
  /** A remark about a server. `code` tells programs what it is; undefined if the note has none. */
  | { event: 'note'; server: string; code?: string | undefined; text: string }
  /** An event of a server's load. */
  | { event: 'load'; server: string; load: DriveEvent }
  /** A sample of all servers together, `t` after the run began. */
  | { event: 'tick'; t: number; anonymous: number; servers: number }

/** What all runs of a box share. */
export interface RunContext {
  recorder: BoxRecorder
  plan: BoxPlan
  /** Aborted when the caller stops the box, or the recording cannot be written. */
  stop: AbortSignal
  onEvent: (event: BoxProgress) => void
  /** Which of several runs of the box it is. */
  repeat?: { index: number; of: number } | undefined
}

/** A server that is about to be started. */
interface Starting {
  /** Its number in the recording. */
  id: number
  server: ServerPlan
  /** Aborted when the server has ended. */
  ended: AbortController
  /** Port to use if the server has no fixed one. */
  freePort: number
  /** Interval between checks whether the server listens, ms. */
  checkInterval: number
  member: Member | undefined
}

/** A server that listens. */
interface Started extends Starting {
  pid: number
  host: string
  port: number
  launched: Launched
}

/** Recording time after the last close, ms, so that the recording shows how the servers react to it. */
const TAIL = 1000
/**
 * Interval between checks whether a server listens, ms, times the number of servers: each check reads all processes.
 */
const CHECK_INTERVAL = 25

/**
 * Runs the servers of a variant, or of its control.
 *
 * @param limit size of a memory cgroup for all servers, bytes; null: none
 * @throws BoxFileError if a server cannot hold the connections of its plan; the reason of `context.stop`
 */
export async function run(
  context: RunContext,
  variant: string,
  role: 'main' | 'control',
  planned: readonly Planned[],
  limit: number | null
): Promise<void> {
  const { recorder, plan, stop, onEvent, repeat } = context
  stop.throwIfAborted()
  const duration = role === 'main' ? plan.duration : Math.max(...planned.map(({ server }) => endOf(server.shape)))
  onEvent({ event: 'run', variant, role, ...defined({ repeat }), servers: planned.length, duration, box: recorder.box })
  const group = limit === null ? undefined : new MemoryGroup(limit)
  recorder.run(variant, role, group, limit ?? undefined)
  const starting = await prepare(context, planned, group)
  const started: Started[] = []
  const crowds: Crowd[] = []
  const unwatch = watch(context, starting)
  try {
    await allSettled(
      starting.map(async (one) => {
        const running = await startOne(context, one)
        if (running !== null) started.push(running)
      })
    )
    stop.throwIfAborted()
    for (const { server, pid, host } of started) {
      const { original = server } = planned.find((one) => one.server === server) ?? {}
      checkServer(original, { pid, host })
    }
    // The clients start before the run begins: on a busy machine a process takes up to 1 s, which would delay the first
    // pulse.
    await allSettled(
      started.map(async (one, i) => {
        crowds[i] = await crowdFor(one)
      })
    )
    await pause(plan.rest, stop)
    await noteAllWorkers(context, started)
    const begin = performance.now()
    await Promise.all(started.map((one, i) => load(context, one, crowds[i] as Crowd, begin, duration)))
    await pause(TAIL, stop)
  } finally {
    recorder.endRun()
    unwatch()
    try {
      await allSettled([...crowds.map((crowd) => crowd.dispose()), ...started.map(({ launched }) => launched.stop())])
    } finally {
      await group?.remove()
    }
  }
  stop.throwIfAborted()
}

/** Enters the servers of a run into the recording, and finds a free port for each. */
async function prepare(
  { recorder }: RunContext,
  planned: readonly Planned[],
  group: MemoryGroup | undefined
): Promise<Starting[]> {
  const ports = await freePorts(planned.length)
  return planned.map(({ server, control }, i) => {
    const { name, governed, shape, connect } = server
    const spoken = defined({ protocol: spokenAt(connect.url) })
    return {
      id: recorder.server({ name, governed, load: describeLoad(shape), control, ...spoken }),
      server,
      ended: new AbortController(),
      freePort: ports[i] as number,
      checkInterval: CHECK_INTERVAL * planned.length,
      member: group?.member()
    }
  })
}

/**
 * Waits for all promises, then rejects if one did: with `Promise.all()`, a server that is still starting would be left
 * behind.
 */
async function allSettled(promises: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(promises)
  await Promise.all(promises)
}

/** Passes on what the recorder sees of the servers of a run. Returns a function that stops it. */
function watch({ recorder, onEvent }: RunContext, starting: readonly Starting[]): () => void {
  const begin = performance.now()
  const nameOf = (id: number): string => starting.find((one) => one.id === id)?.server.name ?? ''
  const tick = ({ anonymous, servers }: { anonymous: number; servers: number }): void =>
    onEvent({ event: 'tick', t: performance.now() - begin, anonymous, servers })
  const note = (id: number, { code, text }: NoteMark): void =>
    onEvent({ event: 'note', server: nameOf(id), code, text })
  const ended = (id: number, exit: Exit | null, oom: boolean): void => {
    starting.find((one) => one.id === id)?.ended.abort()
    const how = oom ? 'killed for memory' : `ended (${exit?.signal ?? `exit code ${exit?.exitCode ?? 'not known'}`})`
    onEvent({ event: 'ended', server: nameOf(id), how })
  }
  recorder.on('tick', tick).on('note', note).on('ended', ended)
  return () => recorder.off('tick', tick).off('note', note).off('ended', ended)
}

/** Starts a server and waits until it listens. Returns null if it does not; the recording says why. */
async function startOne(context: RunContext, starting: Starting): Promise<Started | null> {
  const { recorder, stop, onEvent } = context
  const { id, server, freePort, checkInterval, member } = starting
  const { name, command, cwd, startWithin } = server
  let launched: Launched | null = null
  try {
    const running = await start(command, {
      signal: stop,
      cwd,
      look: checkInterval,
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
    // Describing the process may take a while, during which the run may have been stopped.
    stop.throwIfAborted()
    recorder.listening(id, { pid, port, description, launched, ...(member !== undefined && { member }) })
    onEvent({ event: 'listening', server: name, pid, port })
    if (server.governed && description.runtime?.name !== 'node') {
      note(context, starting, governedIgnored())
    }
    return { ...starting, pid, host, port, launched }
  } catch (error) {
    await launched?.stop()
    stop.throwIfAborted()
    const text = messageOf(error)
    recorder.didNotListen(id, text, (member?.oomKills() ?? 0) > 0)
    onEvent({ event: 'failed', server: name, text })
    return null
  }
}

/** Returns the environment of a server. If it is governed, every Node process of its command imports `ebb/auto`. */
function environmentOf({ env, governed }: ServerPlan): Record<string, string> {
  if (!governed) return { ...env }
  const auto = pathToFileURL(createRequire(import.meta.url).resolve('ebb/auto')).href
  const options = `${env.NODE_OPTIONS ?? process.env.NODE_OPTIONS ?? ''} --import=${auto}`.trim()
  // With EBB_LOG, the governor's log lines become part of the recording.
  return { EBB_LOG: '1', ...env, NODE_OPTIONS: options }
}

/** Notes the servers whose workers began to listen after the first one: their memory is not recorded. */
async function noteAllWorkers(context: RunContext, started: readonly Started[]): Promise<void> {
  for (const one of started) {
    noteWorkers(context, one)
    // Each check reads all processes of the machine, so the sampler gets a turn after it.
    await pause(1, context.stop)
  }
}

function noteWorkers(context: RunContext, started: Started): void {
  try {
    checkAlone(started, false)
  } catch (error) {
    if (!(error instanceof RecordError)) throw error
    note(context, started, oneOfSeveral(error.message))
  }
}

/** Writes a remark about a server into the recording, and passes it on. */
function note({ recorder, onEvent }: RunContext, { id, server }: Starting, note: NoteMark): void {
  recorder.mark(id, note)
  onEvent({ event: 'note', server: server.name, code: note.code, text: note.text })
}

/** Starts the client processes of a server. In this process, a burst of a thousand connects would delay the sampler. */
function crowdFor({ server: { connect, shape }, host, port }: Started): Promise<Crowd> {
  const address = { host, port }
  const options = {
    address,
    sources: [],
    ...clientOptions(targetAt(connect.url, address), connect),
    part: { index: 0, of: 1 }
  }
  return crowdOf(options, processesFor(maxConnections(shape)), true)
}

/** Applies a server's load until the run or the server ends. `begin` is a time of `performance.now()`. */
async function load(
  context: RunContext,
  started: Started,
  crowd: Crowd,
  begin: number,
  duration: number
): Promise<void> {
  const { recorder, stop, onEvent } = context
  const { id, server, ended } = started
  const report = await drive(crowd, server.shape, {
    start: begin,
    until: duration,
    ...(server.connect.rate !== undefined && { rate: server.connect.rate }),
    ...(server.connect.churn !== undefined && { churn: server.connect.churn }),
    signal: AbortSignal.any([stop, ended.signal]),
    onEvent: (event) => {
      recordLoad(recorder, id, event)
      onEvent({ event: 'load', server: server.name, load: event })
    }
  })
  const unanswered = total(report.unanswered)
  if (unanswered > 0) note(context, started, answersMissing(unanswered))
}

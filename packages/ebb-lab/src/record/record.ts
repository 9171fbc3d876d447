/** `record()`: starts the recording of a server. */
import { setTimeout as wait } from 'node:timers/promises'
import { ProcessError } from 'ebb/memory'
import { checkObject, warnOfUnknown } from 'ebb/sys'
import { describe } from '../process/describe.js'
import { type Exit, type Launched, launch, startedBy } from '../process/launch.js'
import { findListener, findRoot, listeningAmong } from '../process/listener.js'
import { quoteLines, quoteOutput } from '../process/output.js'
import { checkExists, serverOf } from '../process/target.js'
import { RecordError } from '../units/errors.js'
import { warnOfShortTimes } from '../units/short-times.js'
import { Recorder, type RecorderOptions } from './recorder.js'

/** Options of {@link record}. Exactly one of `pid`, `port` and `command` must be given. */
export interface RecordOptions extends RecorderOptions {
  /** The process to record. For a shell or a package manager: the only process below it that listens on TCP. */
  pid?: number
  /** TCP port of the process to record. With `tree`, the nearest common ancestor of all processes that listen on it. */
  port?: number
  /**
   * Program and arguments to start, without a shell, and to stop with the recording. If a process that the command
   * started listens on TCP, that process is recorded: the server behind a shell, npm or a process manager.
   */
  command?: readonly string[]
  /** Prints the output of the command as well. Default: false. */
  forward?: boolean
  /** Working directory of the command. Default: this process's own. */
  cwd?: string
  /** The whole environment of the command. Default: this process's own. */
  env?: NodeJS.ProcessEnv
}

const NAMES = Object.keys({
  ...{ pid: 0, port: 0, command: 0, forward: 0, cwd: 0, env: 0, name: 0, role: 0, run: 0, protocol: 0, out: 0 },
  ...{ keep: 0, tree: 0, statusEvery: 0, smapsEvery: 0, duration: 0, expvar: 0, signal: 0, exited: 0 }
} satisfies Record<keyof RecordOptions, 0>)

/**
 * Starts to record a process and resolves with a running {@link Recorder}. Await its `done`, or call its `stop()`.
 *
 * @throws ProcessError if the process cannot be read
 * @throws RecordError if not exactly one process listens on the port (`ESRCH`, `EEXIST`, `EACCES`), the command
 *   cannot be started or ended at once, `out` cannot be written, or an option is invalid
 *   (`ERR_INVALID_ARG_VALUE`, `ERR_INVALID_URL`)
 *
 * @example
 * const recorder = await record({ port: 3033, out: 'server.ndjson', keep: true, duration: 10_000 })
 * recorder.on('sample', (sample) => console.log(sample.anonymous))
 * const recording = await recorder.done
 */
export async function record(options: RecordOptions): Promise<Recorder> {
  checkObject(options, 'options of record(), such as { port: 8080 },')
  warnOfUnknown(options, NAMES, 'record()')
  warnOfShortTimes({ duration: options.duration })
  return await startRecording(options)
}

/** Does what {@link record} does, for callers whose times have units: it warns of no short time. */
export async function startRecording(options: RecordOptions): Promise<Recorder> {
  options.signal?.throwIfAborted()
  const { pid, port, command } = options
  if ([pid, port, command].filter((choice) => choice !== undefined).length !== 1) {
    throw new RecordError('nothing to record: give exactly one of pid, port and command', 'ERR_INVALID_ARG_VALUE')
  }
  if (command !== undefined) return recordCommand(command, options)
  if (pid !== undefined) {
    checkExists(pid)
    return recordPid(options.tree ? pid : serverOf(pid), options)
  }
  return recordPid((options.tree ? findRoot : findListener)(port as number), options)
}

async function recordPid(pid: number, options: RecordOptions): Promise<Recorder> {
  return new Recorder(pid, await describe(pid), options)
}

async function recordCommand(command: readonly string[], options: RecordOptions): Promise<Recorder> {
  const launched = await launch(command, options)
  let recorder: Recorder
  try {
    recorder = new Recorder(launched.pid, await describe(launched.pid), options, launched, true)
  } catch (error) {
    const daemon = isGone(error) ? await daemonOf(launched) : null
    if (daemon === null) throw await startError(command, launched, error)
    return new Recorder(daemon, await describe(daemon), options, launched)
  }
  if (options.forward) {
    launched.stdout.pipe(process.stdout, { end: false })
    launched.stderr.pipe(process.stderr, { end: false })
  }
  const found = findProcess(command, recorder, launched, options)
  found.catch(() => {})
  const late = wait(RESOLVES_WITHIN, 'late', { ref: false })
  try {
    if ((await Promise.race([found, late])) === 'late') found.catch((error: unknown) => void recorder.fail(error))
  } catch (error) {
    await recorder.fail(error)
    await recorder.done.catch(() => {})
    throw error
  }
  return recorder
}

/** Time after which `record()` resolves even if it is not yet known which process to record, ms. */
const RESOLVES_WITHIN = 2500

/** Finds out which process to record, makes the recorder record that one, and lets it write. */
async function findProcess(
  command: readonly string[],
  recorder: Recorder,
  launched: Launched,
  options: RecordOptions
): Promise<void> {
  const pid = options.tree ? null : await listenerOf(launched, options.duration, () => recorder.isEnding)
  if (pid !== null && pid !== launched.pid) recorder.moveTo(pid, await describe(pid))
  await checkLasted(command, recorder, launched)
  void recorder.open()
}

/** Interval between two checks whether a command listens, ms. */
const CHECK_INTERVAL = 25
/** Time after which a command that has started no other process is taken for the one to record, ms. */
const ALONE_AFTER = 2000
/** Time after which a command that has started other processes is taken for the one to record, ms. */
const LISTENS_WITHIN = 30_000
/** The same for a recording that is to be short, ms: npm may take seconds to start a server. */
const SHORTEST_WAIT = 10_000

/**
 * Waits until a process that the command has started listens on TCP, and returns its pid: a shell, npm or a process
 * manager may stand in front of it. Returns null if none listens in time.
 *
 * @throws RecordError (`EEXIST`) if several processes listen, none of which is the command
 */
async function listenerOf(
  launched: Launched,
  duration: number | undefined,
  hasEnded: () => boolean
): Promise<number | null> {
  const start = performance.now()
  const within = Math.min(LISTENS_WITHIN, Math.max(SHORTEST_WAIT, duration ?? LISTENS_WITHIN))
  while (!hasEnded()) {
    const family = startedBy(launched)
    const pids = [...new Set(listeningAmong(family.map(({ pid }) => pid)).map(({ pid }) => pid))]
    const [pid, ...others] = pids
    if (pids.includes(launched.pid)) return launched.pid
    if (others.length > 0) {
      throw new RecordError(
        `${pids.length} processes of the command listen: ${pids.join(', ')}; start the server with one worker, ` +
          'or add --tree for their sum',
        'EEXIST'
      )
    }
    if (pid !== undefined) return pid
    const isAlone = family.every((member) => member.pid === launched.pid)
    const waited = performance.now() - start
    if (family.length === 0 || waited > (isAlone ? ALONE_AFTER : within)) return null
    await wait(CHECK_INTERVAL)
  }
  return null
}

/** Returns the process that a command has left behind, once it listens; null if there is none. */
async function daemonOf(launched: Launched): Promise<number | null> {
  try {
    return await listenerOf(launched, undefined, () => false)
  } catch (error) {
    await launched.stop()
    throw error
  }
}

/** A command whose last sample comes before this time, ms, has ended at once: there is nothing to judge. */
const AT_ONCE = 200

/**
 * Checks a command that has ended before it listened.
 *
 * @throws RecordError (`ESRCH`) if it ended at once; the message has its exit code and its output
 */
async function checkLasted(command: readonly string[], recorder: Recorder, launched: Launched): Promise<void> {
  if (recorder.isEnding || recorder.pid !== launched.pid || startedBy(launched).length > 0) return
  const exit = await launched.exited
  if ((recorder.held.findLast(({ type }) => type === 'sample')?.t ?? 0) >= AT_ONCE) return
  const texts = recorder.held.flatMap((line) => (line.type === 'event' && line.event === 'line' ? line.text : []))
  throw endedAtOnce(command, exit, quoteLines(texts))
}

/** @param said what the command printed, as {@link quoteOutput} returns it */
function endedAtOnce(command: readonly string[], { exitCode, signal }: Exit, said: string, cause?: unknown): Error {
  const how = signal ?? `exit code ${exitCode}`
  return new RecordError(`${command.join(' ')} ended at once (${how})${said}`, 'ESRCH', 'spawn', cause)
}

/** Returns the error to throw. If the command ended before it could be inspected, the error quotes its output. */
async function startError(command: readonly string[], launched: Launched, error: unknown): Promise<unknown> {
  const output: Buffer[] = []
  for (const stream of [launched.stdout, launched.stderr]) {
    stream.on('data', (chunk: Buffer) => output.length < 16 && output.push(chunk))
    stream.on('error', () => {})
  }
  const exit = await launched.stop()
  return isGone(error) ? endedAtOnce(command, exit, quoteOutput(output), error) : error
}

function isGone(error: unknown): boolean {
  return error instanceof ProcessError && (error.gone || error.fault === 'missing')
}

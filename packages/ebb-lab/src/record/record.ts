/** `record()`: starts the recording of a server. */
import { ProcessError } from 'ebb/memory'
import { describe } from '../process/describe.js'
import { type Launched, launch } from '../process/launch.js'
import { findListener, findRoot } from '../process/listener.js'
import { quoteOutput } from '../process/output.js'
import { RecordError } from '../units/errors.js'
import { Recorder, type RecorderOptions } from './recorder.js'

/** Options of {@link record}. Exactly one of `pid`, `port` and `command` must be given. */
export interface RecordOptions extends RecorderOptions {
  /** The process to record. */
  pid?: number
  /** TCP port of the process to record. With `tree`, the nearest common ancestor of all processes that listen on it. */
  port?: number
  /** Program and arguments to start, without a shell, and to stop with the recording. */
  command?: readonly string[]
  /** Prints the output of the command as well. Default: false. */
  forward?: boolean
  /** Working directory of the command. Default: this process's own. */
  cwd?: string
  /** The whole environment of the command. Default: this process's own. */
  env?: NodeJS.ProcessEnv
}

/**
 * Starts to record a process and resolves with a running {@link Recorder}. Await its `done`, or call its `stop()`.
 *
 * @throws ProcessError if the process cannot be read
 * @throws RecordError if not exactly one process listens on the port (`ESRCH`, `EEXIST`, `EACCES`), the command
 *   cannot be started, `out` cannot be written, or an option is invalid (`ERR_INVALID_ARG_VALUE`, `ERR_INVALID_URL`)
 *
 * @example
 * const recorder = await record({ port: 3033, out: 'server.ndjson', keep: true, duration: 10_000 })
 * recorder.on('sample', (sample) => console.log(sample.anonymous))
 * const recording = await recorder.done
 */
export async function record(options: RecordOptions): Promise<Recorder> {
  options.signal?.throwIfAborted()
  const { pid, port, command } = options
  if ([pid, port, command].filter((choice) => choice !== undefined).length !== 1) {
    throw new RecordError('nothing to record: give exactly one of pid, port and command', 'ERR_INVALID_ARG_VALUE')
  }
  if (command !== undefined) return recordCommand(command, options)
  const find = options.tree ? findRoot : findListener
  return recordPid(pid ?? find(port as number), options)
}

async function recordPid(pid: number, options: RecordOptions): Promise<Recorder> {
  return new Recorder(pid, await describe(pid), options)
}

async function recordCommand(command: readonly string[], options: RecordOptions): Promise<Recorder> {
  const launched = await launch(command, options)
  let recorder: Recorder
  try {
    recorder = new Recorder(launched.pid, await describe(launched.pid), options, launched)
  } catch (error) {
    throw await startError(command, launched, error)
  }
  if (options.forward) {
    launched.stdout.pipe(process.stdout, { end: false })
    launched.stderr.pipe(process.stderr, { end: false })
  }
  return recorder
}

/** Returns the error to throw. If the command ended before it could be inspected, the error quotes its output. */
async function startError(command: readonly string[], launched: Launched, error: unknown): Promise<unknown> {
  const output: Buffer[] = []
  for (const stream of [launched.stdout, launched.stderr]) {
    stream.on('data', (chunk: Buffer) => output.length < 16 && output.push(chunk))
    stream.on('error', () => {})
  }
  const gone = error instanceof ProcessError && (error.gone || error.fault === 'missing')
  const { exitCode, signal } = await launched.stop()
  if (!gone) return error
  const how = signal === null ? `exit code ${exitCode}` : signal
  const message = `${command.join(' ')} ended at once (${how})${quoteOutput(output)}`
  return new RecordError(message, 'ESRCH', 'spawn', error)
}

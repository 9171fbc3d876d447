import { ProcessError } from 'ebb/memory'
import { describe } from '../process/describe.js'
import { type Launched, launch } from '../process/launch.js'
import { findListener, findRoot } from '../process/listener.js'
import { quoteOutput } from '../process/output.js'
import { RecordError } from '../units/errors.js'
import { Recorder, type RecorderOptions } from './recorder.js'

/** Whom to record: exactly one of `pid`, `port` and `command`. */
export interface RecordOptions extends RecorderOptions {
  pid?: number
  /** The process that listens on this TCP port; of several, with `tree`, the nearest that started all of them. */
  port?: number
  /** A program and its arguments, started without a shell and stopped with the recording. */
  command?: readonly string[]
  /** Print what the command prints as well. Default: false. */
  forward?: boolean
  /** Of the command. */
  cwd?: string
  env?: NodeJS.ProcessEnv
}

/**
 * Starts to record a process. The answer is a running {@link Recorder}; wait for its `done`, or call `stop()`.
 *
 * Throws before anything is recorded: `ProcessError` for a process that cannot be read, `RecordError` for a port
 * without one process behind it, a command that cannot be started, or a file that cannot be written.
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
    throw new RecordError('whom to record? give one of pid, port and command', 'ERR_INVALID_ARG_VALUE')
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

/** A command that ends at once is gone before it can be looked at: its own words say why. */
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

/** Starts a command, waits until its memory is still, and examines it. */
import { setTimeout as wait } from 'node:timers/promises'
import { ProcessView } from 'ebb/memory'
import { type Exit, type Launched, launch, startedBy } from '../process/launch.js'
import { keepStartupOutput, readOutput } from '../process/output.js'
import { DoctorError } from '../units/errors.js'
import { anonymousOf } from './anonymous.js'
import { type DiagnoseOptions, diagnose } from './diagnose.js'
import type { Diagnosis } from './diagnosis.js'

/** Options of {@link examineCommand}. */
export interface CommandOptions extends DiagnoseOptions {
  /** Called with the diagnosis, while the command still runs. */
  report: (found: Diagnosis) => void
  /** Called with what the command prints. */
  output: (chunk: Buffer) => void
  /** Returns the signal that aborted `signal`, to pass on to the command. Default: `SIGTERM`. */
  passOn?: () => NodeJS.Signals | undefined
}

/** Interval between two looks at the memory, ms. */
const LOOK_EVERY = 250
/** Looks in a row between which the memory stays the same, which is 2 s. */
const STILL_LOOKS = 8
/** Change that counts as still: this share of the memory, and this many bytes. */
const STILL_SHARE = 0.02
const STILL_BYTES = 1e6
/** Longest wait for still memory, ms. */
const LONGEST_WAIT = 60_000
/** Time that the command may take to end after the signal, ms. */
const GRACE = 5000

/**
 * Starts a command and examines the process of it that holds the most memory, once its memory has been still for 2 s,
 * after 60 s, or when `signal` is aborted. Then ends the command.
 *
 * @throws RecordError if the command cannot be started (the errno)
 * @throws DoctorError `ESRCH` if it ends before it was examined; the message quotes its output
 */
export async function examineCommand(command: readonly string[], options: CommandOptions): Promise<Exit> {
  const { report, output, passOn = () => undefined, ...asked } = options
  const { signal } = asked
  const launched = await launch(command)
  const kept = keepStartupOutput([launched.stdout, launched.stderr])
  const stops = [launched.stdout, launched.stderr].map((stream) => readOutput(stream, output))
  const ended = launched.exited.then(({ exitCode, signal: by }) => {
    const how = by ?? `exit code ${exitCode}`
    throw new DoctorError(`${command.join(' ')} ended before it was examined (${how})${kept.quote()}`, 'ESRCH')
  })
  // Handled by the race; the command also ends after it.
  ended.catch(() => {})
  try {
    await Promise.race([ended, stillness(launched, signal)])
    const pid = largestOf(launched) ?? launched.pid
    const found = await Promise.race([ended, diagnose(pid, signal?.aborted ? { ...asked, watch: 0 } : asked)])
    report(found)
    return await end(launched, passOn())
  } catch (error) {
    await launched.stop(GRACE)
    throw error
  } finally {
    for (const stop of stops) stop()
  }
}

/** Waits until the memory of the command is still, or `signal` is aborted. */
async function stillness(launched: Launched, signal?: AbortSignal): Promise<void> {
  const deadline = performance.now() + LONGEST_WAIT
  const looks: number[] = []
  while (performance.now() < deadline && signal?.aborted !== true) {
    looks.push(memoryOf(launched))
    const last = looks.slice(-STILL_LOOKS)
    const [lowest, highest] = [Math.min(...last), Math.max(...last)]
    if (last.length === STILL_LOOKS && highest - lowest <= Math.max(STILL_BYTES, highest * STILL_SHARE)) return
    await wait(LOOK_EVERY, undefined, signal && { signal }).catch(() => {})
  }
}

/** Returns the anonymous memory of everything that the command has started. */
function memoryOf(launched: Launched): number {
  return startedBy(launched).reduce((sum, { pid }) => sum + anonymousOfPid(pid), 0)
}

/** Returns the process of the command that holds the most anonymous memory; undefined if all have ended. */
function largestOf(launched: Launched): number | undefined {
  const [largest] = startedBy(launched)
    .map(({ pid }) => ({ pid, bytes: anonymousOfPid(pid) }))
    .sort((a, b) => b.bytes - a.bytes)
  return largest?.pid
}

function anonymousOfPid(pid: number): number {
  let view: ProcessView
  try {
    view = new ProcessView(pid)
  } catch {
    // It has ended, or belongs to another user.
    return 0
  }
  try {
    return anonymousOf(view)
  } catch {
    return 0
  } finally {
    view.close()
  }
}

/** Ends the command by a signal, and by SIGKILL if that takes too long. */
async function end(launched: Launched, signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
  try {
    process.kill(-launched.pid, signal)
  } catch {
    // It has ended.
  }
  const exit = await Promise.race([launched.exited, wait(GRACE, undefined, { ref: false })])
  // What the command has started may still run.
  return await launched.stop(exit === undefined ? 0 : GRACE)
}

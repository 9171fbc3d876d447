import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { codeOf, RecordError, reasonOf } from './errors.js'

/** How a process ended. Both null: not known. */
export interface Exit {
  exitCode: number | null
  signal: string | null
}

export interface LaunchOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
}

/** A command that was started, with its output to read: unread, it stops the server when the pipe is full. */
export interface Launched {
  readonly pid: number
  readonly stdout: Readable
  readonly stderr: Readable
  /** Settles when the process has ended and its output is read. Never rejects. */
  readonly exited: Promise<Exit>
  /**
   * SIGTERM to it and what it started, and SIGKILL after `grace` ms (default 5,000). Settles when it has ended. Rejects
   * with a {@link RecordError} (`EPERM`) where it may not be stopped: it has become another user's.
   */
  stop(grace?: number): Promise<Exit>
}

/** For output that a process left in its pipes, ms. What it started may hold them open for ever. */
const LAST_OUTPUT = 250

/**
 * Starts a command in a process group of its own, without a shell and without input. It does not outlive this process,
 * unless that is killed. Throws {@link RecordError} when it cannot be started.
 */
export async function launch(command: readonly string[], options: LaunchOptions = {}): Promise<Launched> {
  const [program, ...args] = command
  if (program === undefined || program === '') {
    throw new RecordError('there is no command to start: give a program and its arguments', 'EINVAL', 'spawn')
  }
  const { cwd, env } = options
  let child: ChildProcess
  try {
    // A group of its own, so that what a shell or npm starts can be stopped with it.
    child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...(cwd !== undefined && { cwd }),
      ...(env !== undefined && { env })
    })
    await once(child, 'spawn')
  } catch (error) {
    const reason = codeOf(error) === 'ENOENT' ? 'no such program (ENOENT)' : reasonOf(error)
    throw new RecordError(`cannot start ${program}: ${reason}`, codeOf(error), 'spawn', error)
  }
  const { pid, stdout, stderr } = child
  if (pid === undefined || stdout === null || stderr === null) {
    throw new RecordError(`cannot start ${program}: it has no pid or no output`, 'ECHILD', 'spawn')
  }

  keepUnread(stdout)
  keepUnread(stderr)
  const onExit = () => killGroup(pid, 'SIGKILL')
  process.once('exit', onExit)
  const exited = ended(child, stdout, stderr).finally(() => process.off('exit', onExit))

  return {
    pid,
    stdout,
    stderr,
    exited,
    async stop(grace = 5000) {
      if (!killGroup(pid, 'SIGTERM')) {
        throw new RecordError(`process ${pid} (${program}) may not be stopped by this user`, 'EPERM', 'kill')
      }
      const timer = setTimeout(() => killGroup(pid, 'SIGKILL'), grace)
      const exit = await exited
      clearTimeout(timer)
      return exit
    }
  }
}

/**
 * Node throws away what a process printed when it ends before somebody listens. It does not where somebody waits for
 * `readable`, which gives way to the first listener for `data`.
 */
function keepUnread(output: Readable): void {
  const hold = () => {}
  const giveWay = (event: string | symbol) => {
    if (event !== 'data') return
    output.off('newListener', giveWay)
    output.off('readable', hold)
  }
  output.on('readable', hold)
  output.on('newListener', giveWay)
}

async function ended(child: ChildProcess, stdout: Readable, stderr: Readable): Promise<Exit> {
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const exit = await new Promise<Exit>((resolve) => {
    child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }))
  })
  const timer = setTimeout(() => {
    stdout.destroy()
    stderr.destroy()
  }, LAST_OUTPUT)
  await closed
  clearTimeout(timer)
  return exit
}

/** False where this user may not. A group that has ended is none to kill. */
function killGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal)
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
  return true
}

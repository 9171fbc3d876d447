/** Starts commands so that everything they start can be ended with them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import type { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { isRunning, type ListedProcess, listProcesses, readStat } from 'ebb/memory'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import { forgetGroup, watchGroup } from './reaper.js'

/** How a process ended. If both are null, it is not known. */
export interface Exit {
  exitCode: number | null
  /** Name of the signal that ended it: `SIGKILL`. */
  signal: string | null
}

/** Options of {@link launch}. */
export interface LaunchOptions {
  /** Working directory. Default: this process's own. */
  cwd?: string
  /** The whole environment. Default: this process's own. */
  env?: NodeJS.ProcessEnv
  /** Path of the `cgroup.procs` of a cgroup in which the command runs from its first instruction on. */
  cgroup?: string
}

/** A command that was started. Read its output: a server stops when the pipe is full. */
export interface Launched {
  readonly pid: number
  /** Value of the variable `EBBLAB_RUN` in the environment of the command. */
  readonly run: string
  readonly stdout: Readable
  readonly stderr: Readable
  /** Settles when the process has ended and its output has been read. Never rejects. */
  readonly exited: Promise<Exit>
  /**
   * Sends SIGTERM to the command and to everything it started, and SIGKILL after `grace` ms (default 5,000). Settles
   * when all of them have ended. Rejects with a {@link RecordError} (`EPERM`) if the process now belongs to another
   * user.
   */
  stop(grace?: number): Promise<Exit>
}

/**
 * Variable that marks everything that a command starts. A process inherits it even if it leaves the process group and
 * its parent ends, as daemons do.
 */
const RUN_VARIABLE = 'EBBLAB_RUN'

/** Time to read what an ended process left in its pipes, ms. Processes that it started may hold them open for ever. */
const LAST_OUTPUT = 250
/** Interval between two checks whether a process group has ended, ms. */
const POLL_INTERVAL = 20
/** Time that a process group may take to end after SIGKILL, ms. */
const KILL_TIMEOUT = 1000

/** Moves the shell into a cgroup and becomes the command. Writing 0 to `cgroup.procs` moves the writer. */
const JOIN_CGROUP = ['/bin/sh', '-c', 'echo 0 > "$0" && exec "$@"']

/**
 * Starts a command in a process group of its own, without a shell and without input. The command ends with this
 * process, even if this process is killed with SIGKILL.
 *
 * @throws RecordError if the command cannot be started: with the errno, `EINVAL` for an empty command
 */
export async function launch(command: readonly string[], options: LaunchOptions = {}): Promise<Launched> {
  const [program, ...args] = command
  if (program === undefined || program === '') {
    throw new RecordError('there is no command to start: give a program and its arguments', 'EINVAL', 'spawn')
  }
  const run = randomUUID()
  const child = await spawnGroup(program, args, {
    ...options,
    env: { ...(options.env ?? process.env), [RUN_VARIABLE]: run }
  })
  const { pid, stdout, stderr } = child
  if (pid === undefined || stdout === null || stderr === null) {
    throw new RecordError(`cannot start ${program}: it has no pid or no output`, 'ECHILD', 'spawn')
  }
  keepUnread(stdout)
  keepUnread(stderr)
  const group = new ProcessGroup(pid, run, program)
  const exited = exitOf(child, stdout, stderr).finally(() => group.forgetIfEnded())
  return { pid, run, stdout, stderr, exited, stop: (grace = 5000) => group.stop(exited, grace) }
}

async function spawnGroup(program: string, args: readonly string[], options: LaunchOptions): Promise<ChildProcess> {
  const { cwd, env, cgroup } = options
  const [first, ...rest] = cgroup === undefined ? [program, ...args] : [...JOIN_CGROUP, cgroup, program, ...args]
  try {
    const child = spawn(first as string, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that what a shell or npm starts can be ended with it.
      detached: true,
      ...(cwd !== undefined && { cwd }),
      ...(env !== undefined && { env })
    })
    await once(child, 'spawn')
    return child
  } catch (error) {
    const reason = codeOf(error) === 'ENOENT' ? 'no such program (ENOENT)' : reasonOf(error)
    // A whole command in quotes is one word, so the whole command is taken for the name of a program.
    const isQuoted = codeOf(error) === 'ENOENT' && /\s/.test(program) && args.length === 0
    const advice = isQuoted ? `; give the program and its arguments without quotes around them: -- ${program}` : ''
    throw new RecordError(`cannot start ${program}: ${reason}${advice}`, codeOf(error), 'spawn', error)
  }
}

/**
 * The process group of a command. Processes that it started and that left the group, with `setsid` or as daemons, are
 * called detached; a signal to the group does not reach them.
 */
class ProcessGroup {
  readonly #pid: number
  readonly #run: string
  readonly #program: string
  readonly #startTime: number
  /** Whether no process of the group is left. Its number may belong to another group by now. */
  #ended = false

  constructor(pid: number, run: string, program: string) {
    this.#pid = pid
    this.#run = run
    this.#program = program
    this.#startTime = runningProcess(pid)?.startTime ?? Number.NaN
    process.once('exit', this.#onExit)
    watchGroup(pid, this.#startTime)
  }

  /** Ends the group and its detached descendants. See {@link Launched.stop}. */
  async stop(exited: Promise<Exit>, grace: number): Promise<Exit> {
    // Looked up before the signal, because a process whose parent has ended can no longer be traced to this group. A
    // group that has ended may have left daemons behind, and its number may belong to another group by now.
    const detached = this.#ended ? marked(this.#run) : detachedFrom({ pid: this.#pid, run: this.#run })
    if (this.#ended && detached.length === 0) return await exited
    if (!this.#ended && !killGroup(this.#pid, 'SIGTERM')) {
      throw new RecordError(`process ${this.#pid} (${this.#program}) may not be stopped by this user`, 'EPERM', 'kill')
    }
    killDetached(detached, 'SIGTERM')
    let deadline = Number.POSITIVE_INFINITY
    const timer = setTimeout(() => {
      if (!this.#ended) killGroup(this.#pid, 'SIGKILL')
      killDetached(detached, 'SIGKILL')
      deadline = performance.now() + KILL_TIMEOUT
    }, grace)
    const exit = await exited
    // Processes that the command started may take longer to end than the command.
    const isLeft = (): boolean => (!this.#ended && hasMember(this.#pid)) || detached.some(isAlive)
    while (isLeft() && performance.now() < deadline) await wait(POLL_INTERVAL)
    clearTimeout(timer)
    this.forgetIfEnded()
    return exit
  }

  /** Stops watching the group if all its processes have ended. */
  forgetIfEnded(): void {
    if (this.#ended || hasMember(this.#pid)) return
    this.#ended = true
    process.off('exit', this.#onExit)
    forgetGroup(this.#pid, this.#startTime)
  }

  readonly #onExit = (): void => {
    // If the command ended unnoticed, its number may belong to another process by now.
    const now = runningProcess(this.#pid)
    if (now !== undefined && now.startTime !== this.#startTime) return
    const detached = detachedFrom({ pid: this.#pid, run: this.#run })
    killGroup(this.#pid, 'SIGKILL')
    killDetached(detached, 'SIGKILL')
  }
}

/**
 * Keeps the output of a process that ends before anybody listens. Node drops it, unless there is a listener for
 * `readable`. That listener is removed when the first listener for `data` comes.
 */
function keepUnread(output: Readable): void {
  const hold = () => {}
  const release = (event: string | symbol) => {
    if (event !== 'data') return
    output.off('newListener', release)
    output.off('readable', hold)
  }
  output.on('readable', hold)
  output.on('newListener', release)
}

async function exitOf(child: ChildProcess, stdout: Readable, stderr: Readable): Promise<Exit> {
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

/**
 * Signals a process group. Returns false if this user may not signal it. A group that has ended counts as signalled.
 */
function killGroup(group: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-group, signal)
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
  return true
}

/** Whether a process of the group is running. Zombies do not count. */
function hasMember(group: number): boolean {
  try {
    process.kill(-group, 0)
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false
  }
  return listProcesses().some((process) => process.group === group && isRunning(process))
}

/** Returns the process if it is running, else undefined. */
export function runningProcess(pid: number): ListedProcess | undefined {
  try {
    const stat = readStat(pid)
    return isRunning(stat) ? { pid, ...stat } : undefined
  } catch {
    return undefined
  }
}

/**
 * Returns the running processes that a command has started, and the command itself: its process group, its descendants,
 * and daemons, which have left both but still have the command's environment.
 */
export function startedBy({ pid: root, run }: Pick<Launched, 'pid' | 'run'>): ListedProcess[] {
  const all = listProcesses().filter(isRunning)
  const own = all.filter(({ pid, group }) => group === root || (pid > 1 && isMarked(pid, run)))
  return familyOf([root, ...own.map(({ pid }) => pid)], all)
}

/** Returns those of `all` that are among `roots`, or descend from them. */
export function familyOf(roots: readonly number[], all: readonly ListedProcess[]): ListedProcess[] {
  const family = new Set(roots)
  for (let before = 0; before < family.size; ) {
    before = family.size
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid)
  }
  return all.filter(({ pid }) => family.has(pid))
}

/** Returns the running processes whose environment has the mark of a run. */
export function marked(run: string): ListedProcess[] {
  return listProcesses().filter((process) => isRunning(process) && isMarked(process.pid, run))
}

/** Whether the environment of a process has the mark of a run. False for a process that this user may not inspect. */
function isMarked(pid: number, run: string): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${RUN_VARIABLE}=${run}`)
  } catch {
    return false
  }
}

/** Returns the processes of a command that a signal to its process group does not reach. */
function detachedFrom(launched: Pick<Launched, 'pid' | 'run'>): ListedProcess[] {
  return startedBy(launched).filter(({ group }) => group !== launched.pid)
}

function isAlive({ pid, startTime }: ListedProcess): boolean {
  return runningProcess(pid)?.startTime === startTime
}

function killDetached(detached: readonly ListedProcess[], signal: NodeJS.Signals): void {
  for (const member of detached) {
    try {
      if (isAlive(member)) process.kill(member.pid, signal)
    } catch {
      // It has ended, or belongs to another user now.
    }
  }
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import type { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import { forget, keep } from './reaper.js'
import { type Stat, statOf } from './stat.js'

/** How a process ended. Both null: not known. */
export interface Exit {
  exitCode: number | null
  signal: string | null
}

export interface LaunchOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** The `cgroup.procs` of a cgroup that it is in from its first instruction on. */
  cgroup?: string
}

/** A command that was started, with its output to read: unread, it stops the server when the pipe is full. */
export interface Launched {
  readonly pid: number
  readonly stdout: Readable
  readonly stderr: Readable
  /** Settles when the process has ended and its output is read. Never rejects. */
  readonly exited: Promise<Exit>
  /**
   * SIGTERM to it and what it started, and SIGKILL after `grace` ms (default 5,000). Settles when all of it has ended.
   * Rejects with a {@link RecordError} (`EPERM`) where it may not be stopped: it has become another user's.
   */
  stop(grace?: number): Promise<Exit>
}

/** For output that a process left in its pipes, ms. What it started may hold them open for ever. */
const LAST_OUTPUT = 250
/** Between two looks at whether a group has ended, ms; how long a group may take that was killed. */
const LOOK = 20
const KILLED = 1000

/** Becomes the command, as a member of a cgroup: 0 is whoever writes it. */
const JOIN = ['/bin/sh', '-c', 'echo 0 > "$0" && exec "$@"']

/**
 * Starts a command in a process group of its own, without a shell and without input. It does not outlive this process,
 * also where that is killed. Throws {@link RecordError} when it cannot be started.
 */
export async function launch(command: readonly string[], options: LaunchOptions = {}): Promise<Launched> {
  const [program, ...args] = command
  if (program === undefined || program === '') {
    throw new RecordError('there is no command to start: give a program and its arguments', 'EINVAL', 'spawn')
  }
  const { cwd, env, cgroup } = options
  const [first, ...rest] = cgroup === undefined ? [program, ...args] : [...JOIN, cgroup, program, ...args]
  let child: ChildProcess
  try {
    // A group of its own, so that what a shell or npm starts can be stopped with it.
    child = spawn(first as string, rest, {
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
  const began = processOf(pid)?.began ?? ''
  const onExit = () => {
    // What ended unnoticed may have left its number to another.
    const now = processOf(pid)
    if (now !== undefined && now.began !== began) return
    const strays = straysOf(pid)
    killGroup(pid, 'SIGKILL')
    for (const stray of strays) killStray(stray, 'SIGKILL')
  }
  process.once('exit', onExit)
  keep(pid, began)
  let over = false
  const letGo = () => {
    if (livesIn(pid)) return
    over = true
    process.off('exit', onExit)
    forget(pid, began)
  }
  const exited = ended(child, stdout, stderr).finally(letGo)

  return {
    pid,
    stdout,
    stderr,
    exited,
    async stop(grace = 5000) {
      // Its number may be another's by now.
      if (over) return await exited
      // Before it is told: who has lost its parent is nobody's any more.
      const strays = straysOf(pid)
      if (!killGroup(pid, 'SIGTERM')) {
        throw new RecordError(`process ${pid} (${program}) may not be stopped by this user`, 'EPERM', 'kill')
      }
      for (const stray of strays) killStray(stray, 'SIGTERM')
      let deadline = Number.POSITIVE_INFINITY
      const timer = setTimeout(() => {
        killGroup(pid, 'SIGKILL')
        for (const stray of strays) killStray(stray, 'SIGKILL')
        deadline = performance.now() + KILLED
      }, grace)
      const exit = await exited
      // What it started may take longer than itself.
      while ((livesIn(pid) || strays.some(isAlive)) && performance.now() < deadline) await wait(LOOK)
      clearTimeout(timer)
      letGo()
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

/** Whether a process of the group lives. Those that have ended and are not collected yet (zombies) do not. */
function livesIn(group: number): boolean {
  try {
    process.kill(-group, 0)
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false
  }
  return fs.readdirSync('/proc').some((name) => /^\d/.test(name) && processOf(Number(name))?.group === group)
}

interface Process extends Stat {
  pid: number
}

/** Those that live: who has ended and is not collected yet (a zombie) does not. */
function processes(): Process[] {
  return fs.readdirSync('/proc').flatMap((name) => (/^\d/.test(name) ? (processOf(Number(name)) ?? []) : []))
}

function processOf(pid: number): Process | undefined {
  try {
    const stat = statOf(pid)
    return stat.state === 'Z' || stat.state === 'X' ? undefined : { pid, ...stat }
  } catch {
    return undefined
  }
}

/** What a process started, and so on, that has gone out of its group (`setsid`): a signal to the group does not reach it. */
function straysOf(root: number): Process[] {
  const all = processes()
  const family = new Set([root])
  for (let before = 0; before < family.size; ) {
    before = family.size
    for (const { pid, parent, group } of all) if (family.has(parent) || group === root) family.add(pid)
  }
  return all.filter(({ pid, group }) => family.has(pid) && group !== root)
}

function isAlive({ pid, began }: Process): boolean {
  return processOf(pid)?.began === began
}

function killStray(stray: Process, signal: NodeJS.Signals): void {
  try {
    if (isAlive(stray)) process.kill(stray.pid, signal)
  } catch {
    // It has ended, or has become another user's.
  }
}

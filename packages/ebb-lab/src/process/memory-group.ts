/**
 * A memory cgroup for all servers of a box, with a group of its own for each in it: the limit is of all, and the kernel says which of
 * them it killed. Both versions: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, .../cgroup-v2.html
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import { keepFolder } from './reaper.js'

/** A server's place in the group. */
export interface Member {
  /** What a process writes itself to, to be a member: `cgroup.procs`. */
  procs: string
  /** How many of its processes the kernel has killed for memory. */
  oomKills(): number
}

interface Version {
  limit: string
  /** Set too, where it is there: what does not fit is killed, not swapped out. v1 counts memory and swap together. */
  swap: { file: string; isSum: boolean }
  used: string
  events: string
}

const V1: Version = {
  limit: 'memory.limit_in_bytes',
  swap: { file: 'memory.memsw.limit_in_bytes', isSum: true },
  used: 'memory.usage_in_bytes',
  events: 'memory.oom_control'
}
const V2: Version = {
  limit: 'memory.max',
  swap: { file: 'memory.swap.max', isSum: false },
  used: 'memory.current',
  events: 'memory.events'
}

/** For processes that have been killed to be gone from a group, ms. */
const REMOVE_WITHIN = 2000
const LOOK = 20

export interface MemoryGroupOptions {
  /** Where the cgroup file systems are. */
  root?: string
  /** Says which groups this process is in. */
  self?: string
}

export class MemoryGroup {
  readonly folder: string
  readonly #version: Version
  readonly #members: string[] = []

  /**
   * Makes the group, as near to this process's own as the machine allows. It goes with this process, also where that is killed.
   *
   * @param limit bytes
   * @throws RecordError: there is no such controller here, or this user may not make a group
   */
  constructor(limit: number, options: MemoryGroupOptions = {}) {
    const { root = '/sys/fs/cgroup', self = '/proc/self/cgroup' } = options
    const { version, folders } = places(root, self)
    this.#version = version
    let refusal: unknown
    for (const parent of folders) {
      const folder = path.join(parent, `ebb-box-${process.pid}`)
      try {
        make(folder, version, limit)
        this.folder = folder
        keepFolder(folder)
        return
      } catch (error) {
        // The one next to this process's own group says best what is wrong.
        refusal ??= error
        removeNow(folder)
        if (error instanceof RecordError && error.code === 'ENOMEM') throw error
      }
    }
    throw notAllowed(reasonOf(refusal), codeOf(refusal), refusal)
  }

  /** A place for one more server. Throws what `mkdir(2)` throws. */
  member(): Member {
    const folder = path.join(this.folder, String(this.#members.length))
    fs.mkdirSync(folder)
    this.#members.push(folder)
    const events = path.join(folder, this.#version.events)
    return { procs: path.join(folder, 'cgroup.procs'), oomKills: () => figure(events, /^oom_kill (\d+)$/m) }
  }

  /** Bytes charged to the group: memory of processes, of their sockets in the kernel, and pages of files that they read first. */
  used(): number {
    return figure(path.join(this.folder, this.#version.used), /^(\d+)$/m)
  }

  /**
   * Ends what is left of its processes, such as those of a session of their own, which have gone out of their server's process group, and
   * removes it. What is left after two seconds stays.
   */
  async remove(): Promise<void> {
    const deadline = performance.now() + REMOVE_WITHIN
    const members = this.#members.splice(0)
    for (const folder of members) killAll(folder)
    for (const folder of [...members, this.folder]) {
      while (!removeNow(folder) && performance.now() < deadline) await wait(LOOK)
    }
    keepFolder(null)
  }
}

/** Where a group can be made: in this process's own, or, for v2, in one of those above it. */
function places(root: string, self: string): { version: Version; folders: string[] } {
  let lines: string[]
  try {
    lines = fs.readFileSync(self, 'utf8').split('\n')
  } catch (error) {
    throw notAllowed(`${self} cannot be read, ${reasonOf(error)}`, codeOf(error), error)
  }
  for (const line of lines) {
    const [, controllers = '', group = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers.split(',').includes('memory'))
      return { version: V1, folders: [seen(path.join(root, 'memory'), group)] }
    // v2 is mounted on the root itself, or, where v1 has the other controllers, has not this one.
    if (controllers === '' && fs.existsSync(path.join(root, 'cgroup.controllers'))) {
      // A group that has processes cannot share its memory out to groups in it, unless it is the root of all.
      return { version: V2, folders: [...upwards(path.resolve(root), seen(root, group))] }
    }
  }
  throw notAllowed('no cgroup of this process has the memory controller', 'ENOTSUP')
}

/** In a container a group can be named from outside of it: then its root is what is seen here. */
function seen(mount: string, group: string): string {
  const own = path.join(mount, group)
  return fs.existsSync(own) ? own : mount
}

function* upwards(mount: string, from: string): Generator<string> {
  for (let folder = path.resolve(from); ; folder = path.dirname(folder)) {
    yield folder
    if (folder === mount || !folder.startsWith(mount)) return
  }
}

function make(folder: string, version: Version, limit: number): void {
  fs.mkdirSync(folder)
  // Not there: the controller is not shared out to groups at this place.
  if (!fs.existsSync(path.join(folder, version.limit))) {
    throw new RecordError(`${path.dirname(folder)} does not hand its memory controller on`, 'ENOTSUP')
  }
  fs.writeFileSync(path.join(folder, version.limit), String(limit))
  const swap = path.join(folder, version.swap.file)
  // Some kernels count no swap.
  if (fs.existsSync(swap)) fs.writeFileSync(swap, version.swap.isSum ? String(limit) : '0')
  if (version === V2) fs.writeFileSync(path.join(folder, 'cgroup.subtree_control'), '+memory')
  tryToJoin(folder)
}

/** To write to `cgroup.procs` takes more than to make a group: a right on what the old and the new group have in common. */
function tryToJoin(folder: string): void {
  const trial = path.join(folder, 'trial')
  try {
    fs.mkdirSync(trial)
  } catch (error) {
    // The kernel's own memory for a group is charged to it.
    throw codeOf(error) === 'ENOMEM' ? tooSmall() : error
  }
  const { status, signal, stderr } = spawnSync('/bin/sh', ['-c', 'echo 0 > "$0"', path.join(trial, 'cgroup.procs')], {
    encoding: 'utf8'
  })
  removeNow(trial)
  if (status === 0) return
  if (signal === 'SIGKILL') throw tooSmall()
  throw new RecordError(`no process may be moved to ${folder} (${stderr.trim()})`, 'EACCES')
}

function tooSmall(): RecordError {
  return new RecordError('the limit is too small for any process to begin in it: give more', 'ENOMEM', 'mkdir')
}

function killAll(folder: string): void {
  const pids = fs.readFileSync(path.join(folder, 'cgroup.procs'), 'utf8').split('\n').map(Number)
  // 0 is one that this process cannot see, and to `kill()` all of its own group.
  for (const pid of pids.filter((pid) => pid > 0)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended, or is another user's: then the group stays.
    }
  }
}

/** True when it is gone. */
function removeNow(folder: string): boolean {
  try {
    fs.rmdirSync(folder)
    return true
  } catch (error) {
    // EBUSY: a process is still there.
    return codeOf(error) === 'ENOENT'
  }
}

/** 0 where it cannot be read: the group has gone. */
function figure(file: string, pattern: RegExp): number {
  try {
    return Number(pattern.exec(fs.readFileSync(file, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

function notAllowed(why: string, code: string, cause?: unknown): RecordError {
  return new RecordError(
    `a limit needs a memory cgroup that this user may make: ${why}; run as root, or under systemd-run --user --scope -p Delegate=yes`,
    code,
    'mkdir',
    cause
  )
}

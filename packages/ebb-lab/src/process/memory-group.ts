/**
 * A memory cgroup for all servers of a box, with a child group for each server. The limit holds for all of them
 * together, and the kernel counts in each child group how many of its processes it killed.
 *
 * Works with cgroup v1 and v2: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html and .../cgroup-v2.html
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { findMemoryCgroup, foldersUpwards, type MemoryCgroup, type MemoryCgroupOptions } from 'ebb/memory'
import type { ErrorCode } from '../units/error-codes.js'
import { codeOf, type ForeignCode, RecordError, reasonOf } from '../units/errors.js'
import { watchFolder } from './reaper.js'

/** The child group of one server. */
export interface Member {
  /** Path of its `cgroup.procs`. A process that writes 0 to it becomes a member. */
  procs: string
  /** Returns how many processes of the server the kernel has killed for memory. */
  oomKills(): number
}

/** Maximum time for killed processes to leave a group, ms. */
const REMOVE_WITHIN = 2000
/** Interval between two attempts to remove a group, ms. */
const POLL_INTERVAL = 20

/** Where the cgroups of this machine are; for tests. */
export type MemoryGroupOptions = MemoryCgroupOptions

/** A cgroup with a memory limit. It is removed when this process ends. */
export class MemoryGroup {
  /** Path of the group's folder. */
  readonly folder: string
  readonly #cgroup: MemoryCgroup
  readonly #members: string[] = []

  /**
   * Makes the group as near to this process's own group as the machine allows. The group is removed with this process,
   * even if this process is killed with SIGKILL.
   *
   * @param limit bytes
   * @throws RecordError if there is no memory controller (`ENOTSUP`), this user may not make a group (the errno), or no
   *   process fits into the limit (`ENOMEM`)
   */
  constructor(limit: number, options: MemoryGroupOptions = {}) {
    this.#cgroup = memoryCgroup(options)
    let refusal: unknown
    for (const parent of parentsOf(this.#cgroup)) {
      const folder = path.join(parent, `ebb-box-${process.pid}`)
      try {
        makeGroup(folder, this.#cgroup, limit)
        this.folder = folder
        watchFolder(folder)
        return
      } catch (error) {
        // The refusal next to this process's own group explains best what is wrong.
        refusal ??= error
        removeNow(folder)
        if (error instanceof RecordError && error.code === 'ENOMEM') throw error
      }
    }
    throw notAllowed(reasonOf(refusal), codeOf(refusal), refusal)
  }

  /** Makes the child group of one more server. Throws the errors of `mkdir(2)`. */
  member(): Member {
    const folder = path.join(this.folder, String(this.#members.length))
    fs.mkdirSync(folder)
    this.#members.push(folder)
    const events = path.join(folder, this.#cgroup.files.events)
    return { procs: path.join(folder, 'cgroup.procs'), oomKills: () => numberIn(events, /^oom_kill (\d+)$/m) }
  }

  /**
   * Returns the bytes charged to the group: memory of the processes, of their sockets in the kernel, and file pages
   * that they were the first to read.
   */
  used(): number {
    return numberIn(path.join(this.folder, this.#cgroup.files.usage), /^(\d+)$/m)
  }

  /**
   * Kills the processes that are left and removes the group. Processes that started a session of their own are among
   * them: they have left the process group of their server, but not its cgroup. A group that
   * still has processes after 2 s is left behind.
   */
  async remove(): Promise<void> {
    const deadline = performance.now() + REMOVE_WITHIN
    const members = this.#members.splice(0)
    for (const folder of members) killAll(folder)
    for (const folder of [...members, this.folder]) {
      while (!removeNow(folder) && performance.now() < deadline) await wait(POLL_INTERVAL)
    }
    watchFolder(null)
  }
}

function memoryCgroup(options: MemoryGroupOptions): MemoryCgroup {
  const { self = '/proc/self/cgroup' } = options
  let cgroup: MemoryCgroup | undefined
  try {
    cgroup = findMemoryCgroup(options)
  } catch (error) {
    throw notAllowed(`${self} cannot be read, ${reasonOf(error)}`, codeOf(error), error)
  }
  if (cgroup === undefined) throw notAllowed('no cgroup of this process has the memory controller', 'ENOTSUP')
  return cgroup
}

/**
 * Returns the folders in which a group may be made, nearest first. In v2, a group that has processes cannot delegate
 * its memory controller, unless it is the root group. Then a group above it may.
 */
function parentsOf(cgroup: MemoryCgroup): string[] {
  return cgroup.version === 1 ? [cgroup.folder] : foldersUpwards(cgroup)
}

function makeGroup(folder: string, { version, files }: MemoryCgroup, limit: number): void {
  fs.mkdirSync(folder)
  if (!fs.existsSync(path.join(folder, files.limit))) {
    throw new RecordError(`${path.dirname(folder)} does not delegate its memory controller`, 'ENOTSUP')
  }
  fs.writeFileSync(path.join(folder, files.limit), String(limit))
  // Servers that exceed the limit are to be killed, not swapped out. Some kernels do not count swap at all.
  const swap = path.join(folder, files.swapLimit)
  if (fs.existsSync(swap)) fs.writeFileSync(swap, version === 1 ? String(limit) : '0')
  if (version === 2) fs.writeFileSync(path.join(folder, 'cgroup.subtree_control'), '+memory')
  checkJoin(folder)
}

/**
 * Checks that a process can join a child of the group. Writing to `cgroup.procs` takes more rights than making a group:
 * it needs write access to the common ancestor of the old and the new group.
 */
function checkJoin(folder: string): void {
  const trial = path.join(folder, 'trial')
  try {
    fs.mkdirSync(trial)
  } catch (error) {
    // The kernel charges its own memory for a group to the group.
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
  // 0 stands for a process that this one cannot see. `kill(0)` would signal this process's own group.
  for (const pid of pids.filter((pid) => pid > 0)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended, or belongs to another user. Then the group stays.
    }
  }
}

/** Removes a folder. Returns true if it is gone. */
function removeNow(folder: string): boolean {
  try {
    fs.rmdirSync(folder)
    return true
  } catch (error) {
    // EBUSY: the group still has a process.
    return codeOf(error) === 'ENOENT'
  }
}

/** Returns a number of a file, or 0 if the file cannot be read because the group is gone. */
function numberIn(file: string, pattern: RegExp): number {
  try {
    return Number(pattern.exec(fs.readFileSync(file, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

function notAllowed(why: string, code: ErrorCode | ForeignCode, cause?: unknown): RecordError {
  return new RecordError(
    `a limit needs a memory cgroup that this user may make: ${why}; ` +
      'run as root, or under systemd-run --user --scope -p Delegate=yes',
    code,
    'mkdir',
    cause
  )
}

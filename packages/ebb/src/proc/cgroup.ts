/** The memory cgroup of a process, in cgroup v1 and v2, and how full it is. */
import fs from 'node:fs'
import path from 'node:path'
import { checkObject } from '../sys/arguments.js'
import { ProcFile } from './proc-file.js'

/** Names of a memory cgroup's files, which differ between v1 and v2. Undefined: this version has no such file. */
export interface MemoryCgroupFiles {
  /** Bytes charged to the group. */
  usage: string
  /** Hard limit, bytes: beyond it the kernel kills a process of the group. */
  limit: string
  /** Soft limit, bytes: beyond it the kernel slows the group down and reclaims its memory. v2 only. */
  softLimit: string | undefined
  /** Bytes of the group that are in swap. v2 counts swap alone; v1 counts memory and swap together. */
  swapUsage: string
  /** Limit of swap, bytes. Counts what `swapUsage` counts. */
  swapLimit: string
  /** Soft limit of swap, bytes: beyond it the kernel slows the group down. v2 only. */
  swapSoftLimit: string | undefined
  /** Counters by line, `inactive_file` among them. */
  stat: string
  /** Counters by line: `oom_kill` is the number of processes that the kernel killed for memory. */
  events: string
  /** Number of times that the group reached its limit. v1 only; v2 counts it in `events`. */
  failures: string | undefined
  /** Pressure stall information of the group, see PSI. v2 only. */
  pressure: string | undefined
}

/** Where the memory cgroup of a process is. */
export interface MemoryCgroup {
  /** Which version of cgroups has the memory controller on this machine. */
  version: 1 | 2
  /** Folder of the root group, an absolute path. */
  mount: string
  /** Folder of the process's own group, an absolute path at or below `mount`. */
  folder: string
  /** Names of the files in each group's folder. */
  files: MemoryCgroupFiles
}

/** Where {@link findMemoryCgroup} looks. */
export interface MemoryCgroupOptions {
  /** Folder in which the cgroup file systems are mounted. Default: `/sys/fs/cgroup`. */
  root?: string
  /** The file that names the groups of the process, `/proc/PID/cgroup`. Default: that of this process. */
  self?: string
}

const V1: MemoryCgroupFiles = {
  usage: 'memory.usage_in_bytes',
  limit: 'memory.limit_in_bytes',
  softLimit: undefined,
  swapUsage: 'memory.memsw.usage_in_bytes',
  swapLimit: 'memory.memsw.limit_in_bytes',
  swapSoftLimit: undefined,
  stat: 'memory.stat',
  events: 'memory.oom_control',
  failures: 'memory.failcnt',
  pressure: undefined
}

const V2: MemoryCgroupFiles = {
  usage: 'memory.current',
  limit: 'memory.max',
  softLimit: 'memory.high',
  swapUsage: 'memory.swap.current',
  swapLimit: 'memory.swap.max',
  swapSoftLimit: 'memory.swap.high',
  stat: 'memory.stat',
  events: 'memory.events',
  failures: undefined,
  pressure: 'memory.pressure'
}

/**
 * Finds the memory cgroup of this process, or of the process whose `/proc/PID/cgroup` is given.
 *
 * Returns undefined if none of its groups has a memory controller. Throws the errors of `open(2)` and `read(2)` if the
 * list of groups cannot be read: there is no `/proc`, or the process has ended.
 */
export function findMemoryCgroup(options: MemoryCgroupOptions = {}): MemoryCgroup | undefined {
  checkObject(options, 'options of findMemoryCgroup()')
  const { root = '/sys/fs/cgroup', self = '/proc/self/cgroup' } = options
  for (const line of fs.readFileSync(self, 'utf8').split('\n')) {
    const [, controllers = '', group = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers.split(',').includes('memory')) {
      return { version: 1, ...foldersOf(path.join(root, 'memory'), group), files: V1 }
    }
    // v2 is mounted at the root. Where it is mounted beside v1, v1 has the memory controller.
    if (controllers === '' && fs.existsSync(path.join(root, 'cgroup.controllers'))) {
      return { version: 2, ...foldersOf(root, group), files: V2 }
    }
  }
  return undefined
}

/** Returns the folder of a group and of each group above it, the root group last. */
export function foldersUpwards(cgroup: Pick<MemoryCgroup, 'mount' | 'folder'>): string[] {
  checkObject(cgroup, 'cgroup')
  const { mount, folder } = cgroup
  const folders = [folder]
  for (let at = folder; at !== mount && at.startsWith(mount); ) {
    at = path.dirname(at)
    folders.push(at)
  }
  return folders
}

/**
 * Returns the folders of the root group and of `group`. In a container, `/proc/self/cgroup` may name a group outside of
 * the container. Its folder does not exist here, and the mounted root is then the process's own group.
 */
function foldersOf(root: string, group: string): { mount: string; folder: string } {
  const mount = path.resolve(root)
  const own = path.join(mount, group)
  // The root group is named `/`; joined, it ends with a slash.
  const folder = own.startsWith(mount) && fs.existsSync(own) ? path.resolve(own) : mount
  return { mount, folder }
}

/** A limit of at least this many bytes is none: v1 writes the largest multiple of a page below 2^63 for no limit. */
const UNLIMITED = 2 ** 60

/** A figure of a group, and the limits that hold for it. */
interface Limited {
  usage: ProcFile
  limits: ProcFile[]
}

/** Files of one group, held open. */
interface OpenGroup {
  memory: Limited
  swap: Limited | undefined
  stat: ProcFile | undefined
  events: ProcFile | undefined
}

/** Lines of `memory.events` that count how often the group reached a limit. */
const LIMIT_EVENTS = [Buffer.from('\nhigh '), Buffer.from('\nmax '), Buffer.from('\noom ')]

/**
 * How full the memory cgroup of this process is. Looks at its own group and at every group above it, since each may
 * have a limit. Keeps the files open, so that reading needs no new descriptor, and reads limits anew each time, because
 * they may change while the process runs.
 */
export class CgroupLimit {
  readonly #root: string | undefined
  readonly #self: string | undefined
  /** Names the groups of this process. */
  readonly #names: ProcFile | undefined
  /** The names when the groups were opened. */
  #known: Buffer = Buffer.alloc(0)
  #pressure: string | undefined
  readonly #groups: OpenGroup[] = []
  /** Key of the inactive file pages in `memory.stat`, which counts those of the groups below as well. */
  #inactiveFileKey: Buffer = Buffer.alloc(0)
  #version: 1 | 2 = 2
  /** How often the groups had reached a limit at the last call of {@link hasReachedLimit}; -1 before the first. */
  #events = -1

  /**
   * @param root folder in which the cgroup file systems are mounted
   * @param self the file that names the groups of this process
   */
  constructor(root?: string, self?: string) {
    this.#root = root
    this.#self = self
    this.#names = open(self ?? '/proc/self/cgroup', 512)
    this.#open()
  }

  /** Path of `memory.pressure` of the own group, for a PSI trigger; undefined if it has none. */
  get pressure(): string | undefined {
    return this.#pressure
  }

  #open(): void {
    const cgroup = find(this.#root, this.#self)
    this.#known = this.#readNames()
    this.#pressure = undefined
    this.#events = -1
    if (cgroup === undefined) return
    const { version, folder: own, files } = cgroup
    this.#version = version
    this.#inactiveFileKey = Buffer.from(version === 1 ? '\ntotal_inactive_file ' : '\ninactive_file ')
    const pressure = files.pressure && path.join(own, files.pressure)
    if (pressure !== undefined && fs.existsSync(pressure)) this.#pressure = pressure
    for (const folder of foldersUpwards(cgroup)) {
      const memory = openLimited(folder, files.usage, files.limit, files.softLimit)
      if (memory === undefined) continue
      this.#groups.push({
        memory,
        swap: openLimited(folder, files.swapUsage, files.swapLimit, files.swapSoftLimit),
        stat: open(path.join(folder, files.stat), 4096),
        events: open(path.join(folder, files.failures ?? files.events), 256)
      })
    }
  }

  #readNames(): Buffer {
    if (this.#names === undefined) return Buffer.alloc(0)
    try {
      this.#names.read()
      return Buffer.from(this.#names.buffer.subarray(0, this.#names.length))
    } catch {
      return Buffer.alloc(0)
    }
  }

  /**
   * Notices that the process was moved to other groups, or that its group got a memory controller. Call this now and
   * then.
   *
   * @returns whether other files are read from now on
   */
  refresh(): boolean {
    if (this.#names === undefined || (this.#groups.length > 0 && this.#isKnown(this.#names))) return false
    const before = this.#groups.length
    const pressure = this.#pressure
    this.#closeGroups()
    this.#open()
    return before > 0 || this.#groups.length > 0 || this.#pressure !== pressure
  }

  #isKnown(names: ProcFile): boolean {
    try {
      names.read()
      return names.buffer.compare(this.#known, 0, this.#known.length, 0, names.length) === 0
    } catch {
      return true
    }
  }

  /**
   * Returns the used share of the tightest limit, of memory or of swap: 0 to 1, or slightly more; 0 without a limit.
   * Does not count inactive file pages, because a group that reads files fills up with them and the kernel reclaims
   * them first.
   *
   * @param near a group whose usage is below this share of its limit is counted with its inactive file pages, which
   *   saves reading `memory.stat`
   */
  used(near = 0): number {
    let used = 0
    for (const { memory, swap, stat } of this.#groups) {
      used = Math.max(used, this.#share(memory, near, stat))
      // v1 counts memory and swap together, so file pages are part of it.
      if (swap !== undefined) used = Math.max(used, this.#share(swap, near, this.#version === 1 ? stat : undefined))
    }
    return used
  }

  #share({ usage, limits }: Limited, near: number, stat: ProcFile | undefined): number {
    const limit = tightest(limits)
    if (limit === UNLIMITED) return 0
    let held = figure(usage)
    if (held / limit >= near && stat !== undefined) held -= Math.max(0, figure(stat, this.#inactiveFileKey))
    return held / limit
  }

  /**
   * Whether one of the groups has reached a limit since the last call (`high`, `max` and `oom` of `memory.events`, or
   * `memory.failcnt`). Works where the groups are mounted read-only, and on kernels without PSI.
   */
  hasReachedLimit(): boolean {
    let events = 0
    for (const group of this.#groups) {
      if (group.events === undefined) continue
      if (this.#version === 1) events += Math.max(0, figure(group.events))
      else events += countEvents(group.events)
    }
    const before = this.#events
    this.#events = events
    return before !== -1 && events > before
  }

  /** Returns the tightest limit of memory, bytes; undefined without a limit. */
  limit(): number | undefined {
    const limit = tightest(this.#groups.flatMap(({ memory }) => memory.limits))
    return limit === UNLIMITED ? undefined : limit
  }

  #closeGroups(): void {
    for (const { memory, swap, stat, events } of this.#groups.splice(0)) {
      for (const file of [memory.usage, ...memory.limits, swap?.usage, ...(swap?.limits ?? []), stat, events]) {
        file?.close()
      }
    }
  }

  /** Closes the files. Closing twice is allowed. */
  close(): void {
    this.#closeGroups()
    this.#names?.close()
  }
}

function find(root?: string, self?: string): MemoryCgroup | undefined {
  try {
    return findMemoryCgroup({ ...(root !== undefined && { root }), ...(self !== undefined && { self }) })
  } catch {
    // Not Linux, or /proc is hidden.
    return undefined
  }
}

/** Opens a figure and its limits; undefined if one is missing. */
function openLimited(folder: string, usageName: string, ...limitNames: (string | undefined)[]): Limited | undefined {
  const usage = open(path.join(folder, usageName))
  const limits = limitNames.flatMap((name) => (name === undefined ? [] : (open(path.join(folder, name)) ?? [])))
  if (usage !== undefined && limits.length > 0) return { usage, limits }
  for (const file of [usage, ...limits]) file?.close()
  return undefined
}

function open(file: string, size = 64): ProcFile | undefined {
  try {
    return new ProcFile(file, size)
  } catch {
    // The root group has no limit, and no file for one. Containers may hide files.
    return undefined
  }
}

/** Returns the lowest of the limits, bytes; {@link UNLIMITED} if none is set. */
function tightest(limits: readonly ProcFile[]): number {
  let lowest = UNLIMITED
  for (const file of limits) {
    const limit = figure(file)
    if (limit > 0 && limit < lowest) lowest = limit
  }
  return lowest
}

/** Returns the first number of a file, or the number after `key`; -1 for `max` and if the group is gone. */
function figure(file: ProcFile, key?: Buffer): number {
  try {
    file.read()
    return key === undefined ? file.decimal(0) : file.figure(key)
  } catch {
    return -1
  }
}

/** Returns how often a group of v2 has reached a limit. */
function countEvents(file: ProcFile): number {
  try {
    file.read()
  } catch {
    return 0
  }
  let count = 0
  // The first line is `low`, so each of the lines follows a line break.
  for (const key of LIMIT_EVENTS) count += Math.max(0, file.figure(key))
  return count
}

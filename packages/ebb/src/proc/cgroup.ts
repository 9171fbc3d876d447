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
  /** Limit of swap, bytes. v2 counts swap alone; v1 counts memory and swap together. */
  swapLimit: string
  /** Counters by line, `inactive_file` among them. */
  stat: string
  /** Counters by line: `oom_kill` is the number of processes that the kernel killed for memory. */
  events: string
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
  swapLimit: 'memory.memsw.limit_in_bytes',
  stat: 'memory.stat',
  events: 'memory.oom_control',
  pressure: undefined
}

const V2: MemoryCgroupFiles = {
  usage: 'memory.current',
  limit: 'memory.max',
  softLimit: 'memory.high',
  swapLimit: 'memory.swap.max',
  stat: 'memory.stat',
  events: 'memory.events',
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

/** Files of one group, held open. */
interface OpenGroup {
  usage: ProcFile
  limits: ProcFile[]
  stat: ProcFile | undefined
}

/**
 * How full the memory cgroup of this process is. Looks at its own group and at every group above it, since each may
 * have a limit. Finds the groups once and keeps their files open, so that reading needs no new descriptor.
 */
export class CgroupLimit {
  /** Path of `memory.pressure` of the own group, for a PSI trigger; undefined if it has none. */
  readonly pressure: string | undefined
  readonly #groups: OpenGroup[] = []
  /** Key of the inactive file pages in `memory.stat`, which counts those of the groups below as well. */
  readonly #inactiveFileKey: Buffer = Buffer.alloc(0)

  /**
   * @param root folder in which the cgroup file systems are mounted
   * @param self the file that names the groups of this process
   */
  constructor(root?: string, self?: string) {
    const cgroup = find(root, self)
    if (cgroup === undefined) return
    const { version, folder: own, files } = cgroup
    this.#inactiveFileKey = Buffer.from(version === 1 ? '\ntotal_inactive_file ' : '\ninactive_file ')
    const pressure = files.pressure && path.join(own, files.pressure)
    if (pressure !== undefined && fs.existsSync(pressure)) this.pressure = pressure
    const limitNames = files.softLimit === undefined ? [files.limit] : [files.limit, files.softLimit]
    for (const folder of foldersUpwards(cgroup)) {
      const usage = open(path.join(folder, files.usage))
      const limits = limitNames.flatMap((name) => open(path.join(folder, name)) ?? [])
      if (usage !== undefined && limits.length > 0) {
        this.#groups.push({ usage, limits, stat: open(path.join(folder, files.stat), 4096) })
      } else {
        for (const file of [usage, ...limits]) file?.close()
      }
    }
  }

  /**
   * Returns the used share of the tightest limit: 0 to 1, or slightly more; 0 without a limit. Does not count inactive
   * file pages, because a group that reads files fills up with them and the kernel reclaims them first.
   *
   * @param near a group whose usage is below this share of its limit is counted with its inactive file pages, which
   *   saves reading `memory.stat`
   */
  used(near = 0): number {
    let used = 0
    for (const { usage, limits, stat } of this.#groups) {
      for (const file of limits) {
        const limit = figure(file)
        if (limit <= 0 || limit >= UNLIMITED) continue
        let held = figure(usage)
        if (held / limit >= near && stat !== undefined) held -= Math.max(0, figure(stat, this.#inactiveFileKey))
        used = Math.max(used, held / limit)
      }
    }
    return used
  }

  /** Returns the tightest limit, bytes; undefined without a limit. */
  limit(): number | undefined {
    const all = this.#groups.flatMap(({ limits }) => limits.map((file) => figure(file)))
    const set = all.filter((limit) => limit > 0 && limit < UNLIMITED)
    return set.length === 0 ? undefined : Math.min(...set)
  }

  /** Closes the files. Closing twice is allowed. */
  close(): void {
    for (const { usage, limits, stat } of this.#groups.splice(0)) {
      for (const file of [usage, ...limits, stat]) file?.close()
    }
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

function open(file: string, size = 64): ProcFile | undefined {
  try {
    return new ProcFile(file, size)
  } catch {
    // The root group has no limit, and no file for one.
    return undefined
  }
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

/** Reads how full the memory cgroup of a process is. */
import path from 'node:path'
import { findMemoryCgroup, foldersUpwards, type MemoryCgroup } from 'ebb/memory'
import { readPressure } from '../process/pressure.js'
import { readOrNothing } from './files.js'

/** The memory cgroup of a process. Bytes. */
export interface CgroupUse {
  version: 1 | 2
  /** Folder of the group. */
  folder: string
  /** Memory of all processes of the group, file cache included; null if it cannot be read. */
  used: number | null
  /** The part of `used` that is file cache and that the kernel takes back first. */
  cache: number
  /** The lowest limit of the group and the groups above it; null if there is none. */
  limit: number | null
  /** The lowest limit beyond which the kernel slows the group down (`memory.high`); null if there is none. */
  softLimit: number | null
  /** Number of processes of the group that the kernel has killed for memory. */
  killed: number
  /** Share of the last 10 s in which a process of the group waited for memory, 0 to 1; null if not known. */
  pressure: number | null
}

/** A limit of at least this many bytes is none: v1 writes a number just below 2^63. */
const UNLIMITED = 2 ** 60

/** Returns the memory cgroup of a process; null if it has none, or it cannot be read. */
export function readCgroup(pid: number): CgroupUse | null {
  const cgroup = groupOf(pid)
  if (cgroup === undefined) return null
  const { folder, version, files } = cgroup
  const within = (name: string | undefined): string =>
    name === undefined ? '' : readOrNothing(path.join(folder, name))
  const stat = within(files.stat)
  return {
    version,
    folder,
    used: numberOf(within(files.usage)),
    cache: numberAfter(stat, version === 1 ? 'total_inactive_file' : 'inactive_file'),
    limit: lowest(cgroup, files.limit),
    softLimit: files.softLimit === undefined ? null : lowest(cgroup, files.softLimit),
    killed: numberAfter(within(files.events), 'oom_kill'),
    pressure: files.pressure === undefined ? null : readPressure(path.join(folder, files.pressure))
  }
}

/**
 * Finds the group of a process. The group of a process in a container may be named as the container sees it; then it
 * is looked up in the container's own file system.
 */
function groupOf(pid: number): MemoryCgroup | undefined {
  const self = `/proc/${pid}/cgroup`
  for (const root of ['/sys/fs/cgroup', `/proc/${pid}/root/sys/fs/cgroup`]) {
    try {
      const cgroup = findMemoryCgroup({ root, self })
      if (cgroup !== undefined && (cgroup.folder !== cgroup.mount || isRoot(self))) return cgroup
    } catch {
      // The process has ended, or this user may not look into its file system.
    }
  }
  return undefined
}

/** Whether a process is in the root group, as far as this process can see. */
function isRoot(self: string): boolean {
  return /^\d+:(?:|[^:]*\bmemory\b[^:]*):\/$/m.test(readOrNothing(self))
}

/** Returns the lowest limit in the group's folder and in those above it. */
function lowest(cgroup: MemoryCgroup, name: string): number | null {
  const limits = foldersUpwards(cgroup).map((folder) => numberOf(readOrNothing(path.join(folder, name))) ?? UNLIMITED)
  const limit = Math.min(...limits)
  return limit >= UNLIMITED ? null : limit
}

/** Returns null for `max` and for a file that is missing. */
function numberOf(line: string): number | null {
  return /^\d+$/.test(line.trim()) ? Number(line) : null
}

function numberAfter(lines: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(lines)?.[1] ?? 0)
}

/** How near this process's memory cgroup is to its limit, in cgroup v1 and v2. */
import fs from 'node:fs'
import path from 'node:path'
import { ProcFile } from './proc-file.js'

/** v1 says "no limit" with a number like this, the largest multiple of a page. */
const UNLIMITED = 2 ** 60

interface Place {
  /** Where groups of this kind are. */
  mount: string
  folder: string
  current: string
  limits: string[]
  /** What `memory.stat` calls pages of files that were not used lately, of the group and those in it. */
  idle: Buffer
  /** Pressure of this group alone; v2 only. */
  pressure?: string
}

/**
 * The nearest limit above this process: of its own group, or of one that its group is in. Looked up once; read without a new
 * descriptor.
 */
export class CgroupLimit {
  /** `memory.pressure` of the group, for a trigger of the kernel's. */
  readonly pressure: string | undefined
  readonly #groups: { current: ProcFile; limits: ProcFile[]; stat: ProcFile | undefined }[] = []
  readonly #idle: Buffer = Buffer.alloc(0)

  /**
   * @param root where the cgroup file systems are
   * @param self says which groups this process is in
   */
  constructor(root = '/sys/fs/cgroup', self = '/proc/self/cgroup') {
    const place = find(root, self)
    if (place === undefined) return
    const pressure = place.pressure && path.join(place.folder, place.pressure)
    if (pressure !== undefined && fs.existsSync(pressure)) this.pressure = pressure
    this.#idle = place.idle
    for (let folder = place.folder; folder.startsWith(place.mount); folder = path.dirname(folder)) {
      const current = open(path.join(folder, place.current))
      const limits = place.limits.flatMap((name) => open(path.join(folder, name)) ?? [])
      if (current !== undefined && limits.length > 0) {
        this.#groups.push({ current, limits, stat: open(path.join(folder, 'memory.stat'), 4096) })
      } else {
        for (const file of [current, ...limits]) file?.close()
      }
    }
  }

  /**
   * What is used of the tightest limit, from 0 to 1 and a little over; 0 where there is none. Idle pages of files are not counted: a
   * group that reads files is always filled up with them, and the kernel takes them first.
   *
   * @param near below this share they are counted all the same, which is cheaper
   */
  used(near = 0): number {
    let used = 0
    for (const { current, limits, stat } of this.#groups) {
      for (const file of limits) {
        const limit = figure(file)
        if (limit <= 0 || limit >= UNLIMITED) continue
        let held = figure(current)
        if (held / limit >= near && stat !== undefined) held -= Math.max(0, figure(stat, this.#idle))
        used = Math.max(used, held / limit)
      }
    }
    return used
  }

  close(): void {
    for (const { current, limits, stat } of this.#groups.splice(0)) {
      for (const file of [current, ...limits, stat]) file?.close()
    }
  }
}

function find(root: string, self: string): Place | undefined {
  let lines: string[]
  try {
    lines = fs.readFileSync(self, 'utf8').split('\n')
  } catch {
    // Not Linux, or /proc is hidden.
    return undefined
  }
  for (const line of lines) {
    const [, controllers = '', group = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    // In a container the group can be named from outside of it: then its root is what is seen here.
    const seen = (folder: string) => {
      const mount = path.resolve(folder)
      const own = path.join(mount, group)
      return { mount, folder: own.startsWith(mount) && fs.existsSync(own) ? own : mount }
    }
    if (controllers.split(',').includes('memory')) {
      return {
        ...seen(path.join(root, 'memory')),
        current: 'memory.usage_in_bytes',
        limits: ['memory.limit_in_bytes'],
        idle: Buffer.from('\ntotal_inactive_file ')
      }
    }
    if (controllers === '' && fs.existsSync(path.join(root, 'cgroup.controllers'))) {
      return {
        ...seen(root),
        current: 'memory.current',
        limits: ['memory.max', 'memory.high'],
        idle: Buffer.from('\ninactive_file '),
        pressure: 'memory.pressure'
      }
    }
  }
  return undefined
}

function open(file: string, size = 64): ProcFile | undefined {
  try {
    return new ProcFile(file, size)
  } catch {
    // The root group has no limit, and no file for one.
    return undefined
  }
}

/** -1: `max`, or the group has gone. */
function figure(file: ProcFile, key?: Buffer): number {
  try {
    file.read()
    return key === undefined ? file.decimal(0) : file.figure(key)
  } catch {
    return -1
  }
}

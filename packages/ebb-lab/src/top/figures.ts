/** Reads the figures of processes and of the machine through files that stay open. */
import fs from 'node:fs'
import path from 'node:path'
import { findMemoryCgroup, ProcessError, ProcessView } from 'ebb/memory'

/** Memory and CPU time of a process. Bytes and milliseconds. */
export interface ProcessFigures {
  anonymous: number
  resident: number
  cpu: number
  descriptors: number | null
}

/** Processes that are read again and again. */
export class ProcessViews {
  readonly #views = new Map<number, ProcessView>()

  /** Reads a process; null if it has ended, or another process has its pid by now. */
  read(pid: number, startTime: number): ProcessFigures | null {
    try {
      const view = this.#views.get(pid) ?? this.#open(pid)
      if (view.startTime === startTime) {
        const { anonymous, swapped, resident } = view.status()
        return { anonymous: anonymous + swapped, resident, cpu: view.cpu(), descriptors: view.descriptors() }
      }
    } catch (error) {
      if (!(error instanceof ProcessError) || error.fault === 'unreadable') throw error
    }
    this.#close(pid)
    return null
  }

  /** Closes the files of processes that are not among `pids`. */
  keep(pids: ReadonlySet<number>): void {
    for (const pid of this.#views.keys()) if (!pids.has(pid)) this.#close(pid)
  }

  #open(pid: number): ProcessView {
    const view = new ProcessView(pid)
    this.#views.set(pid, view)
    return view
  }

  #close(pid: number): void {
    this.#views.get(pid)?.close()
    this.#views.delete(pid)
  }
}

/** Returns the memory of the machine: what it has, and what programs can get without swapping. */
export function machineMemory(): { total: number; available: number } {
  const text = fs.readFileSync('/proc/meminfo', 'latin1')
  const kilobytes = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0)
  return { total: kilobytes('MemTotal') * 1024, available: kilobytes('MemAvailable') * 1024 }
}

/** Returns the path of the file with the memory pressure of a process's own cgroup; null if there is none. */
export function pressureFileOf(pid: number): string | null {
  try {
    const cgroup = findMemoryCgroup({ self: `/proc/${pid}/cgroup` })
    const name = cgroup?.files.pressure
    // The root group's file is that of the machine.
    if (cgroup === undefined || name === undefined || cgroup.folder === cgroup.mount) return null
    const file = path.join(cgroup.folder, name)
    return fs.existsSync(file) ? file : null
  } catch {
    return null
  }
}

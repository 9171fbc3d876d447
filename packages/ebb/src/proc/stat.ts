/** Reads and parses `/proc/PID/stat`. See proc_pid_stat(5). */
import { checkObject, checkPid } from '../sys/arguments.js'
import { ProcFile } from './proc-file.js'

/**
 * Milliseconds per clock tick. Times in `/proc/PID/stat` are in `USER_HZ`, which is 100 on every architecture that Node
 * supports, whatever the kernel's internal `HZ` is. See `sysconf(_SC_CLK_TCK)` in proc(5).
 */
export const TICK_MS = 10

/** `PF_KTHREAD` of the kernel's `include/linux/sched.h`, a bit of the field `flags`. */
const KERNEL_THREAD = 0x00200000

/** Field numbers as in proc_pid_stat(5), which counts from 1. */
const FIELD = {
  state: 3,
  parent: 4,
  group: 5,
  flags: 9,
  userTime: 14,
  systemTime: 15,
  childrenUserTime: 16,
  childrenSystemTime: 17,
  startTime: 22
}

/** What `/proc/PID/stat` says about a process. */
export interface ProcessStat {
  /** One letter: `R` running, `S` sleeping, `Z` zombie, `X` dead, and others; see proc_pid_stat(5). */
  state: string
  /** Process id of the parent; 0 for a process that has none. */
  parent: number
  /** Process group id. */
  group: number
  /** Start time in clock ticks since boot. Together with the pid it identifies a process until the next reboot. */
  startTime: number
  /** User and system CPU time of all threads, ms, in steps of 10. */
  cpu: number
  /** Kernel flags, the bits `PF_*` of `include/linux/sched.h`. */
  flags: number
}

/** `/proc/PID/stat`, held open: call {@link ProcFile.read}, then ask for fields. */
export class StatFile extends ProcFile {
  /** Opens the file. Throws the errors of `open(2)`: `ENOENT` if no process has this pid. */
  constructor(pid: number) {
    super(`/proc/${pid}/stat`, 512)
  }

  /** One letter, see {@link ProcessStat.state}; empty if the file has no such field. */
  get state(): string {
    const at = this.#position(FIELD.state)
    return at === -1 ? '' : String.fromCharCode(this.buffer[at] as number)
  }

  /** Process id of the parent. */
  get parent(): number {
    return this.#number(FIELD.parent)
  }

  /** Process group id. */
  get group(): number {
    return this.#number(FIELD.group)
  }

  /** Clock ticks from boot to the start of the process. */
  get startTime(): number {
    return this.#number(FIELD.startTime)
  }

  /** Kernel flags, the bits `PF_*`. */
  get flags(): number {
    return this.#number(FIELD.flags)
  }

  /** Whether this is a kernel thread, which has no memory of its own. */
  get isKernelThread(): boolean {
    return (this.flags & KERNEL_THREAD) !== 0
  }

  /** User and system CPU time of all threads, ms. */
  get cpu(): number {
    return (this.#number(FIELD.userTime) + this.#number(FIELD.systemTime)) * TICK_MS
  }

  /** CPU time of descendants that have ended and were waited for, ms. */
  get cpuOfChildren(): number {
    return (this.#number(FIELD.childrenUserTime) + this.#number(FIELD.childrenSystemTime)) * TICK_MS
  }

  #number(field: number): number {
    const at = this.#position(field)
    return at === -1 ? 0 : Math.max(0, this.decimal(at))
  }

  /**
   * Returns the offset of a field, or -1. Counts from the last `)`, because the second field, `(comm)`, is the
   * program's name and may itself contain blanks and parentheses.
   */
  #position(field: number): number {
    const { buffer, length } = this
    let at = buffer.lastIndexOf(0x29, length - 1)
    if (at === -1) return -1
    for (let number = 2; number < field; number++) {
      at = buffer.indexOf(0x20, at + 1)
      if (at === -1 || at >= length) return -1
    }
    return at + 1 < length ? at + 1 : -1
  }
}

/**
 * Reads `/proc/PID/stat` once. To read it again and again, keep a `StatFile`.
 *
 * Throws the errors of `open(2)` and `read(2)`: `ENOENT` or `ESRCH` if there is no such process. Throws a `TypeError`
 * with the code `ERR_INVALID_ARG_VALUE` for anything but a process id.
 */
export function readStat(pid: number): ProcessStat {
  checkPid(pid)
  const file = new StatFile(pid)
  try {
    file.read()
    const { state, parent, group, startTime, cpu, flags } = file
    return { state, parent, group, startTime, cpu, flags }
  } finally {
    file.close()
  }
}

/** Whether the process still runs: it is neither a zombie (ended, but not yet waited for by its parent) nor dead. */
export function isRunning(process: Pick<ProcessStat, 'state'>): boolean {
  checkObject(process, 'process')
  const { state } = process
  return state !== 'Z' && state !== 'X'
}

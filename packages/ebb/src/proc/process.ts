/**
 * The kernel's view of a process: the memory it holds and the CPU time it has used. Works for any pid and any language.
 *
 * On Linux 6.2 to 6.16 the kernel keeps the counters behind `VmRSS` and `RssAnon` per CPU, and each may lag by up to 32
 * pages per CPU. `smaps_rollup` counts page by page and does not lag.
 */
import fs from 'node:fs'
import type { ErrorCode } from '../sys/error-codes.js'
import { EbbError, type Errno, shown } from '../sys/errors.js'
import { ProcFile } from './proc-file.js'
import { StatFile } from './stat.js'

/** Memory and threads of a process, from `/proc/PID/status`. Bytes, except for `threads`. */
export interface ProcessStatus {
  /** Resident memory, which `top` shows as RES (`VmRSS`). */
  resident: number
  /** Resident memory with no file behind it (`RssAnon`). */
  anonymous: number
  /** Anonymous memory that the kernel has moved to swap (`VmSwap`). Not part of `resident` and `anonymous`. */
  swapped: number
  /** Resident pages of mapped files and of shared memory (`RssFile` + `RssShmem`). */
  file: number
  /** The highest resident memory since the process started (`VmHWM`). */
  peak: number
  /** Number of threads. */
  threads: number
}

/** Memory of a process apart from what it shares, from `/proc/PID/smaps_rollup`. Bytes. */
export interface ProcessShares {
  /** Unique set size (USS): pages that no other process maps (`Private_Clean` + `Private_Dirty`). */
  private: number
  /** Proportional set size (PSS): each page divided by the number of processes that map it (`Pss`). */
  proportional: number
}

/**
 * Why a process cannot be read.
 *
 * - `missing`: no process has this pid, or it is not a pid at all.
 * - `hidden`: the process exists, but `/proc` does not show it to this user (`hidepid`).
 * - `zombie`: the process has exited and its parent has not waited for it yet. It holds no memory.
 * - `ended`: the process has ended since the view was opened.
 * - `kernel`: it is a kernel thread, which has no memory of its own.
 * - `unreadable`: any other error; `cause` is the error of the operating system.
 */
export type ProcessFault = 'missing' | 'hidden' | 'zombie' | 'ended' | 'kernel' | 'unreadable'

/** The error of a process that cannot be read. `fault` tells cases apart that share a `code`. */
export class ProcessError extends EbbError {
  /** Always `ProcessError`. */
  override readonly name = 'ProcessError'
  /** Process id that was asked for. */
  readonly pid: number
  /** Reason why the process has no figures. */
  readonly fault: ProcessFault
  /** The system call that failed: `open` or `read`. */
  readonly syscall: string

  /**
   * @param code name of an errno, as in Node's own errors: `ESRCH`, `EACCES`, `EINVAL`, `ENOTSUP`, `EMFILE`, ...
   */
  constructor(
    pid: number,
    fault: ProcessFault,
    code: ErrorCode | Errno,
    syscall: string,
    message: string,
    cause?: unknown
  ) {
    super(code, message, cause)
    this.pid = pid
    this.fault = fault
    this.syscall = syscall
  }

  /** Whether the process existed when the view was opened and has exited since, zombies included. */
  get gone(): boolean {
    return this.fault === 'ended' || this.fault === 'zombie'
  }
}

const KEY = {
  resident: Buffer.from('\nVmRSS:'),
  anonymous: Buffer.from('\nRssAnon:'),
  swapped: Buffer.from('\nVmSwap:'),
  mapped: Buffer.from('\nRssFile:'),
  shared: Buffer.from('\nRssShmem:'),
  peak: Buffer.from('\nVmHWM:'),
  threads: Buffer.from('\nThreads:'),
  zombie: Buffer.from('\nState:\tZ'),
  pss: Buffer.from('\nPss:'),
  privateClean: Buffer.from('\nPrivate_Clean:'),
  privateDirty: Buffer.from('\nPrivate_Dirty:')
}

/**
 * Reads a process through descriptors that stay open. A read takes no new descriptor, so it works while this process
 * has none left. No figure can come from another process that gets the same pid later.
 *
 * @example
 * const view = new ProcessView(4242)
 * console.log(view.status().anonymous, view.descriptors())
 * view.close()
 */
export class ProcessView {
  /** Process id. */
  readonly pid: number
  /**
   * Clock ticks from boot to the start of the process. Together with the pid it identifies the process until a reboot.
   */
  readonly startTime: number
  readonly #stat: StatFile
  readonly #status: ProcFile
  #smaps: ProcFile | null
  readonly #descriptors: string

  /**
   * Opens the view. Takes 3 descriptors, or 2 if this user may not read `smaps_rollup`. Throws {@link ProcessError}.
   */
  constructor(pid: number) {
    if (!Number.isSafeInteger(pid) || pid < 1) {
      throw new ProcessError(
        pid,
        'missing',
        'EINVAL',
        'open',
        `${shown(pid)} is not a process id: give a whole number above 0`
      )
    }
    this.pid = pid
    this.#descriptors = `/proc/${pid}/fd`
    const open: ProcFile[] = []
    try {
      this.#stat = new StatFile(pid)
      open.push(this.#stat)
      this.#status = new ProcFile(`/proc/${pid}/status`)
      open.push(this.#status)
      this.#smaps = openShares(pid)
      if (this.#smaps) open.push(this.#smaps)
      // Read `stat` last: if its process still runs, the files opened since then belong to the same process.
      this.#stat.read()
      this.startTime = this.#stat.startTime
      this.status()
    } catch (error) {
      for (const file of open) file.close()
      throw error instanceof ProcessError ? error : openError(pid, error)
    }
  }

  /** Reads memory and threads from `/proc/PID/status`, which every user may read. Throws {@link ProcessError}. */
  status(): ProcessStatus {
    const file = this.#status
    this.#read(file)
    const figures = statusFigures(file)
    if (figures === null) throw this.#noMemoryError()
    return figures
  }

  /**
   * Reads `/proc/PID/smaps_rollup`. Returns null if this user may not read it (another user's process), or the kernel
   * has no such file (before 4.14). The kernel walks the page tables, which takes some ms per GB, so read it rarely.
   * Throws {@link ProcessError}.
   */
  smaps(): ProcessShares | null {
    if (this.#smaps === null) return null
    try {
      this.#smaps.read()
      if (this.#smaps.length > 0) return shares(this.#smaps)
    } catch (error) {
      if (codeOf(error) !== 'ESRCH') throw readError(this.pid, error)
    }
    // The file belongs to the memory of the process at the time of opening. An exec replaces the memory: open it again.
    this.#smaps.close()
    this.#smaps = null
    const file = openShares(this.pid)
    try {
      this.#checkSame()
      if (file === null) return null
      this.#read(file)
    } catch (error) {
      file?.close()
      throw error
    }
    this.#smaps = file
    return shares(file)
  }

  /**
   * Reads the user and system CPU time of all threads since the start, ms, in steps of 10. Throws {@link ProcessError}.
   */
  cpu(): number {
    this.#read(this.#stat)
    return this.#stat.cpu
  }

  /** Reads the CPU time of descendants that have ended and were waited for, ms. Throws {@link ProcessError}. */
  cpuOfEnded(): number {
    this.#read(this.#stat)
    return this.#stat.cpuOfChildren
  }

  /**
   * Counts open descriptors. Returns null if this user may not count them. Since Linux 6.2 (commit f1f1f2569901) their
   * number is the size of `/proc/PID/fd`, which every user may read. Older kernels need a listing of the directory, see
   * {@link countsDescriptorsFast}. Throws {@link ProcessError}.
   */
  descriptors(): number | null {
    const count = countDescriptors(this.#descriptors, this.pid)
    this.#checkSame()
    return count
  }

  /** Closes the descriptors. Closing twice is allowed. */
  close(): void {
    this.#stat.close()
    this.#status.close()
    this.#smaps?.close()
    this.#smaps = null
  }

  #read(file: ProcFile): void {
    try {
      file.read()
    } catch (error) {
      throw readError(this.pid, error)
    }
  }

  /**
   * Throws if the process has ended. Called after a look-up by pid: if the process still runs, the pid has not been
   * reused, so the look-up found this process.
   */
  #checkSame(): void {
    this.#read(this.#stat)
  }

  /** Returns the error for a process whose `status` lists no memory. */
  #noMemoryError(): ProcessError {
    const { pid } = this
    if (this.#status.find(KEY.zombie) !== -1) {
      const text = `process ${pid} is a zombie: it has exited and holds no memory, but its parent has not waited for it`
      return new ProcessError(pid, 'zombie', 'ESRCH', 'read', text)
    }
    this.#read(this.#stat)
    if (this.#stat.isKernelThread) {
      const text = `process ${pid} is a kernel thread and has no memory of its own: give the pid of another process`
      return new ProcessError(pid, 'kernel', 'EINVAL', 'read', text)
    }
    // The process is exiting: the kernel frees its memory before it changes its state.
    return new ProcessError(pid, 'ended', 'ESRCH', 'read', `process ${pid} has ended`)
  }
}

let ownStatus: ProcFile | undefined

/**
 * Reads `/proc/self/status`: `self().anonymous` is the anonymous memory of this process. The first call opens a
 * descriptor and keeps it. Call it once at the start, and it works later when there are no descriptors left. Throws the
 * errors of `open(2)` and `read(2)`.
 */
export function self(): ProcessStatus {
  ownStatus ??= new ProcFile('/proc/self/status')
  ownStatus.read()
  const figures = statusFigures(ownStatus)
  if (figures === null) throw new ProcessError(process.pid, 'ended', 'ESRCH', 'read', 'this process is ending')
  return figures
}

/**
 * Returns the anonymous memory of this process, resident and in swap, bytes; 0 if it cannot be read: not Linux, or no
 * descriptor left at the first call.
 */
export function ownAnonymous(): number {
  try {
    const { anonymous, swapped } = self()
    return anonymous + swapped
  } catch {
    return 0
  }
}

/** Returns `self().swapped` without making objects. Throws the errors of `open(2)` and `read(2)`. */
export function ownSwapped(): number {
  ownStatus ??= new ProcFile('/proc/self/status')
  ownStatus.read()
  return bytes(ownStatus, KEY.swapped)
}

let countsFast: boolean | undefined

/** Whether the kernel counts the descriptors of a process, so that they need not be listed (Linux 6.2 and later). */
export function countsDescriptorsFast(): boolean {
  // This process always has some descriptors open, so a size of 0 means that the kernel does not count.
  countsFast ??= (fs.statSync('/proc/self/fd', { throwIfNoEntry: false })?.size ?? 0) > 0
  return countsFast
}

/** Returns null if the file lists no memory: a zombie, a kernel thread, or a process that is exiting. */
function statusFigures(file: ProcFile): ProcessStatus | null {
  if (file.find(KEY.resident) === -1) return null
  return {
    resident: bytes(file, KEY.resident),
    anonymous: bytes(file, KEY.anonymous),
    swapped: bytes(file, KEY.swapped),
    file: bytes(file, KEY.mapped) + bytes(file, KEY.shared),
    peak: bytes(file, KEY.peak),
    threads: Math.max(0, file.figure(KEY.threads))
  }
}

function shares(file: ProcFile): ProcessShares {
  return {
    private: bytes(file, KEY.privateClean) + bytes(file, KEY.privateDirty),
    proportional: bytes(file, KEY.pss)
  }
}

/** Returns a figure that the file gives in kB, in bytes; 0 if the file has no such line. */
function bytes(file: ProcFile, key: Buffer): number {
  return Math.max(0, file.figure(key)) * 1024
}

/** Returns null if this user may not read the file, for kernels before 4.14, and for a process without memory. */
function openShares(pid: number): ProcFile | null {
  try {
    return new ProcFile(`/proc/${pid}/smaps_rollup`, 2048)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'EACCES' || code === 'EPERM' || code === 'ENOENT' || code === 'ESRCH') return null
    throw openError(pid, error)
  }
}

function countDescriptors(path: string, pid: number): number | null {
  const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size > 0 || countsDescriptorsFast()) return size
  try {
    const count = fs.readdirSync(path).length
    // The listing itself takes a descriptor.
    return pid === process.pid ? count - 1 : count
  } catch {
    // Another user's process, or this process has no descriptor left for the listing. The next read tells if it has
    // ended.
    return null
  }
}

function openError(pid: number, error: unknown): ProcessError {
  const code = codeOf(error)
  if (code === 'ESRCH') return new ProcessError(pid, 'ended', 'ESRCH', 'read', `process ${pid} has ended`, error)
  if (code !== 'ENOENT') {
    const text = `process ${pid} cannot be read: ${error instanceof Error ? error.message : String(error)}`
    return new ProcessError(pid, 'unreadable', code, 'open', text, error)
  }
  if (process.platform !== 'linux') {
    const text = `process ${pid} cannot be read: this needs /proc, which only Linux has`
    return new ProcessError(pid, 'unreadable', 'ENOTSUP', 'open', text, error)
  }
  if (exists(pid)) {
    const text = `process ${pid} belongs to another user and /proc hides it (hidepid): run as that user or as root`
    return new ProcessError(pid, 'hidden', 'EACCES', 'open', text, error)
  }
  return new ProcessError(pid, 'missing', 'ESRCH', 'open', `there is no process ${pid}`, error)
}

function readError(pid: number, error: unknown): ProcessError {
  const code = codeOf(error)
  if (code === 'ESRCH') return new ProcessError(pid, 'ended', 'ESRCH', 'read', `process ${pid} has ended`, error)
  const text = `process ${pid} cannot be read: ${error instanceof Error ? error.message : String(error)}`
  return new ProcessError(pid, 'unreadable', code, 'read', text, error)
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

/** Returns the errno of a failed call of `node:fs`. */
function codeOf(error: unknown): ErrorCode | Errno {
  return ((error as NodeJS.ErrnoException | undefined)?.code as Errno | undefined) ?? 'UNKNOWN'
}

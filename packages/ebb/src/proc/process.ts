/**
 * The kernel's view of a process: what it holds, and what it has used. Works for any pid and any language.
 *
 * On Linux 6.2 to 6.16 the counters behind `VmRSS` and `RssAnon` are kept per CPU and may lag by up to 32 pages for
 * each of them; `smaps_rollup` counts page by page and does not.
 */
import fs from 'node:fs'
import { ProcFile } from './proc-file.js'
import { StatFile } from './stat.js'

/** From `/proc/PID/status`. Bytes. */
export interface ProcessStatus {
  /** What `top` shows as RES (`VmRSS`). */
  resident: number
  /** Memory with no file behind it (`RssAnon`). */
  anonymous: number
  /** Mapped files and shared memory (`RssFile` + `RssShmem`). */
  file: number
  /** The most that was ever resident (`VmHWM`). */
  peak: number
  threads: number
}

/** From `/proc/PID/smaps_rollup`. Bytes. */
export interface ProcessShares {
  /** USS: pages that no other process maps (`Private_Clean` + `Private_Dirty`). */
  private: number
  /** PSS: every page divided by the number of processes that map it (`Pss`). */
  proportional: number
}

/**
 * Why a process gives no figures.
 *
 * - `missing`: no process has this pid.
 * - `hidden`: there is one, but `/proc` does not show it to this user (`hidepid`).
 * - `zombie`: it has exited, and its parent has not collected it yet; it holds no memory any more.
 * - `ended`: it was there when the view was opened and is gone now.
 * - `kernel`: a kernel thread, which has no memory of its own.
 * - `unreadable`: anything else; `cause` is what the operating system said.
 */
export type ProcessFault = 'missing' | 'hidden' | 'zombie' | 'ended' | 'kernel' | 'unreadable'

/** Node-style: `code`, `syscall` and one sentence. `fault` tells the cases apart that share a code. */
export class ProcessError extends Error {
  override readonly name = 'ProcessError'
  readonly pid: number
  readonly fault: ProcessFault
  readonly code: string
  readonly syscall: string

  constructor(pid: number, fault: ProcessFault, code: string, syscall: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.pid = pid
    this.fault = fault
    this.code = code
    this.syscall = syscall
  }

  /** True for a process that was there once and has no memory any more: it exited, collected or not. */
  get gone(): boolean {
    return this.fault === 'ended' || this.fault === 'zombie'
  }
}

const KEY = {
  resident: Buffer.from('\nVmRSS:'),
  anonymous: Buffer.from('\nRssAnon:'),
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
 * A process, watched through descriptors that stay open: reading it again takes no new descriptor, so it works while
 * this process has none left, and no figure can come from another process that got the same pid later.
 *
 * @example
 * const view = new ProcessView(4242)
 * console.log(view.status().anonymous, view.descriptors())
 * view.close()
 */
export class ProcessView {
  readonly pid: number
  /** When the process started, in ticks since boot: with the pid, its identity for as long as the machine is up. */
  readonly startTime: number
  readonly #stat: StatFile
  readonly #status: ProcFile
  #smaps: ProcFile | null
  readonly #descriptors: string

  /** Opens the view. Takes three descriptors, two where `smaps_rollup` may not be read. Throws {@link ProcessError}. */
  constructor(pid: number) {
    if (!Number.isSafeInteger(pid) || pid < 1) {
      throw new ProcessError(
        pid,
        'missing',
        'EINVAL',
        'open',
        `${pid} is not a process id: give a whole number above 0`
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
      // Last: while the process that `stat` belongs to lives, nobody else can have had its number in between.
      this.#stat.read()
      this.startTime = this.#stat.startTime
      this.status()
    } catch (error) {
      for (const file of open) file.close()
      throw error instanceof ProcessError ? error : openError(pid, error)
    }
  }

  /** Memory and threads, from `/proc/PID/status`, which everybody may read. Throws {@link ProcessError}. */
  status(): ProcessStatus {
    const file = this.#status
    this.#read(file)
    const figures = statusFigures(file)
    if (figures === null) throw this.#withoutMemory()
    return figures
  }

  /**
   * What of its memory is its own, from `/proc/PID/smaps_rollup`; null where this user may not read that (another
   * user's process) or the kernel has no such file. The kernel walks the page tables for it, some milliseconds per
   * gigabyte: read it seldom. Throws {@link ProcessError}.
   */
  smaps(): ProcessShares | null {
    if (this.#smaps === null) return null
    try {
      this.#smaps.read()
      if (this.#smaps.length > 0) return shares(this.#smaps)
    } catch (error) {
      if (errno(error) !== 'ESRCH') throw readError(this.pid, error)
    }
    // The file belongs to the memory that the process had when it was opened. An exec replaces that memory, not the process.
    this.#smaps.close()
    this.#smaps = null
    const file = openShares(this.pid)
    try {
      this.#same()
      if (file === null) return null
      this.#read(file)
    } catch (error) {
      file?.close()
      throw error
    }
    this.#smaps = file
    return shares(file)
  }

  /** User and system time used since the start by all its threads, ms, in steps of 10. Throws {@link ProcessError}. */
  cpu(): number {
    this.#read(this.#stat)
    return this.#stat.cpu
  }

  /** The same of its children, and theirs, that have ended and were waited for. Throws {@link ProcessError}. */
  cpuOfEnded(): number {
    this.#read(this.#stat)
    return this.#stat.cpuOfChildren
  }

  /**
   * How many descriptors are open; null where they may not be counted. Since Linux 6.2 the size of `/proc/PID/fd` is
   * their number (commit f1f1f2569901), for everybody and without a descriptor. Before, the directory has to be read:
   * see {@link countsDescriptorsFast}. Throws {@link ProcessError}.
   */
  descriptors(): number | null {
    const count = countDescriptors(this.#descriptors, this.pid)
    this.#same()
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

  /** What was just looked up by number was this process, provided that it still has the number now. */
  #same(): void {
    this.#read(this.#stat)
  }

  #withoutMemory(): ProcessError {
    const { pid } = this
    if (this.#status.find(KEY.zombie) !== -1) {
      const text = `process ${pid} has exited and waits for its parent to collect it (a zombie): it holds no memory any more`
      return new ProcessError(pid, 'zombie', 'ESRCH', 'read', text)
    }
    this.#read(this.#stat)
    if (this.#stat.isKernelThread) {
      const text = `${pid} is a kernel thread, which has no memory of its own: give the pid of a process`
      return new ProcessError(pid, 'kernel', 'EINVAL', 'read', text)
    }
    // On its way out: the memory goes before the state changes.
    return new ProcessError(pid, 'ended', 'ESRCH', 'read', `process ${pid} has ended`)
  }
}

let own: ProcFile | undefined

/**
 * This process, from `/proc/self/status`: `self().anonymous` is what it holds. The first call opens the one descriptor
 * that it keeps; call it once at the start, and it works when there are none left. Throws what `open(2)` and `read(2)`
 * throw.
 */
export function self(): ProcessStatus {
  own ??= new ProcFile('/proc/self/status')
  own.read()
  const figures = statusFigures(own)
  if (figures === null) throw new ProcessError(process.pid, 'ended', 'ESRCH', 'read', 'this process is ending')
  return figures
}

/** `self().anonymous`, bytes; 0 where it cannot be had: not Linux, or no descriptor left at the first call. */
export function ownAnonymous(): number {
  try {
    return self().anonymous
  } catch {
    return 0
  }
}

let fast: boolean | undefined

/** True where the kernel tells the number of a process's descriptors without listing them (Linux 6.2 and later). */
export function countsDescriptorsFast(): boolean {
  // This process always has some open.
  fast ??= (fs.statSync('/proc/self/fd', { throwIfNoEntry: false })?.size ?? 0) > 0
  return fast
}

function statusFigures(file: ProcFile): ProcessStatus | null {
  const resident = file.figure(KEY.resident)
  if (resident === -1) return null
  return {
    resident: resident * 1024,
    anonymous: Math.max(0, file.figure(KEY.anonymous)) * 1024,
    file: (Math.max(0, file.figure(KEY.mapped)) + Math.max(0, file.figure(KEY.shared))) * 1024,
    peak: Math.max(0, file.figure(KEY.peak)) * 1024,
    threads: Math.max(0, file.figure(KEY.threads))
  }
}

function shares(file: ProcFile): ProcessShares {
  return {
    private: (Math.max(0, file.figure(KEY.privateClean)) + Math.max(0, file.figure(KEY.privateDirty))) * 1024,
    proportional: Math.max(0, file.figure(KEY.pss)) * 1024
  }
}

/** Null where this user may not read it, where the kernel has none (before 4.14), or for a process without memory. */
function openShares(pid: number): ProcFile | null {
  try {
    return new ProcFile(`/proc/${pid}/smaps_rollup`, 2048)
  } catch (error) {
    const code = errno(error)
    if (code === 'EACCES' || code === 'EPERM' || code === 'ENOENT' || code === 'ESRCH') return null
    throw openError(pid, error)
  }
}

function countDescriptors(path: string, pid: number): number | null {
  const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size > 0 || countsDescriptorsFast()) return size
  try {
    const count = fs.readdirSync(path).length
    // The listing itself is one of them.
    return pid === process.pid ? count - 1 : count
  } catch {
    // Another user's, or this process has no descriptor left to list with; that the process ended shows in the next read.
    return null
  }
}

function openError(pid: number, error: unknown): ProcessError {
  const code = errno(error)
  if (code === 'ESRCH') return new ProcessError(pid, 'ended', 'ESRCH', 'read', `process ${pid} has ended`, error)
  if (code !== 'ENOENT') {
    const text = `process ${pid} cannot be read: ${error instanceof Error ? error.message : String(error)}`
    return new ProcessError(pid, 'unreadable', code, 'open', text, error)
  }
  if (process.platform !== 'linux') {
    const text = `process ${pid} cannot be read: its figures come from /proc, which only Linux has`
    return new ProcessError(pid, 'unreadable', 'ENOTSUP', 'open', text, error)
  }
  if (exists(pid)) {
    const text = `process ${pid} belongs to another user and /proc hides it (hidepid): run as that user or as root`
    return new ProcessError(pid, 'hidden', 'EACCES', 'open', text, error)
  }
  return new ProcessError(pid, 'missing', 'ESRCH', 'open', `there is no process ${pid}`, error)
}

function readError(pid: number, error: unknown): ProcessError {
  const code = errno(error)
  if (code === 'ESRCH') return new ProcessError(pid, 'ended', 'ESRCH', 'read', `process ${pid} has ended`, error)
  const text = `process ${pid} cannot be read: ${error instanceof Error ? error.message : String(error)}`
  return new ProcessError(pid, 'unreadable', code, 'read', text, error)
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errno(error) === 'EPERM'
  }
}

function errno(error: unknown): string {
  return (error as NodeJS.ErrnoException | undefined)?.code ?? 'UNKNOWN'
}

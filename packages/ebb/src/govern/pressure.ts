/**
 * Watches for memory pressure, as reported by the kernel or by systemd.
 *
 * - The kernel (PSI, https://docs.kernel.org/accounting/psi.html): a trigger such as `some 200000 2000000` is written
 *   to `/proc/pressure/memory`, or to `memory.pressure` of a cgroup. The descriptor then reports `EPOLLPRI` whenever
 *   tasks waited for memory for 200,000 us within 2,000,000 us. Without CAP_SYS_RESOURCE the window must be a multiple
 *   of 2 s.
 * - systemd (https://systemd.io/MEMORY_PRESSURE): `MEMORY_PRESSURE_WATCH` names such a file, a FIFO or a Unix socket,
 *   and `MEMORY_PRESSURE_WRITE` (Base64) is written to it first. `/dev/null` tells the service not to watch anything.
 */

import fs from 'node:fs'
import { ProcFile } from '../proc/proc-file.js'
import { connectUnix } from '../sys/connect.js'
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLPRI } from '../sys/constants.js'
import { EbbError, invalidArgument, shown, systemError, warn } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { type Reactor, reactor, type Watcher } from '../sys/reactor.js'

/** Pressure of the whole machine. */
const MACHINE = '/proc/pressure/memory'
/** Value of {@link PressureSource.from} if systemd, or the user, names the source. */
const VARIABLE = 'MEMORY_PRESSURE_WATCH'

/**
 * Errors of a file that is missing, or that the process may not write to. In containers `/sys` is mounted read-only
 * (EROFS), other users do not own the cgroup (EACCES), older kernels allow triggers to privileged processes only
 * (EPERM), and PSI may be switched off (EOPNOTSUPP). Node's permission model refuses what it does not list
 * (ERR_ACCESS_DENIED).
 */
const UNAVAILABLE: readonly unknown[] = [
  'EROFS',
  'EACCES',
  'EPERM',
  'ENOENT',
  'EOPNOTSUPP',
  'ENOTSUP',
  'ERR_ACCESS_DENIED'
]

/** Pressure: tasks have waited for 200 ms within 2 s, as systemd has it by default. */
const STALL = 200_000
const WINDOW = 2_000_000
/** The PSI trigger, in microseconds. */
const TRIGGER = `some ${STALL} ${WINDOW}\0`

/**
 * The kernel reports `EPOLLPRI` to one poll only. libuv polls the reactor's epoll descriptor first and takes the
 * report, so the reactor's own `epoll_wait` does not return it. But the file is always readable, and an edge-triggered
 * watch for `EPOLLIN` reports once for each event.
 */
const PSI_EVENTS = EPOLLIN | EPOLLPRI | EPOLLET

/**
 * Each governor waits for a random part of this many ms, so that the servers of a machine do not all release at once.
 */
const SPREAD = 1000

/** What is watched for memory pressure. */
export interface PressureSource {
  /** Path of the file, FIFO or Unix socket. */
  path: string
  /** Bytes to write to it first. */
  write: Buffer | undefined
  /** Name of the variable or file that the path comes from, for messages. */
  from: string
}

/**
 * Chooses what to watch: what `MEMORY_PRESSURE_WATCH` names, else the cgroup's file, else the machine's.
 *
 * @param cgroup path of `memory.pressure` of the process's cgroup, if it has one
 * @returns undefined if systemd tells the service not to watch, or the kernel has no PSI
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for invalid variables
 */
export function pressureSource(
  environment: Record<string, string | undefined>,
  cgroup: string | undefined
): PressureSource | undefined {
  const { MEMORY_PRESSURE_WATCH: watch, MEMORY_PRESSURE_WRITE: write } = environment
  if (watch !== undefined && watch !== '') {
    if (watch === '/dev/null') return undefined
    if (!watch.startsWith('/'))
      throw invalidArgument(`MEMORY_PRESSURE_WATCH must be an absolute path, not ${shown(watch)}`)
    return { path: watch, write: write ? base64(write) : undefined, from: VARIABLE }
  }
  const path = [cgroup, MACHINE].find((file) => file !== undefined && fs.existsSync(file))
  return path === undefined ? undefined : kernelSource(path)
}

function kernelSource(path: string): PressureSource {
  return { path, write: Buffer.from(TRIGGER), from: path }
}

function base64(text: string): Buffer {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw invalidArgument('MEMORY_PRESSURE_WRITE must be Base64')
  return Buffer.from(text, 'base64')
}

/** Calls a function after a random delay of up to 1 s whenever memory is short. */
export class PressureMonitor {
  /** Path of the source; undefined if there is none that can be watched or read. */
  readonly path: string | undefined
  #watch: PressureWatch | undefined
  /** Files of the kernel that can be read, but not watched. */
  readonly #polled: PolledPressure[] = []
  readonly #onPressure: () => void
  #delay: NodeJS.Timeout | undefined

  /**
   * Watches `source`. If this fails, watches the pressure of the whole machine, unless `source` comes from
   * `MEMORY_PRESSURE_WATCH`. A file of the kernel that cannot be written to is read at each {@link poll}.
   *
   * Emits a process warning with the code `EBB_NO_PRESSURE` if nothing can be watched. Emits none if the kernel's files
   * are missing or not writable, as in most containers: nothing is wrong there, and releases still follow the load.
   *
   * @param machine path of the file for the whole machine
   */
  constructor(source: PressureSource, onPressure: () => void, machine: string = MACHINE) {
    this.#onPressure = onPressure
    const isNamed = source.from === VARIABLE
    const sources = isNamed || source.path === machine ? [source] : [source, kernelSource(machine)]
    const failures: string[] = []
    for (const candidate of sources) {
      try {
        this.#watch = new PressureWatch(candidate, () => this.#onReport())
        this.path = candidate.path
        return
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        if (isNamed || !UNAVAILABLE.includes(code)) failures.push(`(${candidate.from}): ${message}`)
        else this.#pollInstead(candidate.path)
      }
    }
    this.path = this.#polled[0]?.path
    if (this.path !== undefined || failures.length === 0) return
    warn('EBB_NO_PRESSURE', `ebb cannot watch memory pressure ${failures.join(', ')}`)
  }

  #pollInstead(path: string): void {
    try {
      this.#polled.push(new PolledPressure(path))
    } catch {
      // Hidden, or the kernel counts nothing.
    }
  }

  /** Reads the files that cannot be watched. Call this at regular intervals. Makes no object. */
  poll(): void {
    for (const file of this.#polled) if (file.hasRisen()) this.#onReport()
  }

  /** Closes the watch and cancels a call that is due. */
  close(): void {
    clearTimeout(this.#delay)
    this.#watch?.close()
    for (const file of this.#polled) file.close()
  }

  #onReport(): void {
    if (this.#delay !== undefined) return
    const onDelay = (): void => {
      this.#delay = undefined
      this.#onPressure()
    }
    this.#delay = outside(() => setTimeout(onDelay, Math.random() * SPREAD))
    this.#delay.unref()
  }
}

const TOTAL = Buffer.from('total=')

/** A file of PSI that may only be read: counts for how long tasks have waited. */
class PolledPressure {
  readonly path: string
  readonly #file: ProcFile
  #since: number
  #total: number

  /** @throws {EbbError} if `path` is not a file of PSI, or cannot be read */
  constructor(path: string) {
    if (!fs.statSync(path).isFile()) throw new EbbError('EINVAL', `${path} is not a file`)
    this.path = path
    this.#file = new ProcFile(path, 256)
    this.#since = performance.now()
    try {
      this.#total = this.#read()
      if (this.#total < 0) throw new EbbError('ENODATA', `${path} has no figures`)
    } catch (error) {
      this.#file.close()
      throw error
    }
  }

  /** Whether tasks have waited for long enough since the last report, within the window. */
  hasRisen(): boolean {
    const now = performance.now()
    let total: number
    try {
      total = this.#read()
    } catch {
      // The group is gone.
      return false
    }
    const isLong = total - this.#total >= STALL
    if (isLong || (now - this.#since) * 1000 >= WINDOW) {
      this.#since = now
      this.#total = total
    }
    return isLong
  }

  /** Microseconds for which some task has waited: the first line. */
  #read(): number {
    this.#file.read()
    return this.#file.figure(TOTAL)
  }

  close(): void {
    this.#file.close()
  }
}

/** Calls a function whenever memory is short, until it is closed. Does not hold the process open. */
export class PressureWatch implements Watcher {
  readonly #onPressure: () => void
  readonly #reactor: Reactor
  readonly #owner: number
  /** Whether it is a FIFO or a socket: each byte received is an event. */
  readonly #isStream: boolean
  /** The first report of a file says only that it is readable. */
  #isFirstReport = true
  #fd: number
  readonly #close = (): void => this.close()

  /**
   * @throws {SystemError} if the file cannot be opened, written to or watched
   * @throws Error `ERR_EBB_UNSUPPORTED` if the kernel cannot be called from here
   */
  constructor({ path, write }: PressureSource, onPressure: () => void) {
    this.#onPressure = onPressure
    const stat = fs.statSync(path)
    this.#isStream = stat.isFIFO() || stat.isSocket()
    this.#reactor = reactor()
    this.#fd = stat.isSocket() ? connectUnix(path) : openFile(path, this.#isStream || write !== undefined)
    this.#owner = this.#reactor.register(this)
    try {
      if (write !== undefined) fs.writeSync(this.#fd, write)
      const errno = this.#reactor.add(this.#fd, this.#isStream ? EPOLLIN : PSI_EVENTS, this.#owner)
      // EPERM: epoll cannot watch a regular file.
      if (errno !== 0) throw systemError('epoll_ctl', errno, path)
      // A report that arrives while the process exits would call into a dead environment, which aborts the process.
      process.once('exit', this.#close)
    } catch (error) {
      this.#reactor.unregister(this.#owner)
      fs.closeSync(this.#fd)
      throw error
    }
  }

  /** Called by the reactor. */
  ready(fd: number, events: number): void {
    if (this.#isStream) {
      if (this.#drain(fd)) this.#onPressure()
      return
    }
    // The cgroup or the trigger is gone. The kernel would report it again and again.
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
      this.close()
      return
    }
    if (this.#isFirstReport) this.#isFirstReport = false
    else this.#onPressure()
  }

  /** Stops watching. Closing twice is allowed. */
  close(): void {
    if (this.#fd === -1) return
    this.#reactor.close(this.#fd)
    this.#reactor.unregister(this.#owner)
    process.off('exit', this.#close)
    this.#fd = -1
  }

  /** Reads and drops the bytes that have arrived. Returns false if there are none, as at the end of the stream. */
  #drain(fd: number): boolean {
    try {
      if (fs.readSync(fd, Buffer.alloc(4096)) > 0) return true
      this.close()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.close()
    }
    return false
  }
}

function openFile(path: string, writable: boolean): number {
  const { O_RDWR, O_RDONLY, O_NONBLOCK } = fs.constants
  // A FIFO that is also open for writing does not end when its other writers close it.
  return fs.openSync(path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK)
}

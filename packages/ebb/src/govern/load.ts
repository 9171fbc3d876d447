/**
 * The load of this process: anonymous memory, descriptors, CPU time. Reads it from the kernel without making objects.
 */
import { ProcFile } from '../proc/proc-file.js'
import { pageSize } from '../proc/sockstat.js'
import { StatFile } from '../proc/stat.js'
import { OwnSwap } from '../proc/swap.js'
import { openDescriptors } from '../sys/descriptors.js'
import { processTime } from '../sys/thread-time.js'

/** Reads the load of this process through descriptors that stay open. */
export class Load {
  /** Anonymous memory at the last {@link read}, resident and in swap, bytes. */
  anonymous = 0
  /** Open descriptors at the last {@link read}; -1 where the kernel does not count them (before Linux 6.2). */
  descriptors = -1
  /** Share of a core, 0 to 1, that this thread used between the last two calls of {@link readBusy}. */
  busy = 0
  /** Number of cores that all other threads of this process used in that time: workers, libuv's and V8's threads. */
  othersBusy = 0

  /** Sizes in pages: total, resident, shared, and more. Costs an eighth of reading `/proc/self/status`. */
  readonly #statm = new ProcFile('/proc/self/statm', 128)
  /** CPU time of this thread in ns; undefined for a kernel without CONFIG_SCHED_INFO. */
  readonly #schedstat = openOptional('/proc/thread-self/schedstat')
  /** CPU time of all threads in steps of 10 ms, where the C library cannot be asked. */
  readonly #stat = processTime() === undefined ? new StatFile(process.pid) : undefined
  readonly #swap: OwnSwap
  readonly #page = pageSize()
  #cpuMs = 0
  #allCpuMs = 0
  #readAt = 0

  /**
   * Throws the errors of `open(2)` where there is no `/proc`.
   *
   * @param swap for tests
   */
  constructor(swap: OwnSwap = new OwnSwap()) {
    this.#swap = swap
    this.read()
    this.readBusy()
  }

  /** Reads anonymous memory and descriptors. */
  read(): void {
    this.#statm.read()
    const resident = afterBlank(this.#statm, 0)
    const shared = afterBlank(this.#statm, resident)
    const pages = this.#statm.decimal(resident) - this.#statm.decimal(shared)
    this.anonymous = pages * this.#page + this.#swap.bytes()
    this.descriptors = openDescriptors()
  }

  /**
   * Reads the CPU time. A call of its own, because {@link read} is called more often: it would cut the time into short
   * pieces, and a short piece may be all work.
   */
  readBusy(): void {
    if (this.#schedstat === undefined) return
    this.#schedstat.read()
    const cpuMs = this.#schedstat.decimal(0) / 1e6
    const allCpuMs = this.#allThreads()
    const now = performance.now()
    if (now > this.#readAt) {
      const ms = now - this.#readAt
      const ownMs = cpuMs - this.#cpuMs
      this.busy = Math.max(0, ownMs / ms)
      this.othersBusy = Math.max(0, (allCpuMs - this.#allCpuMs - ownMs) / ms)
    }
    this.#cpuMs = cpuMs
    this.#allCpuMs = allCpuMs
    this.#readAt = now
  }

  #allThreads(): number {
    if (this.#stat === undefined) return processTime() ?? 0
    this.#stat.read()
    return this.#stat.cpu
  }

  /** Closes the descriptors. Closing twice is allowed. */
  close(): void {
    this.#statm.close()
    this.#schedstat?.close()
    this.#stat?.close()
    this.#swap.close()
  }
}

function openOptional(path: string): ProcFile | undefined {
  try {
    return new ProcFile(path, 128)
  } catch {
    return undefined
  }
}

/** Returns the offset of the next number. */
function afterBlank(file: ProcFile, from: number): number {
  return file.buffer.indexOf(0x20, from) + 1
}

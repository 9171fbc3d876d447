/** What this program is doing, read from the kernel without making an object: anonymous memory, descriptors, time on a core. */
import fs from 'node:fs'
import { ProcFile } from '../proc/proc-file.js'
import { pageSize } from '../proc/sockstat.js'
import * as libc from '../sys/libc.js'

/** `struct statx` is 256 bytes; the size stands at 40. */
const STATX_BYTES = 256
const STATX_SIZE_AT = 40
const STATX_SIZE = 0x200
const AT_FDCWD = -100

export class Load {
  /** Bytes. */
  anonymous = 0
  /** Open descriptors; -1 where the kernel does not count them (before Linux 6.2). */
  descriptors = -1
  /** The share of a core that the main thread took between the last two calls of {@link readBusy}. */
  busy = 0

  // size, resident, shared, ...: in pages, for an eighth of the price of `status`.
  readonly #statm = new ProcFile('/proc/self/statm', 128)
  /** ns on a core. */
  readonly #schedstat = openOptional('/proc/self/schedstat')
  readonly #page = pageSize()
  readonly #stat = Buffer.alloc(STATX_BYTES)
  readonly #statAt = libc.addressOf(this.#stat)
  #cpu = 0
  #at = 0

  /** @throws what `open(2)` throws, where there is no `/proc` */
  constructor() {
    this.read()
    this.readBusy()
  }

  read(): void {
    this.#statm.read()
    const resident = afterBlank(this.#statm, 0)
    const shared = afterBlank(this.#statm, resident)
    this.anonymous = (this.#statm.decimal(resident) - this.#statm.decimal(shared)) * this.#page
    this.descriptors = this.#countDescriptors()
  }

  /** Of its own: what is looked at in between must not cut the time into pieces, of which one is all work. */
  readBusy(): void {
    if (this.#schedstat === undefined) return
    this.#schedstat.read()
    const cpu = this.#schedstat.decimal(0) / 1e6
    const now = performance.now()
    if (now > this.#at) this.busy = Math.max(0, (cpu - this.#cpu) / (now - this.#at))
    this.#cpu = cpu
    this.#at = now
  }

  close(): void {
    this.#statm.close()
    this.#schedstat?.close()
  }

  #countDescriptors(): number {
    if (libc.statx === undefined) return fs.statSync('/proc/self/fd').size || -1
    if (libc.statx(AT_FDCWD, '/proc/self/fd', 0, STATX_SIZE, this.#statAt) === -1) return -1
    return this.#stat.readUInt32LE(STATX_SIZE_AT) || -1
  }
}

function openOptional(path: string): ProcFile | undefined {
  try {
    return new ProcFile(path, 128)
  } catch {
    // A kernel without CONFIG_SCHED_INFO.
    return undefined
  }
}

/** Where the next number starts. */
function afterBlank(file: ProcFile, from: number): number {
  return file.buffer.indexOf(0x20, from) + 1
}

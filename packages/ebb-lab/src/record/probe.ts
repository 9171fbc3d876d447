/** Samples the memory of one process. */
import { countsDescriptorsFast, type ProcessShares, ProcessTree, ProcessView } from 'ebb/memory'
import { type NoteMark, smapsSlow, smapsUnreadable, swapUsed } from './notes.js'
import type { Sample } from './recording.js'

/** Options of {@link Probe}. Times are in milliseconds. */
export interface ProbeOptions {
  /** Sums up the process and everything that it started. Default: false. */
  tree?: boolean
  /** Interval between two samples. */
  every: number
  /** Minimum interval between two reads of `smaps_rollup`. Longer if a read takes long. */
  smapsEvery: number
  /** Share of CPU time that reading `smaps_rollup` may take. Above it, reads are less frequent. Default: 0.005. */
  smapsShare?: number
  /** Called with notes for the reader of the recording. */
  onNote: (note: NoteMark) => void
}

/** While the kernel reads it, the process waits if it maps memory, so this bounds what a watched server loses. */
const SMAPS_SHARE = 0.005

/**
 * Samples a process. Reads `status` each time and `smaps_rollup` rarely, because the kernel walks the page tables for
 * it. Opens all its descriptors at the start, so it goes on if this process runs out of descriptors.
 */
export class Probe {
  readonly #view: ProcessView | ProcessTree
  readonly #options: ProbeOptions
  #nextSmaps = 0
  #descriptors: number | null = null
  #reportedSlow = false
  #reportedSwap = false

  /** @throws ProcessError if the process cannot be read */
  constructor(pid: number, options: ProbeOptions) {
    this.#view = options.tree ? new ProcessTree(pid) : new ProcessView(pid)
    this.#options = options
  }

  /**
   * Takes a sample, without the figures of the machine.
   *
   * @throws ProcessError if the process cannot be read; `gone` is true if it has ended
   */
  sample(t: number): Omit<Sample, 'kernel'> {
    const view = this.#view
    const { resident, anonymous, swapped, file, threads } = view.status()
    if (swapped > 0 && !this.#reportedSwap) {
      this.#reportedSwap = true
      this.#options.onNote(swapUsed(swapped))
    }
    const cpu = view.cpu()
    let shares: ProcessShares | null = null
    const isSmapsTime = t >= this.#nextSmaps
    if (isSmapsTime) shares = this.#shares(t)
    if (isSmapsTime || countsDescriptorsFast()) this.#descriptors = view.descriptors()
    return {
      type: 'sample',
      t,
      resident,
      anonymous: anonymous + swapped,
      file,
      private: shares?.private ?? null,
      proportional: shares?.proportional ?? null,
      ...(view instanceof ProcessTree && { processes: view.size }),
      threads,
      descriptors: this.#descriptors,
      cpu
    }
  }

  /** Closing twice is allowed. */
  close(): void {
    this.#view.close()
  }

  #shares(t: number): ProcessShares | null {
    const { every, smapsEvery, smapsShare = SMAPS_SHARE, onNote } = this.#options
    const first = this.#nextSmaps === 0
    // CPU time, not elapsed time: on a busy machine a read may wait, and waiting costs nothing.
    const before = process.cpuUsage()
    const shares = this.#view.smaps()
    const { user, system } = process.cpuUsage(before)
    const cost = (user + system) / 1000
    const wait = Math.max(smapsEvery, cost / smapsShare)
    if (wait > smapsEvery && !this.#reportedSlow) {
      this.#reportedSlow = true
      onNote(smapsSlow(cost))
    }
    // Half a period early, so that the read surely falls on the intended sample.
    this.#nextSmaps = t + wait - every / 2
    if (first && shares === null) {
      onNote(smapsUnreadable(this.#view.pid))
    }
    return shares
  }
}

/** What one process holds, sample after sample. */
import { countsDescriptorsFast, type ProcessShares, ProcessTree, ProcessView } from 'ebb/memory'
import { type NoteMark, smapsSlow, smapsUnreadable } from './notes.js'
import type { Sample } from './recording.js'

/** Times in milliseconds. */
export interface ProbeOptions {
  /** Sum up the process and all that it started. Default: false. */
  tree?: boolean
  /** From one sample to the next. */
  every: number
  /** From one read of `smaps_rollup` to the next; more where reading it takes long. */
  smapsEvery: number
  /** The share of a processor that these reads may take: above it they become fewer. Default: 0.01. */
  smapsShare?: number
  /** Told what a reader of the recording has to know. */
  onNote: (note: NoteMark) => void
}

const SMAPS_SHARE = 0.01

/**
 * Samples a process: `status` each time, `smaps_rollup`, for which the kernel walks the page tables, rarely. All descriptors
 * are opened at the start, so that it goes on when this process runs out of them.
 */
export class Probe {
  readonly #view: ProcessView | ProcessTree
  readonly #options: ProbeOptions
  #nextSmaps = 0
  #descriptors: number | null = null
  #saidSlow = false

  /** Throws `ProcessError` where the process cannot be read. */
  constructor(pid: number, options: ProbeOptions) {
    this.#view = options.tree ? new ProcessTree(pid) : new ProcessView(pid)
    this.#options = options
  }

  /** All of a sample but what belongs to the machine. Throws `ProcessError`; `gone` when the process has ended. */
  sample(t: number): Omit<Sample, 'kernel'> {
    const view = this.#view
    const { resident, anonymous, file, threads } = view.status()
    const cpu = view.cpu()
    let shares: ProcessShares | null = null
    const slowly = t >= this.#nextSmaps
    if (slowly) shares = this.#shares(t)
    if (slowly || countsDescriptorsFast()) this.#descriptors = view.descriptors()
    return {
      type: 'sample',
      t,
      resident,
      anonymous,
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
    // CPU time and not the clock: on a busy machine a read may wait, which is no reason to read less.
    const before = process.cpuUsage()
    const shares = this.#view.smaps()
    const { user, system } = process.cpuUsage(before)
    const cost = (user + system) / 1000
    const wait = Math.max(smapsEvery, cost / smapsShare)
    if (wait > smapsEvery && !this.#saidSlow) {
      this.#saidSlow = true
      onNote(smapsSlow(cost))
    }
    // Half a period early, so that it falls on a sample in any case.
    this.#nextSmaps = t + wait - every / 2
    if (first && shares === null) {
      onNote(smapsUnreadable(this.#view.pid))
    }
    return shares
  }
}

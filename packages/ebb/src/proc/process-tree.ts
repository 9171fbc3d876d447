/** A process and all that it started, as one: servers with workers. */
import { ProcessError, type ProcessShares, type ProcessStatus, ProcessView } from './process.js'
import { listProcesses } from './processes.js'

/** Who belongs to it is looked up this often, ms: every process of the machine is asked for its parent. */
const LOOK = 500

/**
 * A process and its descendants, added up. It is there as long as its root is; others may come and go, and one that was seen below
 * the root stays in the sum when whoever started it ends. Those that come are noticed within half a second.
 *
 * @example
 * const tree = new ProcessTree(4242)
 * console.log(tree.size, tree.status().anonymous)
 * tree.close()
 */
export class ProcessTree {
  readonly pid: number
  readonly #root: ProcessView
  readonly #others = new Map<number, ProcessView>()
  #looked = Number.NEGATIVE_INFINITY
  #cpu = 0

  /** Opens it. Takes three descriptors for each process. Throws {@link ProcessError} where the root cannot be read. */
  constructor(pid: number) {
    this.pid = pid
    this.#root = new ProcessView(pid)
  }

  /** How many processes it is. */
  get size(): number {
    return 1 + this.#others.size
  }

  /**
   * Sums. A page that several share counts for each in `resident` and `file`; `peak` is the sum of what each had at its own time. Throws
   * {@link ProcessError} when the root has ended.
   */
  status(): ProcessStatus {
    const sum = this.#root.status()
    this.#look()
    for (const { resident, anonymous, file, peak, threads } of this.#each((view) => view.status())) {
      sum.resident += resident
      sum.anonymous += anonymous
      sum.file += file
      sum.peak += peak
      sum.threads += threads
    }
    return sum
  }

  /** Sums; null where one of them may not be read. Throws {@link ProcessError} when the root has ended. */
  smaps(): ProcessShares | null {
    const root = this.#root.smaps()
    this.#look()
    if (root === null) return null
    const sum = { ...root }
    for (const shares of this.#each((view) => view.smaps())) {
      if (shares === null) return null
      sum.private += shares.private
      sum.proportional += shares.proportional
    }
    return sum
  }

  /**
   * User and system time of all of them, those that have ended among them, ms. Never falls. Throws {@link ProcessError} when the root has
   * ended.
   */
  cpu(): number {
    const time = (view: ProcessView): number => view.cpu() + view.cpuOfEnded()
    let sum = time(this.#root)
    this.#look()
    for (const cpu of this.#each(time)) sum += cpu
    // What has ended is in nobody's sum until its parent has collected it.
    this.#cpu = Math.max(this.#cpu, sum)
    return this.#cpu
  }

  /** Open descriptors; null where they may not be counted. Throws {@link ProcessError} when the root has ended. */
  descriptors(): number | null {
    let sum = this.#root.descriptors()
    this.#look()
    for (const count of this.#each((view) => view.descriptors())) {
      sum = sum === null || count === null ? null : sum + count
    }
    return sum
  }

  /** Closes the descriptors. Closing twice is allowed. */
  close(): void {
    this.#root.close()
    for (const view of this.#others.values()) view.close()
    this.#others.clear()
  }

  /** What `read` tells of each but the root; those that have ended are forgotten. */
  #each<T>(read: (view: ProcessView) => T): T[] {
    const results: T[] = []
    for (const [pid, view] of this.#others) {
      try {
        results.push(read(view))
      } catch (error) {
        if (!(error instanceof ProcessError && error.gone)) throw error
        view.close()
        this.#others.delete(pid)
      }
    }
    return results
  }

  #look(): void {
    const now = performance.now()
    if (now - this.#looked < LOOK) return
    this.#looked = now
    const children = childrenByParent()
    const members = [this.pid, ...this.#others.keys()]
    // It grows while it is walked through.
    for (const parent of members) {
      for (const pid of children.get(parent) ?? []) {
        if (this.#others.has(pid) || pid === this.pid) continue
        const view = open(pid)
        if (view === undefined) continue
        this.#others.set(pid, view)
        members.push(pid)
      }
    }
  }
}

/** Returns the ids of the children of each process, by the id of their parent. */
function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>()
  for (const { pid, parent } of listProcesses()) {
    const siblings = children.get(parent)
    if (siblings === undefined) children.set(parent, [pid])
    else siblings.push(pid)
  }
  return children
}

/** Undefined: it has ended since it was listed. */
function open(pid: number): ProcessView | undefined {
  try {
    return new ProcessView(pid)
  } catch (error) {
    if (error instanceof ProcessError && (error.gone || error.fault === 'missing')) return undefined
    throw error
  }
}

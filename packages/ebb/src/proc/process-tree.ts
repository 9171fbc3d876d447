/** A process and its descendants as one, for servers with worker processes. */
import { ProcessError, type ProcessShares, type ProcessStatus, ProcessView } from './process.js'
import { listProcesses } from './processes.js'

/** Milliseconds between two searches for new descendants. A search reads the parent of every process of the machine. */
const SEARCH_INTERVAL = 500

/**
 * Reads a process and its descendants and returns sums. New descendants are found within 0.5 s. A descendant that was
 * found stays in the sum when its parent ends. The tree ends with its root process.
 *
 * @example
 * const tree = new ProcessTree(4242)
 * console.log(tree.size, tree.status().anonymous)
 * tree.close()
 */
export class ProcessTree {
  /** Process id of the root. */
  readonly pid: number
  readonly #root: ProcessView
  readonly #others = new Map<number, ProcessView>()
  #searchedAt = Number.NEGATIVE_INFINITY
  #cpu = 0

  /** Opens the tree. Takes 3 descriptors per process. Throws {@link ProcessError} if the root cannot be read. */
  constructor(pid: number) {
    this.pid = pid
    this.#root = new ProcessView(pid)
  }

  /** Number of processes, the root included. */
  get size(): number {
    return 1 + this.#others.size
  }

  /**
   * Returns sums over all processes. A page that several processes share counts for each of them in `resident` and
   * `file`. `peak` is the sum of the peaks, which may have been at different times. Throws {@link ProcessError} if the
   * root has ended.
   */
  status(): ProcessStatus {
    const sum = this.#root.status()
    this.#search()
    for (const { resident, anonymous, swapped, file, peak, threads } of this.#each((view) => view.status())) {
      sum.resident += resident
      sum.anonymous += anonymous
      sum.swapped += swapped
      sum.file += file
      sum.peak += peak
      sum.threads += threads
    }
    return sum
  }

  /**
   * Returns sums, or null if one of the processes may not be read. Throws {@link ProcessError} if the root has ended.
   */
  smaps(): ProcessShares | null {
    const root = this.#root.smaps()
    this.#search()
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
   * Returns the user and system CPU time of all processes, ended ones included, ms. Never falls. Throws
   * {@link ProcessError} if the root has ended.
   */
  cpu(): number {
    const time = (view: ProcessView): number => view.cpu() + view.cpuOfEnded()
    let sum = time(this.#root)
    this.#search()
    for (const cpu of this.#each(time)) sum += cpu
    // The time of a process that has ended is missing from the sum until its parent has waited for it.
    this.#cpu = Math.max(this.#cpu, sum)
    return this.#cpu
  }

  /**
   * Counts open descriptors, or returns null if this user may not. Throws {@link ProcessError} if the root has ended.
   */
  descriptors(): number | null {
    let sum = this.#root.descriptors()
    this.#search()
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

  /** Calls `read` for each process except the root, and returns the results. Forgets processes that have ended. */
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

  /** Finds new descendants, at most every 0.5 s. */
  #search(): void {
    const now = performance.now()
    if (now - this.#searchedAt < SEARCH_INTERVAL) return
    this.#searchedAt = now
    const children = childrenByParent()
    const members = [this.pid, ...this.#others.keys()]
    // The loop also visits the members that it adds.
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

/** Returns undefined if the process has ended since it was listed. */
function open(pid: number): ProcessView | undefined {
  try {
    return new ProcessView(pid)
  } catch (error) {
    if (error instanceof ProcessError && (error.gone || error.fault === 'missing')) return undefined
    throw error
  }
}

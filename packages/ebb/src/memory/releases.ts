/** The releases of this thread: the one under way, and who wants to know of each. */
import type { AllocatorName } from './allocator.js'

/** The figures of a release. */
export interface Release {
  /** Anonymous memory before the release, bytes. 0 where it cannot be read. */
  before: number
  /** Anonymous memory after the collection, bytes. */
  afterCollect: number
  /** Anonymous memory after the trim, bytes: `before - afterTrim` went back to the system. */
  afterTrim: number
  /** Milliseconds from the start to the end of the release. The program ran for most of them. */
  ms: number
  /** The longest pause of the event loop, ms. */
  pauseMs: number
  /** The longest pause by the trim, ms: at most {@link pauseMs}. The trim of much memory is done in steps of 4 ms. */
  trimPauseMs: number
  /** CPU time of this thread for the release, ms. Where the kernel does not tell, the sum of the pauses. */
  cpuMs: number
  /** Whether the garbage was collected in steps. */
  inSteps: boolean
  /**
   * Whether the heap of this thread was collected. False if a governor has left it alone because the pause would have
   * been too long, and has released the memory of worker threads and of the allocator only.
   */
  collected: boolean
  /** The allocator that serves `malloc`. With `musl` and `unknown` there is no trim. */
  allocator: AllocatorName
  /** Number of worker threads that collected, too. */
  workers: number
  /** Number of worker threads that did not collect, because they were busy. */
  busyWorkers: number
}

/**
 * A release that is under way, or waits for the release before it. Part of the state that copies of this library share.
 */
export interface PendingRelease {
  done: Promise<Release>
  workers: boolean
  inSteps: boolean
  /** Whether it collects this thread's heap. */
  collects: boolean
  /** Holds the process open until the release is done. */
  hold(): void
}

/** Called after a release. @returns true if it has published the release, with its own reason */
type Listener = (done: Release) => unknown

interface SharedState {
  listeners: Set<Listener>
  /** The release that was started last, until it is done. */
  underWay: PendingRelease | undefined
}

// A program may load two copies of this library. They find the same state by its symbol, so both share a release that
// is under way, and both call their listeners after it. Other versions of this library depend on the symbol and on the
// names in the state: change the number when you change its shape.
const KEY = Symbol.for('ebb.acts.3')
const scope = globalThis as { [KEY]?: SharedState }

/** Returns what the copies of this library share. */
export function sharedReleases(): SharedState {
  scope[KEY] ??= { listeners: new Set(), underWay: undefined }
  return scope[KEY]
}

/** Calls `listener` after each release of this thread, whoever asked for it. Returns a function that unregisters it. */
export function onReleased(listener: Listener): () => void {
  const { listeners } = sharedReleases()
  listeners.add(listener)
  return () => listeners.delete(listener)
}

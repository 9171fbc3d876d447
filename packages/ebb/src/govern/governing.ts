/** The governor of this thread: its interface, and where it is found. */
import type { GovernorStats } from './stats.js'

/** A running governor of this process, returned by `govern()`. */
export interface ProcessGovernor {
  /** Returns what the governor has done, and the memory of the process now. */
  stats(): GovernorStats
  /**
   * Returns {@link stats} as OpenMetrics text without the closing `# EOF`, so that other metrics, such as those of
   * `prom-client`, can follow it.
   */
  metrics(): string
  /** Stops the governor. Does not stop a release that is under way. Calling it again does nothing. */
  stop(): void
}

/**
 * A program may load two copies of this library: they find the same governor by its symbol. Change the number when you
 * change the interface so that an older copy cannot use it.
 */
export const RUNNING = Symbol.for('ebb.governing.1')

/** The part of `globalThis` that has the governor of this thread; undefined if there is none. */
export interface Running {
  [RUNNING]?: ProcessGovernor | undefined
}

/** A crowd: connections that one or several processes hold, and that a pulse opens and closes. */
import { descriptorLimit } from 'ebb/sys'
import type { Causes } from './causes.js'
import type { Latencies } from './latencies.js'
import type { Opened } from './opened.js'
import type { Traffic } from './traffic.js'

/** When connections arrive, and whether others leave for them. */
export interface Arrivals {
  /** Connects per second, over the whole crowd. Default: the rate of the crowd. */
  rate?: number
  /** Time at which the first connect is due, a value of `performance.now()`. Default: now. */
  start?: number
  /** Whether each connect closes another open connection, in turn. Default: false. */
  replace?: boolean
}

/** Connections to one server that are opened and closed together. */
export interface Crowd {
  /** Latencies since the crowd was made or they were reset. Other processes send theirs with their results. */
  readonly latencies: Latencies
  /** Number of open connections. Other processes report theirs now and then. */
  readonly open: number
  /**
   * Number of connects that have failed in the current or last `connect()`. Other processes report theirs now and then.
   */
  readonly failed: number
  /** Aborted when nothing is left that could hold connections. */
  readonly gone?: AbortSignal
  /** Opens `n` connections. Resolves when each is open or has failed, or after an abort. */
  connect(n: number, signal?: AbortSignal, arrivals?: Arrivals): Promise<Opened>
  /** Closes all connections. */
  close(): Promise<void>
  /** Closes `n` connections. */
  shrink(n: number): Promise<void>
  /** Returns what the connections have sent and received since the last call, and adds the latencies of answers. */
  takeTraffic(): Promise<Traffic>
  /** Returns the connections that the server closed first since the last call, by cause. */
  takeLost(): Promise<Causes>
  /**
   * Like `takeLost()`, but also counts the connections of worker processes that have died. `takeLost()` counts these
   * only after `close()`.
   */
  takeAllLost(): Promise<Causes>
  /** Ends everything that the crowd needs besides its connections, such as processes. */
  dispose(): Promise<void>
}

/** Descriptors that a process needs for other things than connections. */
const RESERVED_DESCRIPTORS = 64

/** Maximum number of processes of a crowd. Each is a Node process of about 40 MB. */
export const MAX_PROCESSES = 256

/** Returns how many connections `processes` processes can hold under the descriptor limit. */
export function crowdCapacity(processes: number): number {
  return processes * Math.max(1, descriptorLimit() - RESERVED_DESCRIPTORS)
}

/** Returns how many processes are needed to hold `n` connections under the descriptor limit; at least 1. */
export function processesFor(n: number): number {
  return Math.max(1, Math.ceil(n / crowdCapacity(1)))
}

/** What a parked server reports about its connections. */

/** Why a connection is closed. */
export type Cause =
  /** The peer closed it while it was parked. */
  | 'peer'
  /** It broke while it was parked. */
  | 'reset'
  /** It did not begin with a valid header of the PROXY protocol. */
  | 'proxy'
  /** It stayed parked for longer than the server allows. */
  | 'timeout'
  /** The server closed it while it was parked. */
  | 'server'
  /** Its peer read too slowly, so that more than `maxQueued` bytes would have waited. */
  | 'slow'
  /** Its socket was closed, by either side, while it was awake. */
  | 'socket'

/** Figures of a parked server, from {@link Parked.stats}. Counts are totals since the start. */
export interface ParkStats {
  /** Number of connections that are parked now. */
  parked: number
  /** Number of connections that are awake now. */
  awake: number
  /** Connections taken, without those in `dropped`. */
  accepted: number
  /** Connections refused at `maxConnections`, or by the server's block list. */
  dropped: number
  /** Wakes, including the first of each connection. */
  woken: number
  /** Connections parked again after a wake. */
  parkedAgain: number
  /** Closed connections by cause. */
  closed: Record<Cause, number>
  /**
   * Memory outside the kernel for each open connection, in bytes: tables, timers and attachments, but not the sockets
   * of awake connections.
   */
  bytesPerConnection: number
}

/** What `ebb top` knows of a box at one moment. Bytes and milliseconds; null is what cannot be known. */

/** An address on which a process listens. */
export type Listen =
  | {
      type: 'tcp'
      /** Address that the socket is bound to. `0.0.0.0` and `::` stand for every address. */
      host: string
      port: number
    }
  | {
      type: 'unix'
      /** Path; a name in the abstract namespace begins with `@`. */
      path: string
    }

/** What a process with `ebb/auto` reports of its own inside. */
export interface InsideSample {
  /** Anonymous memory that its releases returned to the system. */
  released: number
  /** Number of its releases. */
  releases: number
  /** The longest pause of its event loop by a release. */
  longestPause: number
  /** Connections of its servers that sleep as bare descriptors; null without parked servers. */
  parked: number | null
  /** Connections of its parked servers that have a socket; null without parked servers. */
  awake: number | null
}

/** One process of a server. */
export interface ProcessSample {
  pid: number
  /** Program and script: `node server.js`. */
  name: string
  /** Anonymous memory, in memory and in swap. */
  anonymous: number
  /** Resident memory. */
  resident: number
  /** CPU time of all threads since the process started. */
  cpu: number
  /** Open descriptors; null if this user may not count them. */
  descriptors: number | null
  listens: Listen[]
  /** Null for a process without `ebb/auto`. */
  inside: InsideSample | null
}

/** Memory since the last peak of clients; see {@link PeakHistory}. */
export interface SincePeak {
  /** The largest number of clients of the peak. */
  clients: number
  /** Anonymous memory with which the server was seen to hold as many clients as now, before the peak. */
  before: number
  /** Anonymous memory now, divided by `before`. */
  ratio: number
}

/** A server: the processes that listen on the same addresses, and their helpers. Figures are sums over them. */
export interface ServerSample {
  /** Stays the same as long as the server's main process runs. */
  id: string
  /** The main process: the topmost. */
  pid: number
  /** Name of the main process. */
  name: string
  listens: Listen[]
  /** Established connections at its addresses. */
  clients: number | null
  anonymous: number
  resident: number
  /** Share of one CPU since the last sample: 1 is a whole CPU. Null in the first sample. */
  cpu: number | null
  /** Sums, and the longest pause, over the processes with `ebb/auto`; null if no process has it. */
  inside: InsideSample | null
  sincePeak: SincePeak | null
  /** Share of time (0 to 1) that a task of the main process's cgroup waited for memory, over the last 10 s (PSI). */
  pressure: number | null
  processes: ProcessSample[]
}

/** All servers of a box at one moment. */
export interface BoxSample {
  /** Milliseconds since 1970. */
  time: number
  /** Memory of the machine. `available` is what programs can get without swapping. */
  memory: { total: number; available: number }
  /** Share of time (0 to 1) that a task of the machine waited for memory, over the last 10 s (PSI). */
  pressure: number | null
  /** Listening TCP sockets of processes that this user may not inspect. */
  hidden: number
  servers: ServerSample[]
}
